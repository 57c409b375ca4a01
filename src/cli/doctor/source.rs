//! One source: what came of its last deliveries, and what to do next.

use std::collections::BTreeMap;

use super::Findings;
use crate::domain::time::rfc3339;
use crate::intake::Platform;
use crate::ledger::deliveries::{self, DeliveryFilter, DeliveryRow};
use crate::ledger::{Ledger, sources};

/// Deliveries that are looked at.
const LAST: i64 = 200;

pub(super) async fn check(id: &str, ledger: &Ledger, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(source) = sources::any(ledger, id).await? else {
        findings.wrong("source", format!("there is no source {id}"), "GET /api/v1/sources lists them");
        return Ok(());
    };
    findings.ok("source", format!("{} ({}, {})", source.name, source.platform, source.role));
    let secrets = sources::secrets(ledger, id).await?.len();
    if secrets == 0 {
        findings.wrong(
            "secret",
            "none: what comes is kept and counts for nothing",
            format!("add what {} signs with: POST /api/v1/sources/{id}/secrets", source.platform),
        );
    } else {
        findings.ok("secret", format!("{secrets} known"));
    }
    let has_api_token = sources::api_access(ledger, id).await?.token.is_some();
    if source.platform == Platform::Bigcommerce.as_str() && !has_api_token {
        findings.wrong(
            "api_token",
            "none: webhooks only name orders, and nothing can fetch them",
            format!(
                "give it the store's access token: PATCH /api/v1/sources/{id}; see docs/guides/bigcommerce.md"
            ),
        );
    }
    let filter = DeliveryFilter {
        workspace: source.workspace.clone(),
        source: Some(id.to_owned()),
        limit: LAST,
        ..DeliveryFilter::default()
    };
    let rows = deliveries::list(ledger, &filter).await?;
    let Some(newest) = rows.iter().max_by_key(|row| row.received_ms) else {
        findings.wrong(
            "deliveries",
            "nothing has come yet, or all was refused at the door for its signature",
            format!("paste webhook_url of GET /api/v1/sources/{id} into the shop; last_refused there says what was turned away"),
        );
        return Ok(());
    };
    let counts = tally(rows.iter().map(|row| row.result.as_str()));
    let detail =
        format!("the last {}: {}; the newest at {}", rows.len(), words(&counts), rfc3339(newest.received_ms));
    findings.ok("deliveries", detail);
    let pending: Vec<&DeliveryRow> = rows.iter().filter(|row| row.result == "pending").collect();
    if let Some(row) = pending.first() {
        let problem = row.problem.as_deref().unwrap_or_default();
        let detail = format!("{} are pending: {problem}", pending.len());
        findings.warn("deliveries", detail, "look again in a minute; what fails for good becomes dead");
    }
    for (result, fix) in [
        ("unverified", "add the right secret; they are read by themselves then"),
        ("dead", "mend what the problem says, then `utmost replay` with their ids"),
    ] {
        let of: Vec<&DeliveryRow> = rows.iter().filter(|row| row.result == result).collect();
        let problems = tally(of.iter().filter_map(|row| row.problem.as_deref()));
        let most = problems.iter().max_by_key(|(_, count)| **count).map(|(problem, _)| *problem);
        if !of.is_empty() {
            let detail = format!("{} are {result}: {}", of.len(), most.unwrap_or("for no known reason"));
            findings.wrong("deliveries", detail, fix);
        }
    }
    orders(&rows, &source.role, findings);
    Ok(())
}

/// How the orders of these deliveries found their clicks.
fn orders(rows: &[DeliveryRow], role: &str, findings: &mut Findings) {
    let mut of: BTreeMap<&str, &DeliveryRow> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.status.is_some()) {
        of.insert(row.order_id.as_deref().unwrap_or_default(), row);
    }
    if of.is_empty() {
        if role == "of_record" {
            findings.warn(
                "orders",
                "no order is among them",
                "subscribe the topics of orders and refunds, and place a test order",
            );
        }
        return;
    }
    let is = |status: &str| of.values().filter(|row| row.status.as_deref() == Some(status)).count();
    let methods = tally(of.values().filter_map(|row| row.match_method.as_deref()));
    let attributed = is("attributed");
    let detail = format!(
        "{} in all: {attributed} attributed ({}), {} unattributed, {} excluded",
        of.len(),
        if methods.is_empty() { "by no method".to_owned() } else { words(&methods) },
        is("unattributed"),
        is("excluded")
    );
    findings.ok("orders", detail);
    let reasons = tally(of.values().filter_map(|row| row.reason.as_deref()));
    if !reasons.is_empty() {
        findings.ok("reasons", words(&reasons));
    }
    let by_token = methods.get("click_token").copied().unwrap_or(0);
    if by_token == 0 {
        findings.warn(
            "click token",
            "no order carries one, so only customers, coupons and UTM tags can match",
            "put the script (/js/utmost.js) into the shop's pages, and let cache plug-ins ignore um_click",
        );
    }
    if reasons.contains_key("invalid_token") {
        findings.wrong(
            "click token",
            "some orders carry one that is none of ours",
            "see that data_dir/keys.toml is the one of the server that made the links, and that nothing shortens um_click",
        );
    }
    if reasons.contains_key("missing_rate") {
        findings.wrong(
            "rates",
            "some orders are in a currency without a rate",
            "store rates: PUT /api/v1/rates, or `utmost rates FILE`",
        );
    }
}

fn tally<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

fn words(counts: &BTreeMap<&str, usize>) -> String {
    counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}
