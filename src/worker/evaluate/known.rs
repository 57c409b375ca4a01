//! What the ledger knows about one conversion: its facts as one order, whose it is, which clicks and links
//! it names, and whose journeys count.

use std::collections::{BTreeSet, HashMap};

use super::{EvaluateError, VisitorKey};
use crate::attribution::order::{self, OrderState, StoredFact};
use crate::domain::ids::{LinkId, VisitorId};
use crate::intake::fact::{Keys, Says};
use crate::ledger::conversions::{self, Due, NamedClick, OrderKey, TouchRow};
use crate::ledger::{LedgerError, Tx};
use crate::worker::journeys::Step;

/// A customer's visitors are bounded, so that no shared device or hostile client can make one conversion
/// cost without limit. The earliest stay.
const VISITORS_MAX: i64 = 50;

/// Everything that the ledger knows about one conversion.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// None: not an order (yet), or only another name or evidence of one.
    pub(super) state: Option<OrderState>,
    pub(super) references: Vec<String>,
    pub(super) customers: BTreeSet<String>,
    pub(super) clicks: Vec<NamedClick>,
    /// Visitors whose whole journey counts.
    pub(super) visitors: BTreeSet<VisitorId>,
    pub(super) coupon_links: BTreeSet<LinkId>,
    pub(super) utm_links: BTreeSet<LinkId>,
    pub(super) stored_touches: Vec<TouchRow>,
    pub(super) earlier_purchase_ms: Option<i64>,
    /// The first sale, its T and its counted touches, if this is a renewal of a known subscription.
    pub(super) renewed_from: Option<(i64, i64, Vec<TouchRow>)>,
}

impl Known {
    pub(super) fn t_ms(&self) -> Option<i64> {
        let state = self.state.as_ref()?;
        let named = self.clicks.iter().map(|named| named.click.at_ms());
        Some(named.fold(state.order.occurred_ms, i64::max))
    }

    pub(super) fn links<'a>(
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

pub(super) async fn gather(tx: &mut Tx, due: &Due) -> Result<Known, EvaluateError> {
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
    let t_ms = known.clicks.iter().map(|named| named.click.at_ms()).fold(state.order.occurred_ms, i64::max);
    for code in &state.order.keys.coupons {
        let code = code.trim().to_uppercase();
        known.coupon_links.extend(conversions::coupon_links(tx, &due.workspace, &code, t_ms).await?);
    }
    known.utm_links.extend(utm_link(tx, &due.workspace, &state.order.keys.utm, t_ms).await?);
    if let Some(subscription) = &state.order.renews
        && let Some((first, Some(first_t_ms))) =
            conversions::first_sale(tx, &due.workspace, &due.source, subscription).await?
    {
        let touches = conversions::touches(tx, first).await?;
        known.renewed_from = Some((first, first_t_ms, touches.into_iter().filter(|t| t.counted).collect()));
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
/// of exactly one link that was there at `at_ms`.
async fn utm_link(
    tx: &mut Tx,
    workspace: &str,
    utm: &[(String, String)],
    at_ms: i64,
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
    let links = conversions::links_with_utm(tx, workspace, &tags, at_ms).await?;
    Ok(match links.as_slice() {
        [link] => Some(*link),
        _ => None,
    })
}
