//! Sources that every workspace has without making them.

use serde_json::Value;

use super::Api;
use super::error::{Answer, Problem};
use crate::domain::time::now_ms;
use crate::intake::Platform;
use crate::ledger::sources::{self, SourceRow};
use crate::log::record::Delivery;

#[derive(Debug, Clone, Copy)]
pub enum BuiltIn {
    /// Conversions by API.
    Api,
    /// What the script in a shop's pages reports. Anybody can forge that, so it is evidence for ever.
    Script,
}

impl BuiltIn {
    /// The source's id.
    pub fn source(self, workspace: &str) -> String {
        match self {
            Self::Api => format!("api-{workspace}"),
            Self::Script => format!("script-{workspace}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Script => "Script",
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::Api => "of_record",
            Self::Script => "evidence",
        }
    }
}

/// Makes utmost's own JSON durable as a delivery of a built-in source; returns the delivery's id.
pub async fn append(api: &Api, from: BuiltIn, workspace: &str, envelope: &Value) -> Answer<String> {
    let source = from.source(workspace);
    // The row comes first: the worker takes a source without one for a source of record.
    if !api.built_in.contains(&source) {
        if sources::any(&api.ledger, &source).await?.is_none() {
            let row = SourceRow {
                id: source.clone(),
                workspace: workspace.to_owned(),
                platform: Platform::Api.as_str().to_owned(),
                name: from.name().to_owned(),
                role: from.role().to_owned(),
                created_ms: now_ms(),
            };
            let mut tx = api.ledger.begin().await?;
            sources::insert(&mut tx, &row).await?;
            tx.commit().await?;
        }
        api.built_in.add(source.clone());
    }
    let delivery = Delivery {
        id: uuid::Uuid::now_v7().to_string(),
        workspace: workspace.to_owned(),
        source,
        platform: Platform::Api.as_str().to_owned(),
        received_ms: now_ms(),
        is_verified: true,
        headers: Vec::new(),
        body: serde_json::to_vec(envelope).map_err(Problem::internal)?,
        is_replayed: false,
    };
    api.log.append_delivery(&delivery).await?;
    Ok(delivery.id)
}

/// Built-in sources that are known to be in the ledger.
#[derive(Debug)]
pub struct Made(quick_cache::sync::Cache<String, ()>);

impl Default for Made {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(10_000))
    }
}

impl Made {
    fn contains(&self, source: &String) -> bool {
        self.0.get(source).is_some()
    }

    fn add(&self, source: String) {
        self.0.insert(source, ());
    }
}
