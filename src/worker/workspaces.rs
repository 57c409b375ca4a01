//! Workspaces as the worker sees them: zone, currency, settings. Read anew every few seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use sqlx::Row;

use crate::config::Attribution;
use crate::domain::money::Currency;
use crate::ledger::{Ledger, LedgerError};

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
        let row = sqlx::query("SELECT timezone, currency, settings FROM workspaces WHERE id = $1")
            .bind(id)
            .fetch_optional(&ledger.read)
            .await?
            .ok_or_else(|| damaged("not found".into()))?;
        let (timezone, currency, settings): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let own = |event| self.defaults.with_overrides(&settings, event).map_err(|e| damaged(e.to_string()));
        let json: serde_json::Value = serde_json::from_str(&settings).map_err(|e| damaged(e.to_string()))?;
        let mut by_event = HashMap::new();
        for event in json.get("events").and_then(|events| events.as_object()).into_iter().flatten() {
            by_event.insert(event.0.clone(), own(Some(event.0))?);
        }
        Ok(Workspace {
            zone: TimeZone::get(&timezone).map_err(|e| damaged(e.to_string()))?,
            currency: currency.parse().map_err(|_| damaged(format!("currency {currency}")))?,
            base: own(None)?,
            by_event,
        })
    }
}
