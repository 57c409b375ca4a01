//! Links: what may be one, and how a redirector gets at it.

pub mod cache;
pub mod copies;
pub mod destination;
mod draft;
mod feed;
pub mod follow;
pub mod issue;
pub mod live;
pub mod redis;
pub mod slug;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{InvalidId, LinkId};
use crate::domain::utm::Destination;

/// The one form in which a domain is compared and stored: lower case, without the dot that may end it,
/// with a port only where it is not that of http or https. Takes a `Host` header as it comes.
pub fn domain_key(host: &str) -> Cow<'_, str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, Some(port))
        }
        _ => (host, None),
    };
    let port = port.filter(|port| *port != "80" && *port != "443");
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_key = !name.bytes().any(|b| b.is_ascii_uppercase());
    match port {
        None if is_key => Cow::Borrowed(name),
        None => Cow::Owned(name.to_ascii_lowercase()),
        Some(port) if is_key && name.len() + 1 + port.len() == host.len() => Cow::Borrowed(host),
        Some(port) => Cow::Owned(format!("{}:{port}", name.to_ascii_lowercase())),
    }
}

/// The hot copy of a link: all that a redirect needs of it, as JSON in Redis and in snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotLink {
    #[serde(with = "link_id_text")]
    pub id: LinkId,
    pub workspace: String,
    #[serde(flatten)]
    pub destination: Destination,
    /// Hands the query that the short URL was called with to the destination.
    pub forward_query: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// Where visitors go once the link has expired or is closed; else they see a page that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_url: Option<String>,
    /// Archived, or `max_clicks` reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// Grows with every change of the link; a copy never replaces a newer one.
    pub revision: i64,
}

mod link_id_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{InvalidId, LinkId};

    pub fn serialize<S: Serializer>(id: &LinkId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LinkId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: InvalidId| D::Error::custom(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_one_form() {
        let check = |host: &str, expected: &str| assert_eq!(domain_key(host), expected, "{host}");
        check("go.test", "go.test");
        check("GO.Test.", "go.test");
        check("go.test:443", "go.test");
        check("go.test.:80", "go.test");
        check("Go.test:8080", "go.test:8080");
        check("go.test.:8080", "go.test:8080");
        check("[::1]", "[::1]");
        check("[::1]:8080", "[::1]:8080");
        check("", "");
        check("go.test:", "go.test:");
    }

    #[test]
    fn a_hot_copy_reads_back() {
        let link = HotLink {
            id: LinkId::generate(1_795_000_000_000),
            workspace: "main".into(),
            destination: Destination {
                url: "https://s.test/?utm_source=x".into(),
                fragment: "#a".into(),
                click_param: Some("um_click".into()),
            },
            forward_query: true,
            expires_at_ms: None,
            expired_url: None,
            closed: false,
            revision: 1,
        };
        let text = serde_json::to_string(&link).unwrap();
        assert!(text.contains("\"url\":\"https://s.test/?utm_source=x\""), "{text}");
        assert_eq!(serde_json::from_str::<HotLink>(&text).unwrap(), link);
    }
}
