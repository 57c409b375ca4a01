//! The reference's order: what stands after all statements.

use crate::rules::filled;
use crate::world::{Keys, Order, Refund, Says, Status, World};

pub struct State {
    /// The newest statement, tax and shipping filled from older ones.
    pub order: Order,
    /// Of all statements.
    pub keys: Keys,
    /// Each once, oldest first, those taken back left out.
    pub refunds: Vec<Refund>,
    /// Since when it has been cancelled, if it still is.
    pub cancelled_ms: Option<i64>,
}

/// From statements, the oldest first. None while nothing has stated the order itself.
pub fn state(world: &World, said: &[usize]) -> Option<State> {
    let statements = || said.iter().map(|index| &world.statements[*index]);
    let stated = || {
        statements().filter_map(|statement| match &statement.says {
            Says::Order(order) => Some(&**order),
            Says::Refund(_) | Says::Deleted => None,
        })
    };
    let newest_first: Vec<&Order> = stated().collect::<Vec<_>>().into_iter().rev().collect();
    let mut order = (*newest_first.first()?).clone();
    order.tax_minor = newest_first.iter().find_map(|order| order.tax_minor);
    order.shipping_minor = newest_first.iter().find_map(|order| order.shipping_minor);
    let keys = newest_first.iter().map(|order| own_keys(&order.keys)).reduce(filled).expect("one");

    let mut refunds: Vec<Refund> = Vec::new();
    let mut cancelled_ms = None;
    for statement in statements() {
        match &statement.says {
            Says::Refund(refund) => {
                refunds.retain(|known| known.id != refund.id);
                refunds.push(refund.clone());
            }
            Says::Order(order) if order.status != Status::Cancelled => cancelled_ms = None,
            Says::Order(_) | Says::Deleted => {
                cancelled_ms = cancelled_ms.or(Some(statement.version_ms));
            }
        }
    }
    refunds.retain(|refund| refund.amount_minor != 0);
    refunds.sort_by_key(|refund| (refund.occurred_ms, refund.id.clone()));
    Some(State { order, keys, refunds, cancelled_ms })
}

/// With the tags of the landing among those stated apart, which come first.
fn own_keys(keys: &Keys) -> Keys {
    let mut own = Keys { tokens: keys.all_tokens(), ..keys.clone() };
    for (name, value) in keys.landing.iter().flat_map(|landing| &landing.tags) {
        own.utm.entry(name).or_insert_with(|| value.clone());
    }
    own
}
