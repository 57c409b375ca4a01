//! utmost's own JSON: the bodies of `POST /api/v1/conversions` and its refunds, which a webhook wraps
//! as `{"type": "conversion" | "refund" | "evidence", "data": {...}}`. Evidence is a conversion without
//! its money: it names an order's clicks and counts for nothing by itself. `"erase"` wraps what
//! `POST /api/v1/customers/erase` takes.

use serde_json::Value;

use super::fact::{Fact, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation, PrivacyRequest};
use crate::domain::money::Currency;

/// Reads a conversion:
/// `{id, event?="purchase", amount, currency, tax?, shipping?, occurred_at?, click_id? or click_ids?,
/// customer?: {id?, email?}, coupon?, utm?: {source, medium, ...}, landing_url?, referrer?}`.
///
/// Amounts are decimal strings or numbers, gross with tax and shipping. Only an event other than
/// `purchase` may leave amount and currency out. Without `occurred_at` it happened at `received_ms`.
pub fn conversion(body: &Value, received_ms: i64) -> Result<Fact, InterpretError> {
    read_conversion(&Field::root(body), received_ms)
}

/// Reads a refund of a conversion: `{id, amount, currency?, occurred_at?}`. Its order may be known to
/// the caller, by the path, and the order's currency stands in where the body names none.
pub fn refund(
    body: &Value,
    conversion_id: &str,
    order_currency: Option<Currency>,
    received_ms: i64,
) -> Result<Fact, InterpretError> {
    read_refund(&Field::root(body), conversion_id.into(), order_currency, received_ms)
}

/// Reads evidence: a conversion's `{id, click_id? or click_ids?, customer?, coupon?, utm?, landing_url?,
/// referrer?}`; whatever else it holds says nothing.
pub fn evidence(body: &Value, received_ms: i64) -> Result<Fact, InterpretError> {
    read_evidence(&Field::root(body), received_ms)
}

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let json = &delivery.json;
    let topic = json.at("type").text("\"conversion\", \"refund\" or \"evidence\"")?;
    let received_ms = sent_ms(delivery)?;
    let data = json.at("data");
    let id = delivery.header("webhook-id").or_else(|| delivery.header("svix-id"));
    let mut said = Interpretation { topic: topic.into(), ..Interpretation::default() };
    match topic {
        "conversion" => said.facts.push(read_conversion(&data, received_ms)?),
        "refund" => {
            let conversion_id = data.at("conversion").id()?;
            said.facts.push(read_refund(&data, conversion_id, None, received_ms)?);
        }
        "evidence" => said.facts.push(read_evidence(&data, received_ms)?),
        "erase" => said.privacy = Some(read_erase(&data)?),
        _ => said.ignored = Some("neither a conversion, nor a refund, nor evidence, nor a wish to erase"),
    }
    // By API there is no delivery id, and a conversion posted again is the same one. Evidence adds up.
    let by_api = || {
        let fact = said.facts.iter().find(|fact| !matches!(fact.says, Says::Keys(_)))?;
        Some(format!("{topic}/{}/{}", fact.order_id, refund_id(fact)))
    };
    said.dedupe_key = id.map(Into::into).or_else(by_api);
    Ok(said)
}

fn refund_id(fact: &Fact) -> &str {
    match &fact.says {
        Says::Refund(refund) => &refund.id,
        _ => "",
    }
}

/// `{email?, id?, source?}`: by e-mail, by a source's own id (the sender's if it names no source), or by both.
fn read_erase(data: &Field<'_>) -> Result<PrivacyRequest, InterpretError> {
    let customer_id = data.at("id").opt_id();
    let email = data.at("email").opt_text().map(str::to_owned);
    if customer_id.is_none() && email.is_none() {
        return Err(data.wrong("an e-mail, or an id of a customer"));
    }
    let source = data.at("source").opt_text().map(str::to_owned);
    Ok(PrivacyRequest::EraseCustomer { source, customer_id, email, order_ids: Vec::new() })
}

/// When the sender wrote the message: by its body, else by its headers, else when it came.
fn sent_ms(delivery: &Delivery<'_>) -> Result<i64, InterpretError> {
    if let Some(sent_ms) = delivery.json.at("timestamp").opt_time_ms()? {
        return Ok(sent_ms);
    }
    let header = delivery.header("webhook-timestamp").or_else(|| delivery.header("svix-timestamp"));
    let seconds = header.and_then(|text| text.parse::<i64>().ok());
    Ok(seconds.and_then(|seconds| seconds.checked_mul(1000)).unwrap_or(delivery.received_ms))
}

fn read_conversion(data: &Field<'_>, received_ms: i64) -> Result<Fact, InterpretError> {
    if !data.is_object() {
        return Err(
            data.wrong("an object such as {\"id\": \"1001\", \"amount\": \"10.00\", \"currency\": \"EUR\"}")
        );
    }
    let order_id = data.at("id").id()?;
    let event = data.at("event");
    let event = if event.is_null() { "purchase" } else { event.text("a word such as \"purchase\"")? };
    let has_money = event == "purchase" || !data.at("amount").is_null();
    let currency = if has_money { Some(data.at("currency").currency()?) } else { None };
    let price = |name: &str| match currency {
        Some(currency) => data.at(name).opt_price(currency),
        None => Ok(None),
    };
    let occurred_ms = data.at("occurred_at").opt_time_ms()?;
    let says = Says::Order(Order {
        event: event.into(),
        status: OrderStatus::Paid,
        occurred_ms: occurred_ms.unwrap_or(received_ms),
        currency: currency.map_or("", Currency::code).into(),
        total_minor: match currency {
            Some(currency) => data.at("amount").price(currency)?,
            None => 0,
        },
        tax_minor: price("tax")?,
        shipping_minor: price("shipping")?,
        cost_of_goods_minor: price("cost_of_goods")?,
        renews: None,
        keys: keys(data)?,
    });
    Ok(Fact { order_id, version_ms: received_ms, says })
}

fn read_refund(
    data: &Field<'_>,
    order_id: String,
    order_currency: Option<Currency>,
    received_ms: i64,
) -> Result<Fact, InterpretError> {
    if !data.is_object() {
        return Err(data.wrong("an object such as {\"id\": \"r1\", \"amount\": \"10.00\"}"));
    }
    let currency = match order_currency.filter(|_| data.at("currency").is_null()) {
        Some(currency) => currency,
        None => data.at("currency").currency()?,
    };
    let says = Says::Refund(Refund {
        id: data.at("id").id()?,
        amount_minor: data.at("amount").price(currency)?,
        currency: currency.code().into(),
        explains_minor: None,
        occurred_ms: Some(data.at("occurred_at").opt_time_ms()?.unwrap_or(received_ms)),
    });
    Ok(Fact { order_id, version_ms: received_ms, says })
}

fn read_evidence(data: &Field<'_>, received_ms: i64) -> Result<Fact, InterpretError> {
    Ok(Fact { order_id: data.at("id").id()?, version_ms: received_ms, says: Says::Keys(keys(data)?) })
}

fn keys(data: &Field<'_>) -> Result<Keys, InterpretError> {
    let customer_id = data.at("customer.id");
    let mut keys = Keys {
        customer_id: if customer_id.is_null() { None } else { Some(customer_id.id()?) },
        email: opt_text(&data.at("customer.email"))?.map(Into::into),
        ..Keys::default()
    };
    if let Some(token) = opt_text(&data.at("click_id"))? {
        keys.add_token(token);
    }
    let tokens = data.at("click_ids");
    if !tokens.is_null() && !tokens.is_list() {
        return Err(tokens.wrong("a list of click ids"));
    }
    for token in tokens.items() {
        keys.add_token(token.text("a click id")?);
    }
    keys.add_coupon(opt_text(&data.at("coupon"))?);
    let utm = data.at("utm");
    if !utm.is_null() && !utm.is_object() {
        return Err(utm.wrong("an object such as {\"source\": \"facebook\"}"));
    }
    for (name, value) in utm.entries() {
        if let Some(value) = opt_text(&value)? {
            keys.add_utm(name, value);
        }
    }
    if let Some(url) = opt_text(&data.at("landing_url"))? {
        keys.add_landing(url);
    }
    keys.add_referrer(opt_text(&data.at("referrer"))?);
    Ok(keys)
}

/// A text that may be absent, null or empty, but nothing else. An error never shows one, since it may
/// name a person.
fn opt_text<'a>(field: &Field<'a>) -> Result<Option<&'a str>, InterpretError> {
    if field.is_null() || field.is_text() { Ok(field.opt_text()) } else { Err(field.wrong("text")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Platform;
    use super::super::testing::{RECEIVED_MS, fixture, interpret, keys, lines, patched};
    use super::*;

    #[test]
    fn conversions_are_read() {
        let said = interpret(Platform::Standard, &[("webhook-id", "msg_1")], &fixture("standard_conversion"))
            .unwrap();
        assert_eq!(
            lines(&said),
            ["A-1001@2026-11-20T10:00:10Z paid purchase 119.00 EUR, tax 19.00 EUR, shipping 10.00 EUR, \
              at 2026-11-20T10:00:00Z"]
        );
        assert_eq!(said.dedupe_key.as_deref(), Some("msg_1"));
        let keys = keys(&said);
        assert_eq!(keys.tokens, ["first-token", "second-token", "third-token"]);
        assert_eq!(keys.customer_id.as_deref(), Some("42"));
        assert_eq!(keys.email.as_deref(), Some("ada@example.com"));
        assert_eq!(keys.coupons, ["SPRING10"]);
        assert_eq!(keys.referrer.as_deref(), Some("https://l.facebook.com/"));
        let mut utm: Vec<_> = keys.utm.iter().map(|(name, value)| format!("{name}={value}")).collect();
        utm.sort();
        assert_eq!(utm, ["medium=social", "source=facebook"]);
    }

    #[test]
    fn times_fall_back_on_the_message_then_on_receipt() {
        let untimed = [("/data/occurred_at", Value::Null), ("/timestamp", Value::Null)];
        let body = patched("standard_conversion", untimed);
        let check = |headers: &[(&str, &str)], at: &str| {
            let said = interpret(Platform::Standard, headers, &body).unwrap();
            assert!(lines(&said)[0].ends_with(&format!("at {at}")), "{:?}", lines(&said));
        };
        check(&[("svix-id", "m"), ("svix-timestamp", "1795168810")], "2026-11-20T10:00:10Z");
        check(&[], "2026-11-23T10:00:00Z");
        check(&[("webhook-timestamp", "junk")], "2026-11-23T10:00:00Z");
    }

    #[test]
    fn only_purchases_need_money() {
        let check = |body: Value, expected: &str| {
            let fact = conversion(&body, RECEIVED_MS).unwrap();
            let said = Interpretation { facts: vec![fact], ..Interpretation::default() };
            assert_eq!(
                lines(&said),
                [format!("7@2026-11-23T10:00:00Z paid {expected}, at 2026-11-23T10:00:00Z")]
            );
        };
        check(json!({"id": 7, "event": "sign_up"}), "sign_up 0");
        check(json!({"id": 7, "event": "lead", "amount": 5, "currency": "usd"}), "lead 5.00 USD");
        check(json!({"id": "7", "amount": 27.5, "currency": "EUR", "tax": ""}), "purchase 27.50 EUR");
        check(json!({"id": "7", "amount": "1000", "currency": "JPY", "coupon": null}), "purchase 1000 JPY");
    }

    #[test]
    fn refunds_are_read() {
        let said = interpret(Platform::Api, &[], &fixture("standard_refund")).unwrap();
        assert_eq!(
            lines(&said),
            ["A-1001@2026-11-22T10:00:10Z refund R-1 19.00 EUR, at 2026-11-22T10:00:10Z"]
        );
        assert_eq!(said.dedupe_key.as_deref(), Some("refund/A-1001/R-1"));

        let bare = json!({"id": "R-2", "amount": "5"});
        let fact = refund(&bare, "A-1001", "JPY".parse().ok(), RECEIVED_MS).unwrap();
        let Says::Refund(given_back) = fact.says else { panic!("no refund") };
        assert_eq!((given_back.amount_minor, given_back.currency.as_str()), (5, "JPY"));
        let error = refund(&bare, "A-1001", None, RECEIVED_MS).unwrap_err();
        assert_eq!(error.field(), Some("currency"));
    }

    #[test]
    fn by_api_a_conversion_is_named_by_its_id() {
        let said = interpret(Platform::Api, &[], &fixture("standard_conversion")).unwrap();
        assert_eq!(said.dedupe_key.as_deref(), Some("conversion/A-1001/"));
        let other = interpret(Platform::Standard, &[], &json!({"type": "user.created", "data": {}})).unwrap();
        assert!(other.ignored.is_some() && other.dedupe_key.is_none());
    }

    #[test]
    fn evidence_has_no_money() {
        let mut body = fixture("standard_conversion");
        body["type"] = json!("evidence");
        let said = interpret(Platform::Api, &[], &body).unwrap();
        assert!(
            matches!(&said.facts[..], [Fact { order_id, says: Says::Keys(_), .. }] if order_id == "A-1001")
        );
        assert_eq!(keys(&said).tokens, ["first-token", "second-token", "third-token"]);
        assert_eq!(said.dedupe_key, None);
        let nameless = json!({"type": "evidence", "data": {"click_id": "abc"}});
        assert_eq!(interpret(Platform::Api, &[], &nameless).unwrap_err().field(), Some("data.id"));
    }

    #[test]
    fn errors_name_the_field() {
        let check = |pointer: &str, value: Value, expected: &str| {
            let body = patched("standard_conversion", [(pointer, value)]);
            assert_eq!(conversion(&body["data"], RECEIVED_MS).unwrap_err().to_string(), expected);
        };
        check("/data/id", Value::Null, "id is missing; expected an id: a string or a whole number");
        check("/data/id", json!("x".repeat(300)), "id has more than 255 bytes");
        check("/data/amount", Value::Null, "amount is missing; expected a decimal string such as \"10.00\"");
        check(
            "/data/amount",
            json!("-5"),
            "amount: \"-5\" is negative; expected a decimal string such as \"10.00\"",
        );
        check("/data/amount", json!("1.005"), "amount: \"1.005\" is more decimals than EUR has (2)");
        check(
            "/data/currency",
            Value::Null,
            "currency is missing; expected a currency of ISO 4217 such as \"EUR\"",
        );
        check(
            "/data/tax",
            json!(true),
            "tax: true is not an amount; expected a decimal string such as \"10.00\"",
        );
        check(
            "/data/occurred_at",
            json!("2026-11-20"),
            "occurred_at: \"2026-11-20\" is not a time; expected RFC 3339 such as \"2026-11-20T10:00:00Z\"",
        );
        check("/data/click_ids", json!("a"), "click_ids: found \"a\"; expected a list of click ids");
        check("/data/click_ids/1", json!(5), "click_ids[1]: found 5; expected a click id");
        check("/data/coupon", json!([]), "coupon: found a list; expected text");
        check(
            "/data/utm",
            json!("x"),
            "utm: found \"x\"; expected an object such as {\"source\": \"facebook\"}",
        );
        check("/data/utm/source", json!(1), "utm.source: found 1; expected text");
        check("/data/customer/email", json!(1), "customer.email: found 1; expected text");
        check("/data/event", json!(1), "event: found 1; expected a word such as \"purchase\"");
        check("/data/landing_url", json!({}), "landing_url: found an object; expected text");
        let list = conversion(&json!([]), RECEIVED_MS).unwrap_err();
        assert!(list.to_string().starts_with("the body: found a list; expected an object such as"));
    }
}
