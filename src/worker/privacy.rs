//! Erasing a customer on request: of the customer, of the shop (Shopify's `customers/redact` and
//! `shop/redact`), or of the workspace's owner over the API.

use std::collections::BTreeSet;

use super::journeys::{JourneyError, Journeys, Who};
use crate::domain::keys::KeyRing;
use crate::ledger::conversions::OrderKey;
use crate::ledger::{LedgerError, Tx, conversions, privacy};

#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Journey(#[from] JourneyError),
}

/// Who is to be forgotten, in a shop's or a person's words.
#[derive(Debug, Clone, Default)]
pub struct Person<'a> {
    pub email: Option<&'a str>,
    /// A source and its own id of the customer.
    pub customer_id: Option<(&'a str, &'a str)>,
    /// Orders that are known to be theirs.
    pub orders: Vec<OrderKey>,
}

/// The hashes under which a customer is known. A platform's id means something only within its source; an
/// e-mail joins within the workspace.
pub fn customer_hashes(
    keys: &KeyRing,
    workspace: &str,
    email: Option<&str>,
    customer_id: Option<(&str, &str)>,
) -> Vec<String> {
    let id =
        customer_id.map(|(source, id)| keys.customer_hash(workspace, &format!("id:{source}"), id.trim()));
    let email = email.map(|email| email.trim().to_lowercase()).filter(|email| email.contains('@'));
    id.into_iter().chain(email.map(|email| keys.customer_hash(workspace, "email", &email))).collect()
}

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Orders that led to the person. They and their money stay, anonymous.
    pub orders: usize,
    /// Raw deliveries whose bodies are gone.
    pub bodies: u64,
    /// Visitors whose journeys are gone.
    pub journeys: usize,
}

/// Erases raw bodies, hashes and journeys of a person, or of the orders given. The journeys go before the
/// transaction commits, so that a crash between the two repeats the whole.
pub async fn erase(
    tx: &mut Tx,
    journeys: &Journeys,
    keys: &KeyRing,
    workspace: &str,
    person: Person<'_>,
) -> Result<Erased, EraseError> {
    let hashes = customer_hashes(keys, workspace, person.email, person.customer_id);
    let mut orders = BTreeSet::from_iter(person.orders);
    orders.extend(privacy::orders_of(tx, workspace, &hashes).await?);
    let own = Vec::from_iter(orders.clone());
    // Under whatever other name these orders know their customer, it is the same person.
    let customers = conversions::customers(tx, &own).await?;
    if !hashes.is_empty() {
        orders.extend(privacy::orders_of(tx, workspace, &Vec::from_iter(customers.clone())).await?);
    }
    let akin = privacy::akin(tx, workspace, &Vec::from_iter(orders.clone())).await?;
    let all = Vec::from_iter(orders.iter().cloned().chain(akin).collect::<BTreeSet<_>>());
    let bodies = privacy::erase_bodies(tx, &all).await?;
    let visitors = privacy::visitors_of(tx, &all).await?;
    privacy::make_anonymous(tx, workspace, &customers, &visitors).await?;
    for visitor in &visitors {
        journeys.erase(&Who { workspace: workspace.into(), visitor: *visitor, anonymous: false }).await?;
    }
    Ok(Erased { orders: orders.len(), bodies, journeys: visitors.len() })
}
