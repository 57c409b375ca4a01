//! A batch of deliveries: interpret, hash what names people, store as facts, commit.

use super::privacy::{Erased, Person, customer_hashes, erase};
use super::{Worker, WorkerError};
use crate::domain::ids::LinkId;
use crate::domain::time::now_ms;
use crate::intake::fact::{Fact, Keys, Order, Says};
use crate::intake::{self, Fetch, Interpretation, Platform, PrivacyRequest};
use crate::ledger::conversions::OrderKey;
use crate::ledger::facts::{DeliveryRow, FactRow, TokenRow, put_delivery, put_fact};
use crate::ledger::{Tx, conversions, fetches, privacy, rollups, sources};
use crate::log::record::{Delivery, Record};
use crate::log::{Position, Stream};

const STREAM: &str = "conversions";

/// Deliveries have bodies of up to a mebibyte, so their batches are smaller than those of clicks.
const DELIVERIES_MAX: usize = 500;

/// Reads the deliveries of one partition.
pub(super) struct DeliveryReader {
    partition: u16,
    position: Position,
    /// As stored: empty before the first batch.
    stored: String,
}

impl DeliveryReader {
    pub(super) async fn open(worker: &Worker, partition: u16) -> Result<Self, WorkerError> {
        let stored = rollups::position(&worker.ledger, STREAM, partition).await?;
        let position = match stored.as_str() {
            "" => Position::START,
            text => text.parse().map_err(|_| WorkerError::Position(text.to_owned()))?,
        };
        worker.log.raise_above(Stream::Conversions, partition, position).await?;
        Ok(Self { partition, position, stored })
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Stores the next batch as facts; returns how many entries it had.
    pub(super) async fn next(&mut self, worker: &Worker) -> Result<usize, WorkerError> {
        let entries =
            worker.log.read(Stream::Conversions, self.partition, self.position, DELIVERIES_MAX).await?;
        let Some((last, _)) = entries.last() else { return Ok(0) };
        let text = last.to_string();
        let mut tx = worker.ledger.begin_alone().await?;
        if !rollups::move_position(&mut tx, STREAM, self.partition, &self.stored, &text).await? {
            return Err(WorkerError::Overtaken { stream: STREAM, partition: self.partition });
        }
        for (_, record) in &entries {
            match record {
                Record::Delivery(delivery) => store(worker, &mut tx, delivery).await?,
                Record::Click(_) | Record::Unreadable(_) => {
                    worker.metrics.unreadable.inc();
                }
            }
        }
        tx.commit().await?;
        self.position = *last;
        self.stored = text;
        worker.due.notify_one();
        Ok(entries.len())
    }
}

/// What became of a delivery, in the words of the deliveries table.
struct Outcome {
    result: &'static str,
    problem: Option<String>,
    topic: Option<String>,
    order_id: Option<String>,
    /// The body is a request to forget somebody, and is not kept.
    names_somebody: bool,
}

async fn store(worker: &Worker, tx: &mut Tx, delivery: &Delivery) -> Result<(), WorkerError> {
    let outcome = take(worker, tx, delivery).await?;
    worker.metrics.delivered(outcome.result);
    if let Some(problem) = outcome.problem.as_deref().filter(|_| outcome.result == "dead") {
        // The problem names fields and expectations, never values of people.
        tracing::warn!(delivery = delivery.id, source = delivery.source, problem, "delivery not understood");
    }
    let body: &[u8] = if outcome.names_somebody { b"" } else { &delivery.body };
    let headers = serde_json::to_string(&delivery.headers).unwrap_or_else(|_| "[]".into());
    put_delivery(
        tx,
        &DeliveryRow {
            id: &delivery.id,
            workspace: &delivery.workspace,
            source: &delivery.source,
            received_ms: delivery.received_ms,
            topic: outcome.topic.as_deref(),
            headers: &headers,
            body,
            result: outcome.result,
            problem: outcome.problem.as_deref(),
            order_id: outcome.order_id.as_deref(),
        },
    )
    .await?;
    Ok(())
}

async fn take(worker: &Worker, tx: &mut Tx, delivery: &Delivery) -> Result<Outcome, WorkerError> {
    let outcome = |result, problem: Option<String>| Outcome {
        result,
        problem,
        topic: None,
        order_id: None,
        names_somebody: false,
    };
    let Ok(platform) = delivery.platform.parse::<Platform>() else {
        return Ok(outcome("dead", Some(format!("platform {:?} is unknown", delivery.platform))));
    };
    let interpretation = intake::interpret(platform, &delivery.headers, &delivery.body, delivery.received_ms);
    if !delivery.is_verified {
        let problem = Some("the source has no secret that verifies it yet".to_owned());
        let topic = interpretation.ok().map(|interpretation| interpretation.topic);
        return Ok(Outcome { topic, ..outcome("unverified", problem) });
    }
    let interpretation = match interpretation {
        Ok(interpretation) => interpretation,
        Err(error) => return Ok(outcome("dead", Some(error.to_string()))),
    };
    let Interpretation { topic, facts, ignored, fetch, privacy, .. } = interpretation;
    if let Some(Fetch { order_id, .. }) = fetch {
        let outcome = match sources::has_api_token(tx, &delivery.source).await? {
            true => {
                fetches::want(tx, &delivery.id, &delivery.source, now_ms()).await?;
                outcome("pending", Some(fetches::WAITS.to_owned()))
            }
            false => outcome("dead", Some(needs_token(&order_id))),
        };
        return Ok(Outcome { topic: Some(topic), order_id: Some(order_id), ..outcome });
    }
    if let Some(request) = privacy {
        let done = heed(worker, tx, delivery, request).await?;
        let done = outcome("accepted", Some(done));
        return Ok(Outcome { topic: Some(topic), names_somebody: true, ..done });
    }
    let order_id = facts.first().map(|fact| fact.order_id.clone());
    let mut is_new = facts.is_empty();
    for fact in facts {
        let row = fact_row(worker, tx, delivery, fact).await?;
        is_new |= put_fact(tx, &row).await?;
    }
    let (result, problem) = match ignored {
        Some(reason) => ("ignored", Some(reason.to_owned())),
        None if is_new => ("accepted", None),
        None => ("duplicate", Some("an earlier delivery said the same".to_owned())),
    };
    Ok(Outcome { topic: Some(topic), order_id, ..outcome(result, problem) })
}

fn needs_token(order_id: &str) -> String {
    format!(
        "BigCommerce sends only the number of order {order_id}; give the source the token of an API account of the \
         store with the scope Orders: read-only (api_token, PATCH /api/v1/sources/{{id}}), and the order is fetched"
    )
}

/// Does what the law asks for; says what was done. The request itself names a person, so its body goes too.
async fn heed(
    worker: &Worker,
    tx: &mut Tx,
    delivery: &Delivery,
    request: PrivacyRequest,
) -> Result<String, WorkerError> {
    let own = |order_id: &String| OrderKey { source: delivery.source.clone(), order_id: order_id.clone() };
    let person = match &request {
        PrivacyRequest::EraseCustomer { source, customer_id, email, order_ids } => {
            let source = source.as_deref().unwrap_or(&delivery.source);
            Person {
                email: email.as_deref(),
                customer_id: customer_id.as_deref().map(|id| (source, id)),
                orders: order_ids.iter().map(own).collect(),
            }
        }
        PrivacyRequest::ReportCustomer { customer_id, email, .. } => {
            let id = customer_id.as_deref().map(|id| (delivery.source.as_str(), id));
            let hashes = customer_hashes(&worker.keys, &delivery.workspace, email.as_deref(), id);
            let count = privacy::orders_of(tx, &delivery.workspace, &hashes).await?.len();
            return Ok(format!("{count} orders are kept of this customer, with hashes instead of names"));
        }
        PrivacyRequest::EraseShop { .. } => {
            let orders = privacy::orders_of_source(tx, &delivery.source).await?;
            Person { orders, ..Person::default() }
        }
    };
    let Erased { orders, bodies, journeys } =
        erase(tx, &worker.journeys, &worker.keys, &delivery.workspace, person).await?;
    Ok(format!(
        "erased what led from {orders} orders to a person: {bodies} raw deliveries, the hashes, {journeys} journeys"
    ))
}

async fn fact_row(
    worker: &Worker,
    tx: &mut Tx,
    delivery: &Delivery,
    fact: Fact,
) -> Result<FactRow, WorkerError> {
    let Fact { order_id, version_ms, mut says } = fact;
    let (mut tokens, mut customers, mut references, mut coupons) = Default::default();
    let mut ordered_ms = version_ms;
    if let Says::Order(order) = &says {
        ordered_ms = order.occurred_ms;
    }
    if let Says::Order(Order { keys, .. }) | Says::Keys(keys) = &mut says {
        references = keys.references.clone();
        coupons = keys.coupons.iter().map(|code| code.trim().to_uppercase()).collect();
        customers = take_customers(worker, delivery, keys);
        tokens = take_tokens(worker, tx, &delivery.workspace, keys).await?;
        if let Some(landing) = &mut keys.landing_url {
            *landing = super::landing::without_people(landing);
        }
    }
    let says = serde_json::to_string(&says).map_err(|e| WorkerError::Fact(e.to_string()))?;
    // Who ordered and which clicks are named were taken out of it, and are part of the statement.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&version_ms.to_be_bytes()).update(says.as_bytes());
    for key in customers.iter().chain(tokens.iter().map(|token| &token.click)) {
        hasher.update(&[0]).update(key.as_bytes());
    }
    Ok(FactRow {
        workspace: delivery.workspace.clone(),
        source: delivery.source.clone(),
        order_id,
        version_ms,
        hash: hasher.finalize().to_hex()[..32].to_owned(),
        says,
        delivery: delivery.id.clone(),
        received_ms: delivery.received_ms,
        references,
        customers,
        coupons,
        tokens,
        ordered_ms,
        // Only needs to be unique and in order of arrival, as a link's does.
        conversion_id: LinkId::generate(delivery.received_ms).as_i64(),
    })
}

/// Hashes what names the customer, and takes it out of what is kept.
fn take_customers(worker: &Worker, delivery: &Delivery, keys: &mut Keys) -> Vec<String> {
    let (email, id) = (keys.email.take(), keys.customer_id.take());
    let id = id.as_deref().map(|id| (delivery.source.as_str(), id));
    customer_hashes(&worker.keys, &delivery.workspace, email.as_deref(), id)
}

/// Verifies the tokens. What is kept of them in the fact is only how many did not verify.
async fn take_tokens(
    worker: &Worker,
    tx: &mut Tx,
    workspace: &str,
    keys: &mut Keys,
) -> Result<Vec<TokenRow>, WorkerError> {
    let mut rows = Vec::new();
    let mut invalid = Vec::new();
    for text in std::mem::take(&mut keys.tokens) {
        match worker.keys.token.verify(text.trim()) {
            Ok(token) if conversions::has_link(tx, workspace, token.link).await? => rows.push(TokenRow {
                click: token.click.to_string(),
                link: token.link,
                visitor: token.visitor.map(|visitor| visitor.to_string()),
                at_ms: token.click.at_ms(),
            }),
            _ => invalid.push("invalid".to_owned()),
        }
    }
    keys.tokens = invalid;
    Ok(rows)
}
