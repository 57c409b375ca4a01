//! From what is known to a conversion's results: pure, but for the exchange rates that it looks up.

use std::collections::{BTreeSet, HashMap};

use jiff::tz::TimeZone;

use super::known::Known;
use super::money::{FX, Money};
use super::{DAY_MS, EvaluateError, KEPT_DAYS, VisitorKey};
use crate::attribution::credit;
use crate::attribution::journey::{self, Candidate, Evidence, Journey, Method, Rules};
use crate::attribution::models::{Model, ModelRules, weights};
use crate::attribution::order::OrderState;
use crate::config::Attribution;
use crate::domain::ids::{ClickId, LinkId};
use crate::domain::time;
use crate::intake::fact::OrderStatus;
use crate::ledger::Ledger;
use crate::ledger::conversions::{CreditRow, Due, Evaluation, TouchRow};
use crate::ledger::rollups::LinkHistories;
use crate::worker::classify::Device;
use crate::worker::journeys::Step;
use crate::worker::landing;
use crate::worker::workspaces::Workspace;

/// An order's touches are bounded like its customer's visitors. The latest stay.
const TOUCHES_MAX: usize = 1000;

pub(super) async fn decide(
    ledger: &Ledger,
    due: &Due,
    known: &Known,
    workspace: &Workspace,
    journeys: &HashMap<VisitorKey, Vec<Step>>,
    histories: &LinkHistories,
) -> Result<Evaluation, EvaluateError> {
    let Some(state) = &known.state else { return Ok(Evaluation::default()) };
    let settings = workspace.settings_for(&state.order.event);
    let money = Money::new(ledger, workspace, settings, state).await?;
    let mut evaluation = money.evaluation(state, workspace);
    evaluation.customers.clone_from(&known.customers);
    evaluation.t_ms = known.t_ms();
    if let Some(reason) = exclusion(state, settings, money.rate.is_none()) {
        evaluation.status = Some("excluded");
        evaluation.reason = Some(reason.to_owned());
        return Ok(evaluation);
    }

    let evidence = Evidence {
        occurred_ms: state.order.occurred_ms,
        candidates: candidates(due, known, journeys),
        rival_channel: landing::rival_channel(&state.order.keys, !known.utm_links.is_empty()),
        cut_ms: known.earlier_purchase_ms.filter(|_| settings.purchase_cuts_journey),
    };
    let rules = Rules {
        lookback_ms: i64::from(settings.lookback_days) * DAY_MS,
        duplicate_ms: settings.duplicate_ms(),
        include_rival_touches: settings.include_rival_touches,
    };
    let found = journey::journey(&evidence, &rules);
    let (touches, weigh_at_ms, method) = match &known.renewed_from {
        Some((_, first_t_ms, touches)) if !touches.is_empty() => {
            (touches.clone(), *first_t_ms, Some("renewal".to_owned()))
        }
        _ => (
            touch_rows(&found, &evidence, histories),
            found.t_ms,
            found.method.map(|method| method.as_str().to_owned()),
        ),
    };
    let ours = touches.iter().any(|touch| touch.counted && touch.link.is_some());
    evaluation.status = Some(if ours { "attributed" } else { "unattributed" });
    evaluation.reason = (!ours).then(|| {
        let reason = found.reason.unwrap_or("other_channel");
        let unverified =
            reason == "no_match" && !state.order.keys.tokens.is_empty() && known.clicks.is_empty();
        (if unverified { "invalid_token" } else { reason }).to_owned()
    });
    evaluation.match_method = method;
    evaluation.runners_up = found.runners_up.iter().map(|method| method.as_str().to_owned()).collect();
    evaluation.credits = credits(&evaluation, &touches, weigh_at_ms, settings, &workspace.zone);
    evaluation.touches = touches;
    Ok(evaluation)
}

fn exclusion(state: &OrderState, settings: &Attribution, rate_missing: bool) -> Option<&'static str> {
    match state.order.status {
        OrderStatus::Test => Some("test"),
        OrderStatus::Unpaid => Some("unpaid"),
        _ if rate_missing => Some("missing_rate"),
        _ if state.order.renews.is_some() && !settings.inherit_renewals => Some("renewal"),
        OrderStatus::Paid | OrderStatus::Cancelled => None,
    }
}

fn candidates(due: &Due, known: &Known, journeys: &HashMap<VisitorKey, Vec<Step>>) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let plain =
        |method, link| Candidate { method, link, click: None, visitor: None, country: None, device: None };
    for named in &known.clicks {
        candidates.push(Candidate {
            click: Some(named.click),
            visitor: named.visitor,
            ..plain(Method::ClickToken, named.link)
        });
    }
    // Other conversions read these journeys too, so they may reach further than this one's touches.
    let t_ms = known.t_ms().unwrap_or_default();
    let is_kept = |click: &ClickId| (t_ms - KEPT_DAYS * DAY_MS..=t_ms).contains(&click.at_ms());
    for visitor in &known.visitors {
        let steps = journeys.get(&(due.workspace.clone(), *visitor)).into_iter().flatten();
        for step in steps.filter(|step| is_kept(&step.click)) {
            let country = std::str::from_utf8(&step.country).ok().filter(|code| *code != "\0\0");
            candidates.push(Candidate {
                click: Some(step.click),
                visitor: Some(*visitor),
                country: country.map(str::to_owned),
                device: Device::ALL.get(usize::from(step.device)).map(|device| device.as_str().to_owned()),
                ..plain(Method::Customer, step.link)
            });
        }
    }
    // A journey may have expired since; what was once found in it stays known, also of clicks that are named.
    let was_in_journey = |touch: &&TouchRow| {
        touch.via == Method::Customer.as_str()
            || touch.via == Method::ClickToken.as_str() && touch.device.is_some()
    };
    for touch in known.stored_touches.iter().filter(was_in_journey) {
        // The visitor is missing where the customer was erased: the touch stays, and names nobody.
        if let (Some(link), Some(click)) = (touch.link, touch.click.filter(is_kept))
            && touch.visitor.is_none_or(|visitor| known.visitors.contains(&visitor))
        {
            candidates.push(Candidate {
                click: Some(click),
                visitor: touch.visitor,
                country: touch.country.clone(),
                device: touch.device.clone(),
                ..plain(Method::Customer, link)
            });
        }
    }
    if candidates.len() > TOUCHES_MAX {
        candidates.sort_by_key(|candidate| {
            (candidate.method != Method::ClickToken, std::cmp::Reverse(candidate.click))
        });
        candidates.truncate(TOUCHES_MAX);
    }
    candidates.extend(known.coupon_links.iter().map(|link| plain(Method::Coupon, *link)));
    candidates.extend(known.utm_links.iter().map(|link| plain(Method::Utm, *link)));
    candidates
}

/// The journey's touches, which have credits, and after them what is known besides.
fn touch_rows(found: &Journey, evidence: &Evidence, histories: &LinkHistories) -> Vec<TouchRow> {
    let revision = |link: LinkId, at_ms| histories.get(&link).map_or(1, |history| history.revision_at(at_ms));
    let counted: BTreeSet<_> = found.touches.iter().map(|touch| (touch.click, touch.link)).collect();
    let mut rows: Vec<TouchRow> = found
        .touches
        .iter()
        .map(|touch| TouchRow {
            at_ms: touch.at_ms,
            via: touch.method.map_or("landing", Method::as_str).to_owned(),
            link: touch.link,
            revision: touch.link.map(|link| revision(link, touch.at_ms)),
            click: touch.click,
            visitor: touch.visitor,
            channel: touch.channel.clone(),
            country: touch.country.clone(),
            device: touch.device.clone(),
            counted: true,
        })
        .collect();
    let mut others: BTreeSet<_> = BTreeSet::new();
    for candidate in &evidence.candidates {
        let Some(click) = candidate.click else { continue };
        if !counted.contains(&(Some(click), Some(candidate.link))) && others.insert((click, candidate.link)) {
            rows.push(TouchRow {
                at_ms: click.at_ms(),
                via: candidate.method.as_str().to_owned(),
                link: Some(candidate.link),
                revision: Some(revision(candidate.link, click.at_ms())),
                click: Some(click),
                visitor: candidate.visitor,
                channel: None,
                country: candidate.country.clone(),
                device: candidate.device.clone(),
                counted: false,
            });
        }
    }
    let ours = found.touches.len();
    rows[ours..].sort_by_key(|row| (row.at_ms, row.click));
    rows
}

fn credits(
    evaluation: &Evaluation,
    touches: &[TouchRow],
    weigh_at_ms: i64,
    settings: &Attribution,
    zone: &TimeZone,
) -> Vec<CreditRow> {
    let counted: Vec<&TouchRow> = touches.iter().filter(|touch| touch.counted).collect();
    let times: Vec<i64> = counted.iter().map(|touch| touch.at_ms).collect();
    let rules = ModelRules {
        half_life_ms: (settings.half_life_days * DAY_MS as f64) as i64,
        position_shares: settings.position_shares,
    };
    let per_model: Vec<Vec<i64>> = Model::ALL
        .iter()
        .map(|model| credit::quantise(&weights(*model, &times, weigh_at_ms, &rules)))
        .collect();
    let mut credits = Vec::new();
    let mut so_far = 0;
    for (change_no, change) in (0i64..).zip(&evaluation.changes) {
        let (before, after) = (so_far, so_far + change.amount_minor);
        // An exchange difference stands beside the others, not among them.
        so_far = if change.kind == FX { before } else { after };
        let shares: Vec<Vec<i64>> = per_model
            .iter()
            .map(|weights| match change.kind {
                FX => credit::split_billionths(change.amount_minor, weights),
                _ => {
                    let (old, new) =
                        (credit::split_billionths(before, weights), credit::split_billionths(after, weights));
                    new.iter().zip(old).map(|(new, old)| new - old).collect()
                }
            })
            .collect();
        for (n, touch) in counted.iter().enumerate() {
            credits.push(CreditRow {
                change_no,
                touch_no: n as i64,
                click_day: time::local_day(touch.at_ms, zone),
                is_last: n + 1 == counted.len(),
                amounts_minor: std::array::from_fn(|model| shares[model][n]),
                weights: std::array::from_fn(|model| if change_no == 0 { per_model[model][n] } else { 0 }),
            });
        }
    }
    credits
}

#[cfg(test)]
mod tests;
