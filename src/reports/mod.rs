//! Reports: what each post, network, campaign or day brought in and cost, reconciled with the orders.
//!
//! A request is checked (`query`), sums are fetched from the ledger and put together (`attribution`,
//! `gather`, `costs`, `period`, `reconcile`), and every output is written from the same cells (`columns`): JSON (`report`),
//! CSV (`csv`) and a table for the terminal (`table`).

mod attribution;
mod columns;
mod compare;
mod costs;
mod csv;
mod extras;
mod frame;
mod gather;
mod model;
mod period;
mod query;
mod reconcile;
mod report;
mod retention;
mod sheet;
mod snapshot;
mod table;

pub use attribution::attribution;
pub use columns::{COLUMNS, Cell, Figures};
pub use compare::{CompareRequest, compare};
pub use costs::Cost;
pub use model::{NAMES as MODEL_NAMES, OneModel, ReportModel};
pub use query::{Bound, ReportRequest};
pub use reconcile::{Line, Reconciliation, ToTotals};
pub use report::{MODEL_COLUMNS, Report, Row};
pub use retention::{RetentionRequest, retention};
pub use sheet::{Sheet, SheetRow};
pub use snapshot::{difference, freeze};

use crate::ledger::LedgerError;

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The request cannot be answered; `field` is the parameter that says so.
    #[error("{field}: {detail}")]
    Invalid { field: String, detail: String },
    #[error("there is no workspace {0:?}")]
    UnknownWorkspace(String),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl ReportError {
    fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), detail: detail.into() }
    }
}

/// Something that a reader of the report must know: money that is missing from it, for instance.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// `missing_rate`, `basis_fallback`, `pending`, `not_reconciled`, `no_null_paths`, `model_left_out`,
    /// `cost_of_goods_missing`, `unknown_customer`.
    pub code: &'static str,
    pub detail: String,
}
