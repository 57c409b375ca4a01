//! An order's own landing: what of it is kept, and whether another channel brought the customer.

use url::form_urlencoded;

use crate::domain::channel::{Landing, channel};
use crate::domain::token::DEFAULT_CLICK_PARAM;
use crate::intake::fact::Keys;
use crate::intake::{is_token_name, looks_like_a_token};

/// Parameters of advertisers whose presence tells the channel. Their values are not kept.
const AD_PARAMS: [&str; 14] = [
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "fbclid",
    "msclkid",
    "ttclid",
    "twclid",
    "li_fat_id",
    "epik",
    "ScCid",
    "srsltid",
    "yclid",
    "rdt_cid",
];

/// The channel that takes a share of the order, if its landing was not one of ours.
/// `utm_is_ours`: the landing's UTM values identify one of our links.
pub(super) fn rival_channel(keys: &Keys, utm_is_ours: bool) -> Option<String> {
    let landing_is_ours = keys.landing_url.as_deref().is_some_and(has_click_param);
    if utm_is_ours || landing_is_ours {
        return None;
    }
    let landing = Landing {
        utm: &keys.utm,
        landing_url: keys.landing_url.as_deref(),
        referrer: keys.referrer.as_deref(),
        own_hosts: &[],
    };
    channel(&landing).map(|channel| channel.as_str().to_owned())
}

fn query_of(landing: &str) -> &str {
    let without_fragment = landing.split('#').next().unwrap_or_default();
    without_fragment.split_once('?').map_or("", |(_, query)| query)
}

fn has_click_param(landing: &str) -> bool {
    form_urlencoded::parse(query_of(landing).as_bytes()).any(|(name, _)| is_token_name(&name))
}

/// A landing URL as it is kept: host, UTM values, and whether our token or an advertiser's parameter was there. Paths and
/// other parameters may name a person.
pub(super) fn without_people(landing: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query_of(landing).as_bytes()) {
        if name.starts_with("utm_") {
            query.append_pair(&name, &value);
        } else if is_token_name(&name) || looks_like_a_token(&value) {
            // Links may call their parameter what they like.
            query.append_pair(DEFAULT_CLICK_PARAM, "1");
        } else if AD_PARAMS.contains(&name.as_ref()) {
            query.append_pair(&name, "1");
        }
    }
    let host = url::Url::parse(landing).ok().and_then(|url| url.host_str().map(str::to_owned));
    let base = host.map_or_else(String::new, |host| format!("https://{host}"));
    match query.finish() {
        query if query.is_empty() => format!("{base}/"),
        query => format!("{base}/?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_names_nobody() {
        let check = |landing: &str, expected: &str| assert_eq!(without_people(landing), expected);
        check(
            "https://shop.example/u/jane?email=j@x.y&utm_source=fb&gclid=abc&um_click=tok#x",
            "https://shop.example/?utm_source=fb&gclid=1&um_click=1",
        );
        check("/products/hat?utm_content=a%20b", "/?utm_content=a+b");
        check(&format!("/?ref={}&hash={}", "aZ".repeat(32), "af".repeat(32)), "/?um_click=1");
        check("junk", "/");
        check("", "/");
    }

    #[test]
    fn a_landing_of_ours_is_no_rival() {
        let rival = |landing: &str, ours| {
            rival_channel(&Keys { landing_url: Some(landing.into()), ..Keys::default() }, ours)
        };
        assert_eq!(rival("https://shop.example/?gclid=1", false).as_deref(), Some("paid_search"));
        assert_eq!(rival("/?gclid=1&um_click=1", false), None);
        assert_eq!(rival("/?utm_source=facebook&utm_medium=social", true), None);
        assert_eq!(rival("https://shop.example/", false), None);
    }
}
