//! Workspaces as the worker sees them: zone, currency, settings.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::{Attribution, WorkspaceSettings};
use crate::domain::money::Currency;
use crate::ledger::workspaces::{self, WorkspaceRow};
use crate::ledger::{Ledger, LedgerError};
use jiff::tz::TimeZone;

const FRESH: Duration = Duration::from_secs(2);

pub struct Workspace {
    pub zone: TimeZone,
    pub currency: Currency,
    base: Attribution,
    /// By event, where the workspace sets something for one.
    by_event: HashMap<String, Attribution>,
}

impl Workspace {
    pub fn from_row(row: &WorkspaceRow, defaults: &Attribution) -> Result<Self, LedgerError> {
        let settings = serde_json::from_str(&row.settings).map_err(|error| damaged(row, error))?;
        Self::with_settings(row, &settings, defaults)
    }

    /// As it would be by other settings.
    pub fn with_settings(
        row: &WorkspaceRow,
        settings: &WorkspaceSettings,
        defaults: &Attribution,
    ) -> Result<Self, LedgerError> {
        let of_event = |event: &String| (event.clone(), settings.over_for(defaults, event));
        Ok(Self {
            zone: TimeZone::get(&row.timezone).map_err(|error| damaged(row, error))?,
            currency: row.currency.parse().map_err(|error| damaged(row, error))?,
            base: settings.over(defaults),
            by_event: settings.events.keys().map(of_event).collect(),
        })
    }

    pub fn settings_for(&self, event: &str) -> &Attribution {
        self.by_event.get(event).unwrap_or(&self.base)
    }

    /// Whether the journey of any kind of event begins after the customer's last purchase.
    pub fn purchases_may_cut(&self) -> bool {
        self.base.purchase_cuts_journey
            || self.by_event.values().any(|of_event| of_event.purchase_cuts_journey)
    }
}

fn damaged(row: &WorkspaceRow, problem: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged(format!("workspace {}: {problem}", row.id))
}

pub struct Workspaces {
    defaults: Attribution,
    known: HashMap<String, (Instant, Workspace)>,
}

impl Workspaces {
    pub fn new(defaults: Attribution) -> Self {
        Self { defaults, known: HashMap::new() }
    }

    /// Reads everything anew from now on: whoever changes settings marks conversions due, so settings are to be
    /// read after what is due.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// As it was at most a few seconds ago. A workspace that does not exist is an error: nothing may be counted without its zone.
    pub async fn get(&mut self, ledger: &Ledger, id: &str) -> Result<&Workspace, LedgerError> {
        let fresh = self.known.get(id).is_some_and(|(read, _)| read.elapsed() < FRESH);
        if !fresh {
            let workspace = self.read(ledger, id).await?;
            self.known.insert(id.to_owned(), (Instant::now(), workspace));
        }
        Ok(&self.known[id].1)
    }

    async fn read(&self, ledger: &Ledger, id: &str) -> Result<Workspace, LedgerError> {
        let row = workspaces::get(ledger, id).await?;
        let row = row.ok_or_else(|| LedgerError::Damaged(format!("workspace {id}: not found")))?;
        Workspace::from_row(&row, &self.defaults)
    }
}
