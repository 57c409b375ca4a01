//! Workspaces as the worker sees them: zone, currency, settings. Read anew every few seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::{Attribution, WorkspaceSettings};
use crate::domain::money::Currency;
use crate::ledger::{Ledger, LedgerError, workspaces};
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
    pub fn settings_for(&self, event: &str) -> &Attribution {
        self.by_event.get(event).unwrap_or(&self.base)
    }

    /// Whether the journey of any kind of event begins after the customer's last purchase.
    pub fn purchases_may_cut(&self) -> bool {
        self.base.purchase_cuts_journey
            || self.by_event.values().any(|of_event| of_event.purchase_cuts_journey)
    }
}

pub struct Workspaces {
    defaults: Attribution,
    known: HashMap<String, (Instant, Workspace)>,
}

impl Workspaces {
    pub fn new(defaults: Attribution) -> Self {
        Self { defaults, known: HashMap::new() }
    }

    /// A workspace that does not exist is an error: nothing may be counted without its zone.
    pub async fn get(&mut self, ledger: &Ledger, id: &str) -> Result<&Workspace, LedgerError> {
        let fresh = self.known.get(id).is_some_and(|(read, _)| read.elapsed() < FRESH);
        if !fresh {
            let workspace = self.read(ledger, id).await?;
            self.known.insert(id.to_owned(), (Instant::now(), workspace));
        }
        Ok(&self.known[id].1)
    }

    async fn read(&self, ledger: &Ledger, id: &str) -> Result<Workspace, LedgerError> {
        let damaged = |problem: String| LedgerError::Damaged(format!("workspace {id}: {problem}"));
        let row = workspaces::get(ledger, id).await?.ok_or_else(|| damaged("not found".into()))?;
        let settings: WorkspaceSettings =
            serde_json::from_str(&row.settings).map_err(|e| damaged(e.to_string()))?;
        let of_event = |event: &String| (event.clone(), settings.over_for(&self.defaults, event));
        Ok(Workspace {
            zone: TimeZone::get(&row.timezone).map_err(|e| damaged(e.to_string()))?,
            currency: row.currency.parse().map_err(|_| damaged(format!("currency {}", row.currency)))?,
            base: settings.over(&self.defaults),
            by_event: settings.events.keys().map(of_event).collect(),
        })
    }
}
