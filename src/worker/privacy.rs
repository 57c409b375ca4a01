//! Erasing a customer on request: of the customer, of the shop (Shopify's `customers/redact` and
//! `shop/redact`), or of the workspace's owner over the API.

use super::journeys::{JourneyError, Journeys, Who};
use crate::domain::keys::KeyRing;
use crate::ledger::conversions::OrderKey;
use crate::ledger::{LedgerError, Tx, privacy};

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

/// Erases raw bodies, hashes and journeys of a person; returns how many orders were theirs. The journeys
/// go before the transaction commits, so that a crash between the two repeats the whole.
pub async fn erase(
    tx: &mut Tx,
    journeys: &Journeys,
    keys: &KeyRing,
    workspace: &str,
    person: Person<'_>,
) -> Result<usize, EraseError> {
    let hashes = customer_hashes(keys, workspace, person.email, person.customer_id);
    let mut orders = privacy::orders_of(tx, workspace, &hashes).await?;
    orders.extend(person.orders);
    orders.sort();
    orders.dedup();
    for visitor in privacy::erase_people(tx, workspace, &orders).await? {
        journeys.erase(&Who { workspace: workspace.to_owned(), visitor, anonymous: false }).await?;
    }
    Ok(orders.len())
}
