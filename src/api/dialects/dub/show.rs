//! A link as Dub shows it.

use serde_json::{Value, json};

use crate::api::Api;
use crate::api::links::link_id;
use crate::domain::time::rfc3339;
use crate::domain::utm::Utm;
use crate::ledger::links::{LinkFigures, LinkRow};

/// Texts that are kept with a link and shown again, and mean nothing here.
pub const KEPT_TEXTS: [&str; 8] =
    ["tenantId", "programId", "partnerId", "folderId", "comments", "description", "image", "video"];
/// The same of flags.
pub const KEPT_FLAGS: [&str; 4] = ["trackConversion", "publicStats", "doIndex", "proxy"];
pub const WEBHOOKS: &str = "webhookIds";
/// Dub's `archived` only hides a link from lists: it goes on to redirect.
pub const HIDDEN: &str = "hidden";
/// Fields that clients look for and that nothing here has. Clicks are counted by day, so the moment of the
/// last one is not known either.
const NONE: [&str; 7] = ["disabledAt", "password", "ios", "android", "geo", "userId", "lastClicked"];

/// A link with all fields that clients check for. Amounts are in minor units of the workspace's currency.
pub fn link(api: &Api, link: &LinkRow, figures: LinkFigures) -> Value {
    let workspace = format!("ws_{}", link.workspace.trim_start_matches("ws_"));
    let short_url = api.issuer.short_url(link);
    let Utm { source, medium, campaign, term, content, .. } = &link.utm;
    let mut shown = json!({
        "id": link_id(link.id),
        "domain": link.domain,
        "key": link.slug,
        "url": link.url,
        "qrCode": super::qr_url(api, &short_url),
        "shortLink": short_url,
        "externalId": link.external_id,
        "tags": link.tags.iter().map(|name| tag(name)).collect::<Vec<_>>(),
        "tagId": link.tags.first(),
        "title": link.title,
        "utm_source": source,
        "utm_medium": medium,
        "utm_campaign": campaign,
        "utm_term": term,
        "utm_content": content,
        "expiresAt": link.expires_ms.map(rfc3339),
        "expiredUrl": link.expired_url,
        "archived": link.extra.contains_key(HIDDEN),
        "rewrite": false,
        WEBHOOKS: link.extra.get(WEBHOOKS).filter(|ids| ids.is_array()).unwrap_or(&json!([])),
        "workspaceId": workspace,
        "projectId": workspace,
        "clicks": figures.clicks,
        "leads": figures.leads,
        "conversions": figures.purchases,
        "sales": figures.purchases,
        "saleAmount": figures.net_minor,
        "createdAt": rfc3339(link.created_ms),
        "updatedAt": rfc3339(link.updated_ms),
    });
    for name in KEPT_TEXTS {
        shown[name] = link.extra.get(name).cloned().unwrap_or_default();
    }
    for name in KEPT_FLAGS {
        shown[name] = link.extra.contains_key(name).into();
    }
    for name in NONE {
        shown[name] = Value::Null;
    }
    shown
}

/// Tags have no ids here: the name is the id.
fn tag(name: &str) -> Value {
    json!({"id": name, "name": name, "color": "blue"})
}
