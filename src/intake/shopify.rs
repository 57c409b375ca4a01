//! Shopify: orders and refunds as the Admin REST API shapes them
//! (<https://shopify.dev/docs/api/webhooks>).
//!
//! Money is in the shop's currency: `*_set.shop_money` where there is one. Gross is `total_price`;
//! refunds are successful refund transactions, in `refunds/create` and, complete, in every order.

use super::fact::{Fact, Gone, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation, PrivacyRequest};
use crate::domain::money::Currency;

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let json = &delivery.json;
    let topic = delivery.header("shopify-topic").unwrap_or_else(|| topic_by_shape(json));
    let shop = delivery.header("shopify-shop-domain");
    let mut said = Interpretation {
        topic: topic.into(),
        dedupe_key: delivery
            .header("shopify-webhook-id")
            .map(|id| format!("{}/{topic}/{id}", shop.unwrap_or_default())),
        ..Interpretation::default()
    };
    match topic {
        "orders/create"
        | "orders/updated"
        | "orders/paid"
        | "orders/cancelled"
        | "orders/fulfilled"
        | "orders/partially_fulfilled" => {
            said.test = json.at("test").is_true();
            said.facts = order(json, delivery.received_ms)?;
        }
        // From a CSV export, by utmost itself.
        "orders/import" => {
            said.test = json.at("test").is_true();
            said.facts = order(json, delivery.received_ms)?;
            let total = super::refunded_total(json, &said.facts[0])?;
            said.facts.extend(total);
        }
        "orders/delete" => said.facts.push(Fact {
            order_id: json.at("id").id()?,
            version_ms: triggered_ms(delivery),
            says: Says::Gone(Gone::Deleted),
        }),
        "refunds/create" => match standalone_refund(json, delivery.received_ms)? {
            Some(fact) => said.facts.push(fact),
            None => said.ignored = Some("the refund moves no money"),
        },
        "customers/redact" => {
            let (customer_id, email, order_ids) = customer(json, "orders_to_redact");
            said.privacy =
                Some(PrivacyRequest::EraseCustomer { source: None, customer_id, email, order_ids });
        }
        "customers/data_request" => {
            let (customer_id, email, order_ids) = customer(json, "orders_requested");
            said.privacy = Some(PrivacyRequest::ReportCustomer { customer_id, email, order_ids });
        }
        "shop/redact" => {
            let shop_domain = json.at("shop_domain").opt_text().or(shop).map(Into::into);
            said.privacy = Some(PrivacyRequest::EraseShop { shop_domain });
        }
        _ => said.ignored = Some("not a topic of orders or refunds"),
    }
    Ok(said)
}

/// For bodies that come without their headers, such as those sent by hand.
fn topic_by_shape(json: &Field<'_>) -> &'static str {
    let has = |name| !json.at(name).is_null();
    match () {
        _ if has("order_id") && (has("refund_line_items") || has("transactions")) => "refunds/create",
        _ if has("total_price") || has("total_price_set") => "orders/updated",
        _ => "",
    }
}

fn triggered_ms(delivery: &Delivery<'_>) -> i64 {
    let triggered = delivery.header("shopify-triggered-at");
    triggered.and_then(|at| crate::domain::time::parse_rfc3339(at).ok()).unwrap_or(delivery.received_ms)
}

/// The order, then its refunds.
fn order(order: &Field<'_>, received_ms: i64) -> Result<Vec<Fact>, InterpretError> {
    let order_id = order.at("id").id()?;
    let total = order.at("total_price_set.shop_money");
    let currency = match total.is_null() {
        true => order.at("currency").currency()?,
        false => total.at("currency_code").currency()?,
    };
    let created_ms = order.at("created_at").opt_time_ms()?;
    // What Shopify's own reports go by; it differs from created_at for imported orders.
    let occurred_ms = match order.at("processed_at").opt_time_ms()? {
        Some(processed_ms) => processed_ms,
        None => created_ms.ok_or_else(|| order.at("created_at").wrong("a time in RFC 3339"))?,
    };
    let version_ms = order.at("updated_at").opt_time_ms()?.or(created_ms).unwrap_or(received_ms);
    let says = Says::Order(Order {
        event: "purchase".into(),
        status: status(order),
        occurred_ms,
        currency: currency.code().into(),
        total_minor: shop_money(order, "total_price").price(currency)?,
        tax_minor: shop_money(order, "total_tax").opt_price(currency)?,
        shipping_minor: shipping_minor(order, currency)?,
        cost_of_goods_minor: None,
        renews: None,
        keys: keys(order),
    });
    let shop = Shop { currency, rate: Rate::of(std::slice::from_ref(&order.at("total_price_set"))) };
    let mut facts = vec![Fact { order_id: order_id.clone(), version_ms, says }];
    for refund in order.at("refunds").items() {
        let refund = self::refund(&refund, Some(&shop), version_ms)?;
        let says = refund.map(Says::Refund);
        facts.extend(says.map(|says| Fact { order_id: order_id.clone(), version_ms, says }));
    }
    Ok(facts)
}

fn status(order: &Field<'_>) -> OrderStatus {
    if order.at("test").is_true() {
        return OrderStatus::Test;
    }
    if !order.at("cancelled_at").is_null() {
        return OrderStatus::Cancelled;
    }
    match order.at("financial_status").opt_text() {
        Some("pending" | "expired" | "voided") => OrderStatus::Unpaid,
        _ => OrderStatus::Paid,
    }
}

fn keys(order: &Field<'_>) -> Keys {
    let email = ["email", "contact_email", "customer.email"];
    let mut keys = Keys {
        customer_id: order.at("customer").opt_id(),
        email: email.iter().find_map(|name| order.at(name).opt_text()).map(Into::into),
        ..Keys::default()
    };
    if let Some(landing) = order.at("landing_site").opt_text() {
        keys.add_landing(landing);
    }
    keys.add_referrer(order.at("referring_site").opt_text());
    for attribute in order.at("note_attributes").items() {
        if let (Some(name), Some(value)) = (attribute.at("name").opt_text(), attribute.at("value").opt_text())
        {
            keys.note(name, value);
        }
    }
    for discount in order.at("discount_codes").items() {
        keys.add_coupon(discount.at("code").opt_text());
    }
    for name in ["name", "order_number", "checkout_token", "cart_token"] {
        keys.add_reference(order.at(name).opt_id());
    }
    keys
}

/// A price in the shop's currency: from its set, else the bare field.
fn shop_money<'a>(of: &Field<'a>, name: &str) -> Field<'a> {
    let in_set = of.at(&format!("{name}_set.shop_money.amount"));
    if in_set.is_null() { of.at(name) } else { in_set }
}

/// The shipping lines after discounts; without their tax where prices include it, since that is in
/// `total_tax` already.
fn shipping_minor(order: &Field<'_>, currency: Currency) -> Result<Option<i64>, InterpretError> {
    let lines = order.at("shipping_lines");
    if !lines.is_list() {
        return Ok(None);
    }
    let taxes_included = order.at("taxes_included").is_true();
    let mut sum: i64 = 0;
    for line in lines.items() {
        let discounted = shop_money(&line, "discounted_price").opt_price(currency)?;
        let price = match discounted {
            Some(price) => price,
            None => shop_money(&line, "price").opt_price(currency)?.unwrap_or(0),
        };
        sum = sum.saturating_add(price);
        for tax in line.at("tax_lines").items().iter().filter(|_| taxes_included) {
            sum = sum.saturating_sub(shop_money(tax, "price").opt_price(currency)?.unwrap_or(0));
        }
    }
    Ok(Some(sum.max(0)))
}

/// What the order around a refund says of money.
struct Shop {
    currency: Currency,
    rate: Option<Rate>,
}

/// The same amount in the shop's and in the customer's currency.
struct Rate {
    shop: Currency,
    shop_minor: i64,
    customer: Currency,
    customer_minor: i64,
}

impl Rate {
    /// From `*_set` fields; None if they are not there, not readable or empty of money.
    fn of(sets: &[Field<'_>]) -> Option<Self> {
        let mut rate: Option<Self> = None;
        for set in sets.iter().filter(|set| !set.is_null()) {
            let side = |name: &str| {
                let money = set.at(name);
                let currency = money.at("currency_code").currency().ok()?;
                Some((currency, money.at("amount").amount(currency).ok()?.abs()))
            };
            let ((shop, shop_minor), (customer, customer_minor)) =
                (side("shop_money")?, side("presentment_money")?);
            let sum = rate.get_or_insert(Self { shop, shop_minor: 0, customer, customer_minor: 0 });
            sum.shop_minor = sum.shop_minor.saturating_add(shop_minor);
            sum.customer_minor = sum.customer_minor.saturating_add(customer_minor);
        }
        rate.filter(|rate| rate.customer_minor > 0)
    }

    /// Rounded half up.
    fn to_shop(&self, customer_minor: i64) -> i64 {
        let (amount, from) = (i128::from(customer_minor), i128::from(self.customer_minor));
        let doubled = 2 * amount * i128::from(self.shop_minor) + from;
        i64::try_from(doubled / (2 * from)).unwrap_or(i64::MAX)
    }
}

fn standalone_refund(refund: &Field<'_>, received_ms: i64) -> Result<Option<Fact>, InterpretError> {
    let order_id = refund.at("order_id").id()?;
    let version_ms = refund.at("created_at").opt_time_ms()?.unwrap_or(received_ms);
    let mut sets = Vec::new();
    for line in refund.at("refund_line_items").items() {
        sets.extend([line.at("subtotal_set"), line.at("total_tax_set")]);
    }
    for adjustment in refund.at("order_adjustments").items() {
        sets.extend([adjustment.at("amount_set"), adjustment.at("tax_amount_set")]);
    }
    let shop = Rate::of(&sets).map(|rate| Shop { currency: rate.shop, rate: Some(rate) });
    let refund = self::refund(refund, shop.as_ref(), version_ms)?;
    Ok(refund.map(|refund| Fact { order_id, version_ms, says: Says::Refund(refund) }))
}

/// None if it moves no money.
fn refund(
    refund: &Field<'_>,
    shop: Option<&Shop>,
    version_ms: i64,
) -> Result<Option<Refund>, InterpretError> {
    let id = refund.at("id").id()?;
    let (amount_minor, currency) = match refund.at("transactions").is_list() {
        true => by_transactions(refund, shop)?,
        false => by_lines(refund, shop)?,
    };
    let processed_ms = refund.at("processed_at").opt_time_ms()?;
    let created_ms = refund.at("created_at").opt_time_ms()?;
    Ok((amount_minor != 0).then_some(Refund {
        id,
        amount_minor,
        currency: currency.map_or("", Currency::code).into(),
        explains_minor: None,
        occurred_ms: Some(processed_ms.or(created_ms).unwrap_or(version_ms)),
    }))
}

/// Transactions are in the currency that the customer paid in; the total is in the shop's.
fn by_transactions(
    refund: &Field<'_>,
    shop: Option<&Shop>,
) -> Result<(i64, Option<Currency>), InterpretError> {
    let mut currency = shop.map(|shop| shop.currency);
    let mut sum: i64 = 0;
    for transaction in refund.at("transactions").items() {
        let is = |name: &str, expected| transaction.at(name).opt_text() == Some(expected);
        if !is("kind", "refund") || !is("status", "success") {
            continue;
        }
        let paid_in = match (transaction.at("currency"), currency) {
            (field, Some(shop)) if field.is_null() => shop,
            (field, _) => field.currency()?,
        };
        let shop_currency = *currency.get_or_insert(paid_in);
        let amount = transaction.at("amount").price(paid_in)?;
        let rate = shop.and_then(|shop| shop.rate.as_ref()).filter(|rate| rate.customer == paid_in);
        let in_shop_currency = match rate {
            _ if paid_in == shop_currency => amount,
            Some(rate) => rate.to_shop(amount),
            None => return Err(transaction.at("currency").wrong("the shop's currency, or amounts in both")),
        };
        sum = sum.saturating_add(in_shop_currency);
    }
    Ok((sum, currency))
}

/// The old shape, without transactions. Shopify writes amounts with all decimals of their currency,
/// so where that is not named they still tell the minor unit.
fn by_lines(refund: &Field<'_>, shop: Option<&Shop>) -> Result<(i64, Option<Currency>), InterpretError> {
    let named = shop.map(|shop| shop.currency);
    let mut sum: i64 = 0;
    for line in refund.at("refund_line_items").items() {
        let subtotal = shop_money(&line, "subtotal");
        let per_piece = subtotal.is_null();
        let price = if per_piece { line.at("line_item.price") } else { subtotal };
        let currency = named.unwrap_or_else(|| stand_in(price.opt_text().unwrap_or_default()));
        let pieces = if per_piece { line.at("quantity").minor()? } else { 1 };
        let tax = shop_money(&line, "total_tax").opt_price(currency)?.filter(|_| !per_piece);
        sum = price
            .price(currency)?
            .checked_mul(pieces)
            .and_then(|amount| sum.checked_add(amount)?.checked_add(tax.unwrap_or(0)))
            .ok_or_else(|| line.at("quantity").wrong("a number of pieces"))?;
    }
    Ok((sum, named))
}

/// Some currency with as many decimals as the amount has.
fn stand_in(amount: &str) -> Currency {
    let code = match amount.split_once('.').map_or(0, |(_, decimals)| decimals.len()) {
        0 => "JPY",
        3 => "KWD",
        _ => "USD",
    };
    code.parse().expect("known to ISO 4217")
}

fn customer(json: &Field<'_>, orders: &str) -> (Option<String>, Option<String>, Vec<String>) {
    let order_ids = json.at(orders).items().iter().filter_map(Field::opt_id).collect();
    (json.at("customer").opt_id(), json.at("customer.email").opt_text().map(Into::into), order_ids)
}

#[cfg(test)]
mod tests;
