//! A finished report and its JSON.

use jiff::civil::Date;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::reconcile::{Line, Reconciliation};
use super::{COLUMNS, Cell, Figures, Problem, ReportModel};
use crate::domain::money::{Currency, format_minor};
use crate::domain::time::day_number;
use crate::ledger::reports::{Amounts, Clock, Credits, Dimension, Key, Slice};

/// What stands side by side for each model; the change is that of net revenue against last touch.
pub const MODEL_COLUMNS: [&str; 6] =
    ["conversions", "revenue", "refunds", "net_revenue", "roi_percent", "net_revenue_change"];

#[derive(Debug, Clone)]
pub struct Report {
    pub by: Dimension,
    pub model: ReportModel,
    /// The models side by side, where all are asked for.
    pub models: Vec<&'static str>,
    pub from: Date,
    /// Exclusive.
    pub to: Date,
    pub timezone: String,
    pub currency: Currency,
    pub clock: Clock,
    pub event: String,
    /// As given, by name.
    pub filters: Vec<(Dimension, String)>,
    pub revenue_basis: &'static str,
    /// RFC 3339.
    pub as_of: String,
    /// Two reports with the same hash were made by the same attribution settings.
    pub settings_hash: String,
    pub rows: Vec<Row>,
    /// Of everything that the filters let through; `assisted_conversions` does not add up over rows.
    pub totals: Figures,
    /// Of each of `models`.
    pub totals_by_model: Vec<Credits>,
    pub reconciliation: Reconciliation,
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone)]
pub struct Row {
    pub key: Key,
    /// The key as text: ids, dates, `unallocated`. None: the links have no such value.
    pub name: Option<String>,
    /// The title of a post, the short URL of a link (without scheme), the name of a source.
    pub label: Option<String>,
    pub figures: Figures,
    /// Of each of the report's `models`.
    pub by_model: Vec<Credits>,
}

impl Report {
    /// The names of all columns: the fixed ones, then those of each model that stands side by side.
    pub fn columns(&self) -> Vec<String> {
        let fixed = COLUMNS.iter().map(ToString::to_string);
        let of_models = self.models.iter().flat_map(|m| MODEL_COLUMNS.map(|column| format!("{m}_{column}")));
        fixed.chain(of_models).collect()
    }

    /// The fixed columns of a row.
    pub fn cells(&self, figures: &Figures) -> [Cell; COLUMNS.len()] {
        figures.cells(self.currency, self.clock == Clock::Click)
    }

    /// The cells of [`MODEL_COLUMNS`] for each model.
    pub fn model_cells<'a>(
        &'a self,
        figures: &'a Figures,
        by_model: &'a [Credits],
    ) -> impl Iterator<Item = [Cell; 6]> + 'a {
        let main = figures.net_minor();
        by_model.iter().map(move |credits| {
            let figures = Figures { credits: *credits, ..*figures };
            let [conversions, revenue, refunds, net, roi] = self.main_cells(&figures);
            let change = Cell::Money(self.money(credits.net_minor() - main));
            [conversions, revenue, refunds, net, roi, change]
        })
    }

    fn main_cells(&self, figures: &Figures) -> [Cell; 5] {
        let cells = self.cells(figures);
        ["conversions", "revenue", "refunds", "net_revenue", "roi_percent"].map(|name| {
            let index = COLUMNS.iter().position(|column| *column == name).unwrap_or_default();
            cells[index].clone()
        })
    }

    /// The part of the ledger that the report was made from, with other filters.
    pub fn slice(&self, workspace: &str, filters: Vec<(Dimension, Key)>) -> Slice {
        Slice {
            workspace: workspace.to_owned(),
            from_day: i64::from(day_number(self.from)),
            to_day: i64::from(day_number(self.to)),
            clock: self.clock,
            event: self.event.clone(),
            filters,
        }
    }

    /// The path of the API that lists the orders behind a number of the reconciliation.
    pub fn orders_path(&self, status: Option<&str>, reason: Option<&str>) -> String {
        let (from, to) = (self.from.to_string(), self.to.to_string());
        let source = self.filters.iter().find(|(dimension, _)| *dimension == Dimension::Source);
        let parameters = [
            ("event", Some(self.event.as_str())),
            ("from", Some(&from)),
            ("to", Some(&to)),
            ("status", status),
            ("reason", reason),
            ("source", source.map(|(_, value)| value.as_str())),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        format!("/api/v1/conversions?{query}")
    }

    /// An amount of the report's currency as a decimal.
    pub fn money(&self, minor: i64) -> String {
        format_minor(minor, self.currency)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("by", self.by.name())?;
        map.serialize_entry("model", self.model.name())?;
        if let Some((order, transform)) = self.model.of_period() {
            map.serialize_entry("order", &order)?;
            map.serialize_entry("transform", transform.as_str())?;
        }
        map.serialize_entry("from", &self.from.to_string())?;
        map.serialize_entry("to", &self.to.to_string())?;
        map.serialize_entry("timezone", &self.timezone)?;
        map.serialize_entry("currency", self.currency.code())?;
        map.serialize_entry("clock", self.clock.name())?;
        map.serialize_entry("event", &self.event)?;
        map.serialize_entry("filters", &Map(self.filters.iter().map(|(d, value)| (d.name(), value))))?;
        map.serialize_entry("revenue_basis", self.revenue_basis)?;
        map.serialize_entry("as_of", &self.as_of)?;
        map.serialize_entry("settings_hash", &self.settings_hash)?;
        map.serialize_entry("problems", &self.problems)?;
        let rows: Vec<_> = self.rows.iter().map(|row| JsonRow { report: self, row }).collect();
        map.serialize_entry("rows", &rows)?;
        map.serialize_entry(
            "totals",
            &JsonFigures { report: self, figures: &self.totals, by_model: &self.totals_by_model },
        )?;
        map.serialize_entry("reconciliation", &JsonReconciliation(self))?;
        map.end()
    }
}

/// An iterator of entries as a map, in its order.
#[derive(Clone)]
struct Map<I>(I);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)> + Clone> Serialize for Map<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone())
    }
}

struct JsonRow<'a> {
    report: &'a Report,
    row: &'a Row,
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &self.row.name)?;
        map.serialize_entry("label", &self.row.label)?;
        figure_entries(self.report, &self.row.figures, &self.row.by_model, &mut map)?;
        map.end()
    }
}

struct JsonFigures<'a> {
    report: &'a Report,
    figures: &'a Figures,
    by_model: &'a [Credits],
}

impl Serialize for JsonFigures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        figure_entries(self.report, self.figures, self.by_model, &mut map)?;
        map.end()
    }
}

fn figure_entries<M: SerializeMap>(
    report: &Report,
    figures: &Figures,
    by_model: &[Credits],
    map: &mut M,
) -> Result<(), M::Error> {
    for (name, cell) in COLUMNS.iter().zip(report.cells(figures)) {
        map.serialize_entry(name, &cell)?;
    }
    if !report.models.is_empty() {
        let models = report.models.iter().zip(report.model_cells(figures, by_model));
        let models: Vec<_> =
            models.map(|(model, cells)| (model, Map(MODEL_COLUMNS.into_iter().zip(cells)))).collect();
        map.serialize_entry("models", &Map(models.into_iter()))?;
    }
    Ok(())
}

struct JsonReconciliation<'a>(&'a Report);

impl Serialize for JsonReconciliation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = &self.0.reconciliation;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("orders_received", &all.received.orders)?;
        map.serialize_entry("attributed", &all.attributed.orders)?;
        map.serialize_entry("unattributed", &Map(all.unattributed.iter().map(|(k, line)| (k, line.orders))))?;
        map.serialize_entry("excluded", &Map(all.excluded.iter().map(|(k, line)| (k, line.orders))))?;
        map.serialize_entry("amounts", &JsonAmounts(self.0))?;
        map.serialize_entry("details", &JsonDetails(self.0))?;
        map.end()
    }
}

/// Where the orders behind each number are listed.
struct JsonDetails<'a>(&'a Report);

impl Serialize for JsonDetails<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = &self.0.reconciliation;
        let list = |status: Option<&str>, reason: Option<&str>| self.0.orders_path(status, reason);
        let by_reason = |status: &'static str, lines: &std::collections::BTreeMap<String, Line>| {
            let entries: Vec<_> =
                lines.keys().map(|reason| (reason.clone(), list(Some(status), Some(reason)))).collect();
            Map(entries.into_iter())
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("orders_received", &list(None, None))?;
        map.serialize_entry("attributed", &list(Some("attributed"), None))?;
        map.serialize_entry("unattributed", &by_reason("unattributed", &all.unattributed))?;
        map.serialize_entry("excluded", &by_reason("excluded", &all.excluded))?;
        map.end()
    }
}

struct JsonAmounts<'a>(&'a Report);

impl Serialize for JsonAmounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = &self.0.reconciliation;
        let money = |amounts: Amounts| {
            [
                ("revenue", amounts.revenue_minor),
                ("refunds", amounts.refunds_minor),
                ("net_revenue", amounts.net_minor()),
            ]
            .map(|(name, minor)| (name, self.0.money(minor)))
        };
        let entry = |amounts| Map(money(amounts).into_iter());
        let by_reason = |lines: &std::collections::BTreeMap<String, Line>| {
            let entries: Vec<_> = lines.iter().map(|(k, line)| (k.clone(), entry(line.amounts))).collect();
            Map(entries.into_iter())
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("orders_received", &entry(all.received.amounts))?;
        map.serialize_entry("attributed", &entry(all.attributed.amounts))?;
        map.serialize_entry("unattributed", &by_reason(&all.unattributed))?;
        map.serialize_entry("excluded", &by_reason(&all.excluded))?;
        map.serialize_entry("attributed_to_clicks_outside", &entry(all.to_totals.clicks_outside))?;
        map.serialize_entry("attributed_from_orders_outside", &entry(all.to_totals.orders_outside))?;
        map.serialize_entry("attributed_outside_filters", &entry(all.to_totals.filtered_out))?;
        map.end()
    }
}
