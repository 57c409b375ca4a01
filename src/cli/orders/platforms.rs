//! Rows of a shop's order export as the body that its webhook would have, as far as the export goes.
//!
//! Shopify: Orders > Export, "CSV for Excel" or "Plain CSV". WooCommerce has no export of its own; the columns
//! are those of its extension "Customer/Order/Coupon Export" and of the usual plug-ins.

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::cli::rows::{Row, column_key};
use crate::domain::flaw::Flaws;
use crate::domain::time::{parse_written, rfc3339};

/// What WooCommerce's order attribution keeps, by the end of its name.
const ATTRIBUTION: [&str; 9] = [
    "session_entry",
    "referrer",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "utm_id",
    "utm_source_platform",
];

/// How rows are read.
pub struct Reading {
    /// Of times that have none.
    pub zone: TimeZone,
    /// Of orders that name none.
    pub currency: Option<String>,
}

/// What tells the rows of one order from those of the next.
pub fn shopify_order(row: &Row) -> Option<&str> {
    row.get("name")
}

pub fn woocommerce_order(row: &Row) -> Option<&str> {
    ["orderid", "id", "ordernumber"].iter().find_map(|key| row.get(key))
}

impl Reading {
    /// `row`: the first of an order, which alone holds what is not of one of its lines.
    pub fn shopify(&self, row: &Row, flaws: &mut Flaws) -> Value {
        let get = |name: &str| row.get(&column_key(name));
        let mut order = Map::new();
        order.insert("id".into(), self.needed(row, "Id", flaws));
        order.insert("name".into(), json!(get("Name")));
        order.insert("email".into(), json!(get("Email")));
        order.insert("currency".into(), json!(get("Currency").or(self.currency.as_deref())));
        order.insert("total_price".into(), self.needed(row, "Total", flaws));
        order.insert("total_tax".into(), json!(get("Taxes")));
        order.insert("financial_status".into(), json!(get("Financial Status")));
        if let Some(shipping) = get("Shipping") {
            order.insert("shipping_lines".into(), json!([{"price": shipping}]));
        }
        let times = ["Created at", "Paid at", "Fulfilled at", "Cancelled at"];
        let times = times.map(|name| self.time(name, row, flaws));
        if times[0].is_none() && get("Created at").is_none() {
            flaws.add("Created at", "Created at is missing");
        }
        order.insert("created_at".into(), json!(times[0].map(rfc3339)));
        order.insert("cancelled_at".into(), json!(times[3].map(rfc3339)));
        // The newest that the export knows of it: whatever the webhook says later is newer.
        order.insert("updated_at".into(), json!(times.into_iter().flatten().max().map(rfc3339)));
        let codes = get("Discount Code").unwrap_or_default().split(',').map(str::trim);
        let codes: Vec<Value> =
            codes.filter(|code| !code.is_empty()).map(|code| json!({"code": code})).collect();
        order.insert("discount_codes".into(), json!(codes));
        // One per line, as the order's page shows them.
        let notes =
            get("Note Attributes").unwrap_or_default().lines().filter_map(|line| line.split_once(": "));
        let notes: Vec<Value> =
            notes.map(|(name, value)| json!({"name": name.trim(), "value": value.trim()})).collect();
        order.insert("note_attributes".into(), json!(notes));
        order.insert("refunded_total".into(), json!(get("Refunded Amount")));
        Value::Object(order)
    }

    pub fn woocommerce(&self, row: &Row, flaws: &mut Flaws) -> Value {
        let get = |names: &[&str]| names.iter().find_map(|name| row.get(&column_key(name)));
        let mut order = Map::new();
        order.insert("id".into(), json!(get(&["order_id", "id"])));
        order.insert("number".into(), json!(get(&["order_number_formatted", "order_number"])));
        let status = get(&["status", "order_status"]).map(|status| status.to_lowercase().replace(' ', "-"));
        let status = status.map(|status| status.trim_start_matches("wc-").to_owned());
        order.insert("status".into(), json!(status));
        let currency = get(&["order_currency", "currency"]).or(self.currency.as_deref());
        if currency.is_none() {
            flaws.add("order_currency", "order_currency is missing; name the shop's by --currency");
        }
        order.insert("currency".into(), json!(currency));
        order.insert("total".into(), json!(get(&["order_total", "total", "order total amount"])));
        order.insert("total_tax".into(), json!(get(&["tax_total", "total_tax", "order total tax amount"])));
        order.insert("shipping_total".into(), json!(get(&["shipping_total", "order shipping amount"])));
        let names: [&[&str]; 4] = [
            &["date", "order_date", "date_created", "created date"],
            &["paid_date", "date_paid"],
            &["completed_date", "date_completed"],
            &["modified_date", "date_modified"],
        ];
        let times = names.map(|names| names.iter().find_map(|name| self.time(name, row, flaws)));
        // As the REST API writes them: UTC without saying so.
        let gmt = |at_ms: i64| rfc3339(at_ms).trim_end_matches('Z').to_owned();
        order.insert("date_created_gmt".into(), json!(times[0].map(gmt)));
        if row.has(&column_key("paid_date")) || row.has(&column_key("date_paid")) {
            order.insert("date_paid_gmt".into(), json!(times[1].map(gmt)));
        }
        order.insert("date_modified_gmt".into(), json!(times.into_iter().flatten().max().map(gmt)));
        order.insert("customer_id".into(), json!(get(&["customer_id", "customer_user"])));
        order.insert("billing".into(), json!({"email": get(&["billing_email", "customer_email"])}));
        for name in ["order_key", "transaction_id"] {
            order.insert(name.into(), json!(get(&[name])));
        }
        let coupons = get(&["coupon_items", "coupons", "coupon_code"]).unwrap_or_default();
        let coupons: Vec<Value> = coupons
            .split([';', ','])
            .filter_map(|coupon| {
                let named = coupon.split('|').find_map(|part| part.trim().strip_prefix("code:"));
                let code = named.unwrap_or_else(|| coupon.split('|').next().unwrap_or_default()).trim();
                (!code.is_empty()).then(|| json!({"code": code}))
            })
            .collect();
        order.insert("coupon_lines".into(), json!(coupons));
        let mut meta = Vec::new();
        for end in ATTRIBUTION {
            let name = format!("_wc_order_attribution_{end}");
            if let Some(value) = get(&[&name, &format!("meta:{name}")]) {
                meta.push(json!({"key": name, "value": value}));
            }
        }
        for name in ["um_click", "_um_click", "meta:um_click", "meta:_um_click"] {
            meta.extend(get(&[name]).map(|value| json!({"key": "um_click", "value": value})));
        }
        order.insert("meta_data".into(), json!(meta));
        let refunded = get(&["refunded_total", "order refund amount", "refund_total"]);
        order.insert("refunded_total".into(), json!(refunded.map(|amount| amount.trim_start_matches('-'))));
        Value::Object(order)
    }

    fn needed(&self, row: &Row, name: &str, flaws: &mut Flaws) -> Value {
        let value = row.get(&column_key(name));
        if value.is_none() {
            flaws.add(name, format!("{name} is missing"));
        }
        json!(value)
    }

    fn time(&self, name: &str, row: &Row, flaws: &mut Flaws) -> Option<i64> {
        let text = row.get(&column_key(name))?;
        let read = parse_written(text, &self.zone);
        if read.is_none() {
            flaws.add(name, format!("{name}: {text:?} is not a time such as 2026-01-31 17:05:00 +0100"));
        }
        read
    }
}
