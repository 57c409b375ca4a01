//! Evaluating due conversions: gather what is known, decide (pure), write. Run again on the same
//! knowledge it writes the same.
//!
//! Two transactions: the first makes the conversion's visitors known, then its journeys are read,
//! then the second writes the results. A click that comes in between finds the conversion by its
//! visitors and marks it due again; whoever comes second sees the other (invariant 5).

use std::collections::{BTreeSet, HashMap};

use jiff::tz::TimeZone;

use super::classify::Device;
use super::journeys::{JourneyError, Journeys, Step, Who};
use super::landing;
use super::workspaces::{Workspace, Workspaces};
use crate::attribution::credit;
use crate::attribution::journey::{self, Candidate, Evidence, Journey, Method, Rules};
use crate::attribution::models::{Model, ModelRules, weights};
use crate::attribution::order::{self, MovementKind, OrderState, RevenueBasis, StoredFact};
use crate::config::Attribution;
use crate::domain::ids::{ClickId, LinkId, VisitorId};
use crate::domain::money::{self, Currency};
use crate::domain::time;
use crate::intake::fact::{Keys, OrderStatus, Says};
use crate::ledger::conversions::{
    self, ChangeRow, CreditRow, Due, Evaluation, NamedClick, OrderKey, Put, TouchRow,
};
use crate::ledger::rollups::{LinkHistory, link_histories};
use crate::ledger::{Ledger, LedgerError, Tx, facts, rates};

#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Journey(#[from] JourneyError),
}

/// A customer's visitors and an order's touches are bounded, so that no shared device or hostile
/// client can make one conversion cost without limit. The earliest visitors and the latest touches stay.
const VISITORS_MAX: i64 = 50;
const TOUCHES_MAX: usize = 1000;

const DAY_MS: i64 = 24 * 3_600_000;
/// Touches are kept this long, so that a longer lookback can be tried later.
const KEPT_DAYS: i64 = 400;

/// Evaluates up to `limit` due conversions; returns how many there were.
pub async fn evaluate_due(
    ledger: &Ledger,
    journeys: &Journeys,
    workspaces: &mut Workspaces,
    limit: i64,
) -> Result<usize, EvaluateError> {
    let due = conversions::due(ledger, limit).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut tx = ledger.begin_alone().await?;
    let mut all_known = Vec::with_capacity(due.len());
    for due in &due {
        let known = gather(&mut tx, due).await?;
        let renews = known.state.as_ref().and_then(|state| state.order.renews.as_deref());
        let is_moved = conversions::announce(&mut tx, due, &known.visitors, known.t_ms(), renews).await?;
        if is_moved && workspaces.get(ledger, &due.workspace).await?.purchases_may_cut() {
            facts::mark_related(&mut tx, &due.workspace, &due.order()).await?;
        }
        all_known.push(known);
    }
    tx.commit().await?;

    let journeys_of = read_journeys(journeys, &due, &all_known).await?;
    let links: BTreeSet<LinkId> = all_known.iter().flat_map(|known| known.links(&journeys_of)).collect();
    let histories = link_histories(ledger, &Vec::from_iter(links)).await?;

    let mut decided = Vec::with_capacity(due.len());
    for (due, known) in due.iter().zip(&all_known) {
        let workspace = workspaces.get(ledger, &due.workspace).await?;
        decided.push(decide(ledger, due, known, workspace, &journeys_of, &histories).await?);
    }

    let now_ms = time::now_ms();
    let mut tx = ledger.begin_alone().await?;
    for ((due, known), evaluation) in due.iter().zip(&all_known).zip(&decided) {
        let put = conversions::put_evaluation(ledger, &mut tx, due, evaluation, now_ms).await?;
        let Put::Done { counts_anew } = put else { continue };
        // Whoever has read the former results evaluates anew.
        if counts_anew && workspaces.get(ledger, &due.workspace).await?.purchases_may_cut() {
            facts::mark_related(&mut tx, &due.workspace, &due.order()).await?;
        }
        if evaluation.renews.is_none() {
            conversions::mark_renewals(&mut tx, &due.source, &known.references).await?;
        }
    }
    tx.commit().await?;
    Ok(due.len())
}

/// Everything that the ledger knows about one conversion.
#[derive(Default)]
struct Known {
    /// None: not an order (yet), or only another name or evidence of one.
    state: Option<OrderState>,
    references: Vec<String>,
    customers: BTreeSet<String>,
    clicks: Vec<NamedClick>,
    /// Visitors whose whole journey counts.
    visitors: BTreeSet<VisitorId>,
    coupon_links: BTreeSet<LinkId>,
    utm_links: BTreeSet<LinkId>,
    stored_touches: Vec<TouchRow>,
    earlier_purchase_ms: Option<i64>,
    /// The first sale's counted touches and T, if this is a renewal of a known subscription.
    renewed_from: Option<(i64, Vec<TouchRow>)>,
}

impl Known {
    fn t_ms(&self) -> Option<i64> {
        let state = self.state.as_ref()?;
        let named = self.clicks.iter().map(|named| named.click.at_ms());
        Some(named.fold(state.order.occurred_ms, i64::max))
    }

    fn links<'a>(
        &'a self,
        journeys: &'a HashMap<VisitorKey, Vec<Step>>,
    ) -> impl Iterator<Item = LinkId> + 'a {
        let named = self.clicks.iter().map(|named| named.link);
        let inferred = self.coupon_links.iter().chain(&self.utm_links).copied();
        let stored = self.stored_touches.iter().filter_map(|touch| touch.link);
        let stepped = journeys.iter().filter(|((_, visitor), _)| self.visitors.contains(visitor));
        named.chain(inferred).chain(stored).chain(stepped.flat_map(|(_, steps)| steps.iter().map(|s| s.link)))
    }
}

/// Workspace and visitor.
type VisitorKey = (String, VisitorId);

async fn gather(tx: &mut Tx, due: &Due) -> Result<Known, EvaluateError> {
    let own = due.order();
    if !conversions::is_of_record(tx, &due.source).await? {
        return Ok(Known::default());
    }
    let references = conversions::references(tx, &own).await?;
    let aliases = conversions::known_as(tx, &own, &references).await?;
    let known_by = conversions::known_by(tx, &due.workspace, &own).await?;
    let mut facts = conversions::facts(tx, &own).await?;
    let states_order = |facts: &[StoredFact]| facts.iter().any(|fact| matches!(fact.says, Says::Order(_)));

    // Of two names of one sale, the one that lists the other is the order; if both do, the smaller id.
    for other in &known_by {
        let mutual = aliases.contains(other);
        if (!mutual || other.order_id < own.order_id) && states_order(&conversions::facts(tx, other).await?) {
            return Ok(Known { references, ..Known::default() });
        }
    }
    let money_is_own = states_order(&facts);
    let mut alias_keys: Option<Keys> = None;
    for alias in &aliases {
        for fact in conversions::facts(tx, alias).await? {
            match fact.says {
                // The sale itself is stated once; the other name adds only its keys.
                Says::Order(order) if money_is_own => {
                    alias_keys = Some(match alias_keys {
                        Some(keys) => order::joined(keys, order.keys),
                        None => order.keys,
                    });
                }
                _ => facts.push(fact),
            }
        }
    }
    let Some(mut state) = order::fold(facts) else { return Ok(Known { references, ..Known::default() }) };
    if let Some(keys) = alias_keys {
        state.order.keys = order::joined(state.order.keys, keys);
    }

    let evidence = conversions::evidence(tx, &due.workspace, &references).await?;
    for order in &evidence {
        let named = order::named(conversions::facts(tx, order).await?);
        state.order.keys = order::joined(state.order.keys, named);
    }
    let orders: Vec<OrderKey> =
        std::iter::once(own).chain(aliases).chain(evidence).collect::<BTreeSet<_>>().into_iter().collect();
    let customers = conversions::customers(tx, &orders).await?;
    let clicks = conversions::named_clicks(tx, &orders).await?;

    let mut candidates: BTreeSet<VisitorId> = clicks.iter().filter_map(|named| named.visitor).collect();
    candidates.extend(conversions::visitors_of(tx, &due.workspace, &customers, VISITORS_MAX).await?);
    let claims = conversions::claims(tx, &due.workspace, &candidates).await?;
    let visitors: BTreeSet<VisitorId> =
        candidates.into_iter().filter(|visitor| belongs(*visitor, &customers, &claims)).collect();

    let mut known = Known {
        earlier_purchase_ms: None,
        stored_touches: conversions::touches(tx, due.id).await?,
        references,
        customers,
        clicks,
        visitors,
        ..Known::default()
    };
    for code in &state.order.keys.coupons {
        let links = conversions::coupon_links(tx, &due.workspace, &code.trim().to_uppercase()).await?;
        known.coupon_links.extend(links);
    }
    if let Some(link) = utm_link(tx, &due.workspace, &state.order.keys.utm).await? {
        known.utm_links.insert(link);
    }
    if let Some(subscription) = &state.order.renews
        && let Some((first, Some(first_t_ms))) =
            conversions::first_sale(tx, &due.workspace, &due.source, subscription).await?
    {
        let touches = conversions::touches(tx, first).await?;
        known.renewed_from = Some((first_t_ms, touches.into_iter().filter(|t| t.counted).collect()));
    }
    known.state = Some(state);
    if let Some(t_ms) = known.t_ms() {
        known.earlier_purchase_ms = conversions::earlier_purchase_ms(tx, due, &known.customers, t_ms).await?;
    }
    Ok(known)
}

/// A visitor belongs to the first customer that claimed it: a link that was passed on must not merge two
/// strangers. An order without any customer contradicts nobody.
fn belongs(visitor: VisitorId, customers: &BTreeSet<String>, claims: &[conversions::Claim]) -> bool {
    let of_visitor = || claims.iter().filter(|claim| claim.visitor == visitor);
    let first = of_visitor().map(|claim| (claim.ordered_ms, &claim.order)).min();
    let Some(first) = first else { return true };
    customers.is_empty()
        || of_visitor()
            .filter(|claim| (claim.ordered_ms, &claim.order) == first)
            .any(|claim| customers.contains(&claim.customer))
}

/// The one link that UTM values identify: by the id that links stamp into utm_content, else by the tags
/// of exactly one link.
async fn utm_link(
    tx: &mut Tx,
    workspace: &str,
    utm: &[(String, String)],
) -> Result<Option<LinkId>, LedgerError> {
    let value = |name: &str| {
        let found = utm.iter().find(|(known, value)| known == name && !value.trim().is_empty());
        found.map(|(_, value)| value.trim().to_lowercase())
    };
    if let Some(stamped) = value("content").and_then(|content| content.parse::<LinkId>().ok())
        && conversions::has_link(tx, workspace, stamped).await?
    {
        return Ok(Some(stamped));
    }
    let (Some(source), Some(campaign)) = (value("source"), value("campaign")) else { return Ok(None) };
    let mut tags = vec![("utm_source", source), ("utm_campaign", campaign)];
    for (name, column) in [("medium", "utm_medium"), ("content", "utm_content"), ("term", "utm_term")] {
        tags.extend(value(name).map(|value| (column, value)));
    }
    let links = conversions::links_with_utm(tx, workspace, &tags).await?;
    Ok(match links.as_slice() {
        [link] => Some(*link),
        _ => None,
    })
}

async fn read_journeys(
    journeys: &Journeys,
    due: &[Due],
    known: &[Known],
) -> Result<HashMap<VisitorKey, Vec<Step>>, JourneyError> {
    let keys: BTreeSet<VisitorKey> = due
        .iter()
        .zip(known)
        .flat_map(|(due, known)| known.visitors.iter().map(|visitor| (due.workspace.clone(), *visitor)))
        .collect();
    let ts = || known.iter().filter_map(Known::t_ms);
    let (Some(first_ms), Some(last_ms)) = (ts().min(), ts().max()) else { return Ok(HashMap::new()) };
    let whose: Vec<Who> = keys
        .iter()
        .map(|(workspace, visitor)| Who { workspace: workspace.clone(), visitor: *visitor, anonymous: false })
        .collect();
    let steps = journeys.read(&whose, first_ms - KEPT_DAYS * DAY_MS, last_ms).await?;
    Ok(keys.into_iter().zip(steps).collect())
}

async fn decide(
    ledger: &Ledger,
    due: &Due,
    known: &Known,
    workspace: &Workspace,
    journeys: &HashMap<VisitorKey, Vec<Step>>,
    histories: &HashMap<LinkId, LinkHistory>,
) -> Result<Evaluation, EvaluateError> {
    let Some(state) = &known.state else { return Ok(Evaluation::default()) };
    let settings = workspace.settings_for(&state.order.event);
    let money = Money::new(ledger, workspace, settings, state).await?;
    let mut evaluation = money.evaluation(state, workspace);
    evaluation.customer = known.customers.first().cloned();
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
        duplicate_ms: i64::from(settings.duplicate_seconds) * 1000,
        include_rival_touches: settings.include_rival_touches,
    };
    let found = journey::journey(&evidence, &rules);
    let (touches, weigh_at_ms, method) = match &known.renewed_from {
        Some((first_t_ms, touches)) if !touches.is_empty() => {
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
    // A journey may have expired since; what was once found in it stays known.
    for touch in known.stored_touches.iter().filter(|touch| touch.via == Method::Customer.as_str()) {
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
fn touch_rows(
    found: &Journey,
    evidence: &Evidence,
    histories: &HashMap<LinkId, LinkHistory>,
) -> Vec<TouchRow> {
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

/// The kind of a change that counts only under clock=cash.
const FX: &str = "fx";

/// An order's money in the reporting currency.
struct Money {
    basis: RevenueBasis,
    /// None: no rate is known for the order's day.
    rate: Option<rust_decimal::Decimal>,
    order_day: i32,
    changes: Vec<ChangeRow>,
    assigned_value_minor: Option<i64>,
}

impl Money {
    async fn new(
        ledger: &Ledger,
        workspace: &Workspace,
        settings: &Attribution,
        state: &OrderState,
    ) -> Result<Self, LedgerError> {
        let order = &state.order;
        let basis = RevenueBasis::from_setting(&settings.revenue_basis).unwrap_or(RevenueBasis::ExTax);
        let order_day = time::local_day(order.occurred_ms, &workspace.zone);
        let from: Currency = order.currency.parse().unwrap_or(workspace.currency);
        let to = workspace.currency;
        let rate_on = async |day| rates::rate(ledger, &from.to_string(), &to.to_string(), day).await;
        let rate = rate_on(order_day).await?;
        let mut changes = Vec::new();
        if let Some(rate) = rate {
            let converted = |minor, rate| money::convert(minor, from, to, rate).unwrap_or_default();
            let (mut net_own, mut net) = (0, 0);
            for movement in order::movements(state, basis) {
                let after = converted(movement.net_minor, rate);
                let day = time::local_day(movement.at_ms, &workspace.zone);
                changes.push(ChangeRow {
                    kind: movement.kind.as_str(),
                    refund_id: movement.refund_id.clone(),
                    amount_minor: after - net,
                    at_ms: movement.at_ms,
                    day,
                });
                // On its own day's rate a refund moves another amount; without one, the order's stands.
                if movement.kind != MovementKind::Revenue
                    && let Some(cash_rate) = rate_on(day).await?
                {
                    // As a difference of nets, so that equal rates differ by nothing and all parts
                    // of a full refund give back all that stood.
                    let cash = converted(movement.net_minor, cash_rate) - converted(net_own, cash_rate);
                    let difference = cash - (after - net);
                    if difference != 0 {
                        changes.push(ChangeRow {
                            kind: FX,
                            refund_id: movement.refund_id,
                            amount_minor: difference,
                            at_ms: movement.at_ms,
                            day,
                        });
                    }
                }
                (net_own, net) = (movement.net_minor, after);
            }
        }
        let assigned = settings.assigned_values.get(&order.event).filter(|_| order.event != "purchase");
        let assigned_value_minor = assigned.and_then(|text| money::parse_minor(text, to).ok());
        Ok(Self { basis: basis.possible_for(order), rate, order_day, changes, assigned_value_minor })
    }

    fn evaluation(&self, state: &OrderState, workspace: &Workspace) -> Evaluation {
        let order = &state.order;
        let sum = |of: &dyn Fn(&ChangeRow) -> bool| -> Option<i64> {
            self.rate.map(|_| self.changes.iter().filter(|c| of(c)).map(|c| c.amount_minor).sum())
        };
        Evaluation {
            event: Some(order.event.clone()),
            occurred_ms: Some(order.occurred_ms),
            order_day: Some(self.order_day),
            currency: Some(match order.currency.as_str() {
                "" => workspace.currency.to_string(),
                currency => currency.to_owned(),
            }),
            total_minor: Some(order.total_minor),
            tax_minor: order.tax_minor,
            shipping_minor: order.shipping_minor,
            refunded_minor: Some(state.refunds.iter().map(|refund| refund.amount_minor).sum()),
            cost_of_goods_minor: order.cost_of_goods_minor,
            gross_minor: sum(&|change| change.kind == "revenue"),
            refunds_minor: sum(&|change| !matches!(change.kind, "revenue" | FX)).map(|minor| -minor),
            net_minor: sum(&|change| change.kind != FX),
            basis: Some(self.basis.as_str()),
            rate: self.rate.map(|rate| rate.normalize().to_string()),
            rate_day: Some(self.order_day),
            assigned_value_minor: self.assigned_value_minor,
            renews: order.renews.clone(),
            changes: self.changes.clone(),
            ..Evaluation::default()
        }
    }
}
