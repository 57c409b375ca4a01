//! BigCommerce sends notices without the order itself
//! (<https://developer.bigcommerce.com/docs/integrations/webhooks>), so an order's notice is a dead
//! letter that says what is wanting.

use super::{Delivery, InterpretError, Interpretation};

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let json = &delivery.json;
    let topic = json.at("scope").text("a scope such as \"store/order/created\"")?;
    if topic.starts_with("store/order/") {
        return Err(InterpretError::NeedsStoreToken { order_id: json.at("data.id").id()? });
    }
    Ok(Interpretation {
        topic: topic.into(),
        dedupe_key: json.at("hash").opt_id(),
        ignored: Some("not a notice of orders"),
        ..Interpretation::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{fixture, interpret, patched};
    use super::super::{InterpretError, Platform};

    #[test]
    fn an_orders_notice_says_what_is_wanting() {
        let error = interpret(Platform::Bigcommerce, &[], &fixture("bigcommerce_order")).unwrap_err();
        assert_eq!(error, InterpretError::NeedsStoreToken { order_id: "250".into() });
        assert!(error.to_string().contains("X-Auth-Token"));
    }

    #[test]
    fn other_notices_are_ignored() {
        let body = patched("bigcommerce_order", [("/scope", json!("store/product/updated"))]);
        let said = interpret(Platform::Bigcommerce, &[], &body).unwrap();
        assert_eq!(said.dedupe_key.as_deref(), Some("dd70c0976e06b67aaf671e73f49dcb79230ebf9d"));
        assert!(said.ignored.is_some() && said.facts.is_empty());
        let error = interpret(Platform::Bigcommerce, &[], &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "scope is missing; expected a scope such as \"store/order/created\"");
    }
}
