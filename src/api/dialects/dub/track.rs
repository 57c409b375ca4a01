//! Leads and sales as Dub's clients report them: conversions by API like any other.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use serde_json::{Value, json};

use super::show;
use crate::api::Api;
use crate::api::auth::{Caller, Scope};
use crate::api::conversions;
use crate::api::dialects::fields::Fields;
use crate::api::error::Answer;
use crate::domain::money::{Currency, format_minor};
use crate::ledger::links::{self, LinkRow};

/// Leads in one call.
const QUANTITY_MAX: i64 = 100;

struct Customer {
    id: Option<String>,
    email: Option<String>,
    name: Option<String>,
    avatar: Option<String>,
}

impl Customer {
    fn take(fields: &mut Fields) -> Self {
        // Older clients know the id by other names.
        let id = ["customerExternalId", "externalId", "customerId"];
        Self {
            id: id.iter().filter_map(|name| fields.text(name)).next(),
            email: fields.text("customerEmail"),
            name: fields.text("customerName"),
            avatar: fields.text("customerAvatar"),
        }
    }

    fn shown(&self) -> Value {
        let Self { id, email, name, avatar } = self;
        json!({"id": id, "externalId": id, "name": name, "email": email, "avatar": avatar})
    }

    /// As a conversion holds it.
    fn native(&self) -> Value {
        json!({"id": self.id, "email": self.email})
    }
}

fn take_click(fields: &mut Fields) -> Option<String> {
    fields.text("clickId").filter(|click| !click.trim().is_empty())
}

/// The link that a click token names, if it is one of the workspace's.
async fn clicked(api: &Api, workspace: &str, click: Option<&str>) -> Answer<Option<LinkRow>> {
    let Some(token) = click.and_then(|click| api.ring.token.verify(click).ok()) else { return Ok(None) };
    Ok(links::get(&api.ledger, workspace, token.link.as_i64()).await?)
}

/// `POST /track/lead`: the lead of a customer by that name counts once.
pub async fn lead(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may(Scope::Conversions)?;
    let click = take_click(&mut fields);
    let customer = Customer::take(&mut fields);
    let event = fields.text("eventName").unwrap_or_default();
    let quantity = fields.number("eventQuantity").unwrap_or(1);
    if event.is_empty() {
        fields.refuse("eventName", "eventName is missing, such as \"Sign up\"");
    }
    if customer.id.is_none() {
        fields.refuse("customerExternalId", "customerExternalId is missing: your id of the customer");
    }
    if !(1..=QUANTITY_MAX).contains(&quantity) {
        fields.refuse("eventQuantity", format!("eventQuantity must be from 1 to {QUANTITY_MAX}"));
    }
    fields.check()?;
    let name = format!("lead/{}/{event}", customer.id.as_deref().unwrap_or_default());
    for nth in 1..=quantity {
        let id = if nth == 1 { name.clone() } else { format!("{name}/{nth}") };
        let mut body = json!({"id": id, "event": "lead", "customer": customer.native()});
        body["click_id"] = click.clone().into();
        conversions::take(&api, workspace, body).await?;
    }
    let link = clicked(&api, workspace, click.as_deref()).await?;
    let link = link.map(|link| show::link(&api, &link, links::LinkFigures::default()));
    Ok(JsonAnswer(json!({
        "click": {"id": click.unwrap_or_default()},
        "link": link,
        "customer": customer.shown(),
    })))
}

/// `POST /track/sale`: the amount is in minor units; sent again with the same `invoiceId` it is the same sale.
pub async fn sale(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut fields: Fields,
) -> Answer<JsonAnswer<Value>> {
    let workspace = caller.may(Scope::Conversions)?;
    let click = take_click(&mut fields);
    let customer = Customer::take(&mut fields);
    let invoice = fields.text("invoiceId");
    let amount = fields.number("amount");
    let code = fields.text("currency").unwrap_or_else(|| "usd".to_owned());
    let event = fields.text("eventName").unwrap_or_else(|| "Purchase".to_owned());
    let processor = fields.text("paymentProcessor").unwrap_or_else(|| "custom".to_owned());
    let metadata = fields.value("metadata");
    if customer.id.is_none() {
        fields.refuse("customerExternalId", "customerExternalId is missing: your id of the customer");
    }
    if amount.is_none_or(|amount| amount < 0) {
        fields.refuse("amount", "amount must be a whole number of minor units, such as 1999");
    }
    let currency = code.trim().to_uppercase().parse::<Currency>().ok();
    if currency.is_none() {
        fields.refuse("currency", format!("{code:?} is no currency of ISO 4217"));
    }
    fields.check()?;
    let (Some(amount), Some(currency)) = (amount, currency) else { return Ok(JsonAnswer(Value::Null)) };
    let id = invoice.clone().unwrap_or_else(|| format!("sale/{}", uuid::Uuid::now_v7()));
    let body = json!({"id": id, "amount": format_minor(amount, currency), "currency": currency.code(),
        "customer": customer.native(), "click_id": click});
    conversions::take(&api, workspace, body).await?;
    Ok(JsonAnswer(json!({
        "eventName": event,
        "customer": customer.shown(),
        "sale": {"amount": amount, "currency": code.to_lowercase(), "paymentProcessor": processor,
            "invoiceId": invoice, "metadata": metadata},
    })))
}
