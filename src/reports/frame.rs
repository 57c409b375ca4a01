//! What every report of a workspace needs of it: its zone, its currency and its settings.

use jiff::tz::TimeZone;

use super::ReportError;
use crate::attribution::order::RevenueBasis;
use crate::config::{Attribution, WorkspaceSettings};
use crate::domain::money::Currency;
use crate::ledger::{Ledger, LedgerError, workspaces};

pub struct Frame {
    pub zone: TimeZone,
    /// The reporting currency.
    pub currency: Currency,
    /// The workspace's own over the configuration's, for one kind of event.
    pub settings: Attribution,
    /// Over all settings, of all kinds of events.
    pub settings_hash: String,
}

impl Frame {
    pub async fn open(
        ledger: &Ledger,
        workspace: &str,
        event: &str,
        defaults: &Attribution,
    ) -> Result<Self, ReportError> {
        let found = workspaces::get(ledger, workspace).await?;
        let found = found.ok_or_else(|| ReportError::UnknownWorkspace(workspace.to_owned()))?;
        let damaged = |problem: String| LedgerError::Damaged(format!("workspace {workspace}: {problem}"));
        let own: WorkspaceSettings =
            serde_json::from_str(&found.settings).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            zone: TimeZone::get(&found.timezone).map_err(|error| damaged(error.to_string()))?,
            currency: found.currency.parse().map_err(|_| damaged(found.currency.clone()))?,
            settings: own.over_for(defaults, event),
            settings_hash: settings_hash(defaults, &found.settings),
        })
    }

    /// The zone's IANA name.
    pub fn timezone(&self) -> String {
        self.zone.iana_name().unwrap_or_default().to_owned()
    }
}

/// What counts as revenue, by its word.
pub fn revenue_basis(settings: &Attribution) -> &'static str {
    // The configuration was checked; an unknown word would be a new one without its meaning here.
    RevenueBasis::from_setting(&settings.revenue_basis).unwrap_or(RevenueBasis::ExTax).as_str()
}

/// Over all settings by name and value, as their debug text gives them, and the workspace's own.
fn settings_hash(defaults: &Attribution, own: &str) -> String {
    blake3::hash(format!("{defaults:?} {own}").as_bytes()).to_hex()[..16].to_owned()
}
