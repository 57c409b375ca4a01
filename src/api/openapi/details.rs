//! What the types of requests and answers do not say by themselves: closed sets, lengths, forms, examples.
//! Each stands for a check in the code; a test sends the examples.

/// Schema, field, values. Of a list, its items.
pub const ENUMS: &[(&str, &str, &[&str])] = &[
    ("NewSource", "platform", PLATFORMS),
    ("NewSource", "role", ROLES),
    ("SourceChange", "role", ROLES),
    ("Source", "role", ROLES),
    ("NewKey", "scopes", SCOPES),
    ("ShownKey", "scopes", SCOPES),
    ("ShownDelivery", "result", &["accepted", "ignored", "duplicate", "pending", "unverified", "dead"]),
    ("Conversion", "status", &["attributed", "unattributed", "excluded"]),
    ("DeliveredConversion", "status", &["attributed", "unattributed", "excluded"]),
];

pub const PLATFORMS: &[&str] = &[
    "shopify",
    "woocommerce",
    "stripe",
    "standard",
    "bigcommerce",
    "paddle",
    "lemonsqueezy",
    "paypal",
    "segment",
    "rudderstack",
];
const ROLES: &[&str] = &["of_record", "evidence"];
const SCOPES: &[&str] = &["links", "conversions", "reports", "admin", "publishable"];

/// Schema, field, most characters.
pub const LENGTHS: &[(&str, &str, u32)] = &[
    ("PostInput", "network", 50),
    ("PostInput", "title", 500),
    ("PostInput", "url", 2000),
    ("PostInput", "campaign", 200),
    ("PostInput", "tags", 100),
    ("PostInput", "kind", 50),
    ("PostInput", "destination", 8192),
    ("PostInput", "networks", 50),
    ("LinkInput", "url", 8192),
    ("LinkInput", "slug", 128),
    ("LinkInput", "expired_url", 8192),
    ("LinkInput", "tags", 100),
    ("CostInput", "kind", 50),
    ("CostInput", "note", 1000),
    ("CostInput", "post", 200),
    ("NewSource", "name", 100),
    ("SourceChange", "name", 100),
    ("NewSource", "secret", 16384),
    ("NewSecret", "secret", 16384),
    ("NewKey", "name", 100),
    ("NewWorkspace", "name", 100),
    ("WorkspaceChange", "name", 100),
    ("SnapshotInput", "name", 200),
    ("Erasure", "email", 320),
    ("Erasure", "id", 255),
];

pub const CURRENCY: &str = "^[A-Z]{3}$";
pub const MONEY: &str = r"^-?[0-9]+(\.[0-9]+)?$";

/// Schema, field, regular expression. Of what we answer, so that readers can rely on it.
pub const PATTERNS: &[(&str, &str, &str)] = &[
    ("NewWorkspace", "id", "^[a-z0-9_-]{1,64}$"),
    ("Workspace", "id", "^[a-z0-9_-]{1,64}$"),
    ("Workspace", "currency", CURRENCY),
    ("Cost", "amount", MONEY),
    ("Cost", "currency", CURRENCY),
    ("Conversion", "amount", MONEY),
    ("Conversion", "tax", MONEY),
    ("Conversion", "shipping", MONEY),
    ("Conversion", "refunded", MONEY),
    ("Conversion", "cost_of_goods", MONEY),
    ("Conversion", "revenue", MONEY),
    ("Conversion", "refunds", MONEY),
    ("Conversion", "net_revenue", MONEY),
    ("Conversion", "assigned_value", MONEY),
    ("Conversion", "reporting_currency", CURRENCY),
    ("Credit", "net_revenue", MONEY),
    ("LinkStats", "net_revenue", MONEY),
    ("LinkStats", "currency", CURRENCY),
    ("Change", "amount", MONEY),
];

/// Schema and a body that the program takes.
pub const EXAMPLES: &[(&str, &str)] = &[
    (
        "LinkInput",
        r#"{"url": "https://shop.example/spring", "post": "ig-42", "network": "instagram", "campaign": "spring"}"#,
    ),
    (
        "PostInput",
        r#"{"network": "instagram", "title": "Spring is here", "campaign": "spring", "destination": "https://shop.example/spring", "networks": ["instagram", "facebook"]}"#,
    ),
    ("StatsInput", r#"{"external_ids": ["ig-42/instagram"], "changed_since": "2026-11-27T00:00:00Z"}"#),
    ("CouponInput", r#"{"post": "ig-42"}"#),
    ("NewSource", r#"{"platform": "shopify", "name": "My shop", "secret": "the secret that Shopify shows"}"#),
    ("SourceChange", r#"{"name": "My shop in Europe"}"#),
    ("NewSecret", r#"{"secret": "the next secret"}"#),
    (
        "NewConversion",
        r#"{"id": "1001", "amount": "49.90", "currency": "EUR", "customer": {"email": "ann@shop.example"}, "utm": {"source": "instagram", "content": "ig-42"}}"#,
    ),
    ("NewRefund", r#"{"id": "r1", "amount": "10.00", "currency": "EUR"}"#),
    (
        "CostInput",
        r#"{"post": "ig-42", "amount": "12.50", "currency": "EUR", "from": "2026-11-01", "kind": "spend"}"#,
    ),
    ("DayRates", r#"{"base": "EUR", "date": "2026-11-20", "rates": {"USD": "1.0512"}}"#),
    ("NewKey", r#"{"name": "scheduler", "scopes": ["links"]}"#),
    ("NewWorkspace", r#"{"id": "acme", "name": "Acme", "timezone": "Europe/Berlin", "currency": "EUR"}"#),
    ("WorkspaceChange", r#"{"name": "Acme Ltd"}"#),
    ("NewDomain", r#"{"domain": "go.shop.example"}"#),
    (
        "SnapshotInput",
        r#"{"name": "October 2026", "query": {"by": "post", "from": "2026-10-01", "to": "2026-11-01"}}"#,
    ),
    ("Erasure", r#"{"email": "ann@shop.example"}"#),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Scope;
    use crate::intake::Platform;

    #[test]
    fn closed_sets_are_those_of_the_code() {
        let platforms = Platform::ALL.into_iter().filter(|platform| *platform != Platform::Api);
        let mut known: Vec<&str> = platforms.map(Platform::as_str).collect();
        let mut described = PLATFORMS.to_vec();
        known.sort_unstable();
        described.sort_unstable();
        assert_eq!(described, known);
        assert_eq!(SCOPES, Scope::ALL.map(Scope::word));
    }
}
