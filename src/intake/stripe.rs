//! Stripe: events of any API version (<https://docs.stripe.com/api/events/types>).
//!
//! | sale | order id |
//! |---|---|
//! | Checkout, single payment; PaymentIntent without Checkout | the payment intent |
//! | Checkout, subscription; a subscription's first invoice | the invoice |
//! | renewal of a subscription | the invoice, `renews` the subscription |
//! | trial (`no_payment_required`, a first invoice of 0) | as above, event `trial`, no money |
//!
//! Events of test mode are orders like all others, since whole accounts are tried out in it; only
//! `Interpretation::test` tells. Times are in whole seconds, so a version is the event's second plus a
//! rank for what follows within it.

use super::fact::{Fact, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation};
use crate::domain::money::{Currency, MoneyError};

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let event = &delivery.json;
    let topic = event.at("type").text("an event type such as \"checkout.session.completed\"")?;
    let mut said = Interpretation {
        topic: topic.into(),
        dedupe_key: Some(event.at("id").id()?),
        test: event.at("livemode").is_false(),
        ..Interpretation::default()
    };
    let object = event.at("data.object");
    let at_ms = event.at("created").seconds_ms()?;
    let fact = match topic {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => session(&object, at_ms)?,
        "payment_intent.succeeded" => Some(payment_intent(&object, at_ms)?),
        "invoice.paid" | "invoice.payment_succeeded" => invoice(&object, at_ms)?,
        "invoice_payment.paid" => invoice_payment(&object, at_ms)?,
        "charge.refunded" => Some(refunded_total(&object, at_ms)?),
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            Some(refund(&object, at_ms)?)
        }
        "charge.dispute.funds_withdrawn" => Some(dispute(&object, at_ms, true)?),
        "charge.dispute.funds_reinstated" => Some(dispute(&object, at_ms, false)?),
        "charge.dispute.closed" => match object.at("status").opt_text() {
            Some("lost") => Some(dispute(&object, at_ms, true)?),
            Some("won") => Some(dispute(&object, at_ms, false)?),
            _ => None,
        },
        _ => {
            said.ignored = Some("not an event of sales or refunds");
            return Ok(said);
        }
    };
    if fact.is_none() {
        said.ignored = Some("the event moves no money and opens no trial");
    }
    said.facts.extend(fact);
    Ok(said)
}

fn session(session: &Field<'_>, at_ms: i64) -> Result<Option<Fact>, InterpretError> {
    let session_id = session.at("id").id()?;
    // Such a session only saves a card.
    if session.at("mode").opt_text() == Some("setup") {
        return Ok(None);
    }
    let payment_status = session.at("payment_status").text("paid, unpaid or no_payment_required")?;
    let is_trial = payment_status == "no_payment_required";
    let is_paid = is_trial || payment_status == "paid";
    if !is_paid && session.at("amount_total").is_null() {
        return Ok(None);
    }
    let (currency, total_minor) = if is_trial && session.at("currency").is_null() {
        (None, 0)
    } else {
        let currency = session.at("currency").currency()?;
        (Some(currency), money(&session.at("amount_total"), currency)?)
    };
    let opt_money = |path: &str| match currency {
        Some(currency) if !session.at(path).is_null() => money(&session.at(path), currency).map(Some),
        _ => Ok(None),
    };
    let mut keys = customer_keys(session, &["customer_details.email", "customer_email"]);
    if let Some(token) = session.at("client_reference_id").opt_text() {
        keys.add_token(token);
    }
    for discount in session.at("discounts").items() {
        keys.add_coupon(discount.at("coupon").opt_id().as_deref());
        keys.add_coupon(discount.at("promotion_code").opt_id().as_deref());
    }
    let payment = ["payment_intent", "invoice"].iter().find_map(|name| session.at(name).opt_id());
    let order_id = payment.unwrap_or_else(|| session_id.clone());
    keys.add_reference(Some(session_id));
    for name in ["payment_intent", "invoice", "subscription"] {
        keys.add_reference(session.at(name).opt_id().filter(|id| *id != order_id));
    }
    let says = Says::Order(Order {
        event: if is_trial { "trial" } else { "purchase" }.into(),
        status: if is_paid { OrderStatus::Paid } else { OrderStatus::Unpaid },
        occurred_ms: session.at("created").seconds_ms()?,
        currency: currency.map_or("", Currency::code).into(),
        total_minor,
        tax_minor: opt_money("total_details.amount_tax")?,
        shipping_minor: opt_money("total_details.amount_shipping")?,
        cost_of_goods_minor: None,
        renews: None,
        keys,
    });
    Ok(Some(Fact { order_id, version_ms: at_ms + i64::from(is_paid), says }))
}

fn payment_intent(intent: &Field<'_>, at_ms: i64) -> Result<Fact, InterpretError> {
    let intent_id = intent.at("id").id()?;
    let currency = intent.at("currency").currency()?;
    let received = intent.at("amount_received");
    let total = if received.is_null() { intent.at("amount") } else { received };
    let mut keys = customer_keys(intent, &["receipt_email"]);
    // `invoice` until API version 2025-03-31, from then on the order reference.
    let reference = intent.at("payment_details.order_reference").opt_id();
    let invoice = intent.at("invoice").opt_id().or(reference.filter(|id| id.starts_with("in_")));
    let order_id = match invoice {
        Some(invoice) => {
            keys.add_reference(Some(intent_id));
            invoice
        }
        None => intent_id,
    };
    keys.add_reference(intent.at("latest_charge").opt_id());
    let says = Says::Order(Order {
        event: "purchase".into(),
        status: OrderStatus::Paid,
        occurred_ms: intent.at("created").seconds_ms()?,
        currency: currency.code().into(),
        total_minor: money(&total, currency)?,
        tax_minor: None,
        shipping_minor: None,
        cost_of_goods_minor: None,
        renews: None,
        keys,
    });
    // Session and invoice say more of the same sale, so within one second they stand.
    Ok(Fact { order_id, version_ms: at_ms, says })
}

/// An invoice of a subscription. One written by hand is sold by its payment intent.
fn invoice(invoice: &Field<'_>, at_ms: i64) -> Result<Option<Fact>, InterpretError> {
    let order_id = invoice.at("id").id()?;
    let is_first = match invoice.at("billing_reason").opt_text() {
        Some("subscription_create") => true,
        Some("subscription_cycle" | "subscription_update" | "subscription_threshold" | "subscription") => {
            false
        }
        _ => return Ok(None),
    };
    let currency = invoice.at("currency").currency()?;
    let total_minor = money(&invoice.at("amount_paid"), currency)?;
    if !is_first && total_minor == 0 {
        return Ok(None);
    }
    // Top-level until API version 2025-03-31, from then on under `parent`.
    let parent = invoice.at("parent.subscription_details");
    let subscription = invoice.at("subscription").opt_id().or_else(|| parent.at("subscription").opt_id());
    let mut keys = customer_keys(invoice, &["customer_email"]);
    keys.note_all(&invoice.at("subscription_details.metadata"));
    keys.note_all(&parent.at("metadata"));
    for name in ["payment_intent", "charge"] {
        keys.add_reference(invoice.at(name).opt_id());
    }
    for payment in invoice.at("payments.data").items() {
        keys.add_reference(payment.at("payment.payment_intent").opt_id());
    }
    if is_first {
        keys.add_reference(subscription.clone());
    }
    let says = Says::Order(Order {
        event: if is_first && total_minor == 0 { "trial" } else { "purchase" }.into(),
        status: OrderStatus::Paid,
        occurred_ms: invoice.at("created").seconds_ms()?,
        currency: currency.code().into(),
        total_minor,
        tax_minor: invoice_tax_minor(invoice, currency)?,
        shipping_minor: None,
        cost_of_goods_minor: None,
        renews: subscription.filter(|_| !is_first),
        keys,
    });
    Ok(Some(Fact { order_id, version_ms: at_ms + 1, says }))
}

/// One number until API version 2025-03-31, from then on a list.
fn invoice_tax_minor(invoice: &Field<'_>, currency: Currency) -> Result<Option<i64>, InterpretError> {
    let tax = invoice.at("tax");
    if !tax.is_null() {
        return money(&tax, currency).map(Some);
    }
    let taxes = invoice.at("total_taxes");
    if !taxes.is_list() {
        return Ok(None);
    }
    let taxes: Result<Vec<i64>, _> =
        taxes.items().iter().map(|tax| money(&tax.at("amount"), currency)).collect();
    Ok(Some(taxes?.into_iter().fold(0, i64::saturating_add)))
}

/// Which payment intent paid an invoice, by which its refunds find it.
fn invoice_payment(payment: &Field<'_>, at_ms: i64) -> Result<Option<Fact>, InterpretError> {
    let order_id = payment.at("invoice").id()?;
    let Some(intent) = payment.at("payment.payment_intent").opt_id() else { return Ok(None) };
    let says = Says::Keys(Keys { references: vec![intent], ..Keys::default() });
    Ok(Some(Fact { order_id, version_ms: at_ms, says }))
}

/// `amount_refunded` is cumulative: it stands only for what single refunds do not explain.
fn refunded_total(charge: &Field<'_>, at_ms: i64) -> Result<Fact, InterpretError> {
    let currency = charge.at("currency").currency()?;
    let says = Says::RefundedTotal {
        amount_minor: money(&charge.at("amount_refunded"), currency)?,
        currency: currency.code().into(),
        occurred_ms: at_ms,
    };
    let order_id = charge.at("payment_intent").opt_id();
    let order_id = order_id.map_or_else(|| charge.at("id").id(), Ok)?;
    Ok(Fact { order_id, version_ms: at_ms, says })
}

/// Pending counts as given back: the balance is debited at once. One that fails or is canceled later
/// takes itself back.
fn refund(refund: &Field<'_>, at_ms: i64) -> Result<Fact, InterpretError> {
    let currency = refund.at("currency").currency()?;
    let amount_minor = money(&refund.at("amount"), currency)?;
    let is_void = matches!(refund.at("status").opt_text(), Some("failed" | "canceled"));
    let says = Says::Refund(Refund {
        id: refund.at("id").id()?,
        amount_minor: if is_void { 0 } else { amount_minor },
        currency: currency.code().into(),
        explains_minor: is_void.then_some(amount_minor),
        occurred_ms: Some(refund.at("created").seconds_ms()?),
    });
    Ok(Fact { order_id: paid_by(refund)?, version_ms: at_ms + i64::from(is_void), says })
}

/// A charge-back: no part of the charge's `amount_refunded`.
fn dispute(dispute: &Field<'_>, at_ms: i64, withdrawn: bool) -> Result<Fact, InterpretError> {
    let currency = dispute.at("currency").currency()?;
    let amount_minor = money(&dispute.at("amount"), currency)?;
    let says = Says::Refund(Refund {
        id: dispute.at("id").id()?,
        amount_minor: if withdrawn { amount_minor } else { 0 },
        currency: currency.code().into(),
        explains_minor: Some(0),
        occurred_ms: Some(dispute.at("created").seconds_ms()?),
    });
    Ok(Fact { order_id: paid_by(dispute)?, version_ms: at_ms + i64::from(!withdrawn), says })
}

/// The payment that a refund or a dispute belongs to.
fn paid_by(object: &Field<'_>) -> Result<String, InterpretError> {
    let intent = object.at("payment_intent").opt_id();
    intent.map_or_else(|| object.at("charge").id(), Ok)
}

fn customer_keys(object: &Field<'_>, emails: &[&str]) -> Keys {
    let mut keys = Keys {
        customer_id: object.at("customer").opt_id(),
        email: emails.iter().find_map(|path| object.at(path).opt_text()).map(Into::into),
        ..Keys::default()
    };
    keys.note_all(&object.at("metadata"));
    keys
}

/// Stripe's minor units are ISO's but for three currencies, which it counts in its own way
/// (<https://docs.stripe.com/currencies#special-cases>).
fn money(field: &Field<'_>, currency: Currency) -> Result<i64, InterpretError> {
    let minor = field.minor()?;
    match currency.code() {
        "ISK" | "UGX" if minor % 100 == 0 => Ok(minor / 100),
        "ISK" | "UGX" => Err(field.bad_amount(MoneyError::TooManyDecimals { currency })),
        "MGA" => Ok(minor * 100),
        _ => Ok(minor),
    }
}

#[cfg(test)]
mod tests;
