//! UTM tags and how they get into a destination. Everything that is not ours is kept byte by byte: a
//! rewritten `%20`, `[]` or bare key breaks signed URLs.
//!
//! Who wins: the destination's own tags stay, the link's tags fill the gaps, the query that the short
//! URL was called with overrides, and the click token is always ours.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::token::DEFAULT_CLICK_PARAM;

/// Raw values as they were given; reports group on the lower-cased ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Utm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creative_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marketing_tactic: Option<String>,
}

/// The query parameters, in the order in which they are appended.
pub const UTM_PARAMS: [&str; 9] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "utm_id",
    "utm_source_platform",
    "utm_creative_format",
    "utm_marketing_tactic",
];

impl Utm {
    /// The tags of a query string (without `?`), decoded as forms are; of several values the first.
    pub fn from_query(query: &str) -> Self {
        let mut utm = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if let Some(field) = utm.field_mut(&name)
                && field.is_none()
                && !value.is_empty()
            {
                *field = Some(value.into_owned());
            }
        }
        utm
    }

    /// The tags that are set, by parameter name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let values = [
            &self.source,
            &self.medium,
            &self.campaign,
            &self.term,
            &self.content,
            &self.id,
            &self.source_platform,
            &self.creative_format,
            &self.marketing_tactic,
        ];
        UTM_PARAMS
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some((name, value.as_deref().filter(|v| !v.is_empty())?)))
    }

    /// The field of a parameter such as `utm_source`.
    pub fn field_mut(&mut self, param: &str) -> Option<&mut Option<String>> {
        Some(match param {
            "utm_source" => &mut self.source,
            "utm_medium" => &mut self.medium,
            "utm_campaign" => &mut self.campaign,
            "utm_term" => &mut self.term,
            "utm_content" => &mut self.content,
            "utm_id" => &mut self.id,
            "utm_source_platform" => &mut self.source_platform,
            "utm_creative_format" => &mut self.creative_format,
            "utm_marketing_tactic" => &mut self.marketing_tactic,
            _ => return None,
        })
    }

    /// Parameters whose values split reports in other tools: upper case or white space in them.
    pub fn untidy(&self) -> impl Iterator<Item = &'static str> {
        self.iter()
            .filter(|(_, value)| value.chars().any(|c| c.is_uppercase() || c.is_whitespace()))
            .map(|(name, _)| name)
    }
}

/// Which query parameter of the destination carries the click token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClickParam<'a> {
    /// `um_click`, or what a Stripe Payment Link hands on: `client_reference_id`.
    Default,
    Named(&'a str),
    Off,
}

/// Whether a name may carry the click token: 1 to 64 of `[A-Za-z0-9_-]`, and no UTM tag.
pub fn is_click_param(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && !UTM_PARAMS.contains(&name)
}

/// Where the clicks of a link go, but for what each click adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Printable ASCII, with the link's tags, up to the fragment.
    pub url: String,
    /// Empty, or `#` and the rest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fragment: String,
    /// None if the link adds no click token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_param: Option<String>,
}

impl Destination {
    /// The whole address as it is shown to people, without a click token.
    pub fn to_url(&self) -> String {
        format!("{}{}", self.url, self.fragment)
    }
}

/// Puts a link's tags into the gaps that the destination's own tags leave. A click token that was in
/// the URL already (somebody copied it out of a browser) goes.
pub fn link_destination(url: &str, utm: &Utm, click_param: ClickParam<'_>) -> Destination {
    let safe = printable(url);
    let (before, fragment) = safe.find('#').map_or((&*safe, ""), |i| safe.split_at(i));

    let has = |name: &str| segments(query_of(before)).any(|s| is_named(s, name));
    let click_param = match click_param {
        ClickParam::Off => None,
        ClickParam::Named(name) => Some(name),
        // A reference that the shop put there itself is the shop's.
        ClickParam::Default if is_stripe_payment_link(before) && !has("client_reference_id") => {
            Some("client_reference_id")
        }
        ClickParam::Default => Some(DEFAULT_CLICK_PARAM),
    };

    let mut url = without(before, |s| is_ours(s, click_param));
    for (name, value) in utm.iter().filter(|(name, _)| !has(name)) {
        let value = utf8_percent_encode(value, VALUE);
        append(&mut url, &format!("{name}={value}"));
    }
    Destination { url, fragment: fragment.to_owned(), click_param: click_param.map(str::to_owned) }
}

/// Adds the query that a short URL was called with to a destination without its fragment. Its UTM tags
/// take the place of those that are there; of everything else nothing is touched.
pub fn forward_query(url: &str, incoming: &str, click_param: Option<&str>) -> String {
    let incoming = printable(incoming);
    let mut tags: Vec<(&str, bool)> = Vec::new();
    let mut others: Vec<&str> = Vec::new();
    for segment in segments(&incoming).filter(|s| !s.is_empty() && !is_ours(s, click_param)) {
        match utm_name(segment) {
            None => others.push(segment),
            // An empty tag would wipe out one that says something.
            Some(_) if value_of(segment).is_empty() => {}
            Some(name) if tags.iter().any(|(tag, _)| is_named(tag, &name)) => {}
            Some(_) => tags.push((segment, false)),
        }
    }

    let mut merged = String::with_capacity(url.len() + incoming.len() + 1);
    if tags.is_empty() {
        merged.push_str(url);
    } else {
        let (path, query) = url.find('?').map_or((url, ""), |i| url.split_at(i + 1));
        merged.push_str(path);
        let mut kept = 0;
        for segment in segments(query) {
            let tag =
                utm_name(segment).and_then(|name| tags.iter_mut().find(|(tag, _)| is_named(tag, &name)));
            let kept_segment = match tag {
                None => segment,
                Some((_, true)) => continue,
                Some((tag, placed)) => {
                    *placed = true;
                    tag
                }
            };
            if kept > 0 {
                merged.push('&');
            }
            merged.push_str(kept_segment);
            kept += 1;
        }
    }
    for (tag, _) in tags.iter().filter(|(_, placed)| !placed) {
        append(&mut merged, tag);
    }
    for other in others {
        append(&mut merged, other);
    }
    merged
}

/// What has to stand between a URL without a fragment and one more parameter.
pub fn query_joiner(url: &str) -> &'static str {
    if !url.contains('?') {
        "?"
    } else if url.ends_with(['?', '&']) {
        ""
    } else {
        "&"
    }
}

const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Makes text fit for a `Location` header: no control characters, no blanks, nothing outside ASCII.
fn printable(text: &str) -> Cow<'_, str> {
    const UNPRINTABLE: &AsciiSet = &CONTROLS.add(b' ');
    utf8_percent_encode(text, UNPRINTABLE).into()
}

fn append(url: &mut String, segment: &str) {
    url.push_str(query_joiner(url));
    url.push_str(segment);
}

/// The URL without the segments of its query that `drop` names.
fn without(url: &str, drop: impl Fn(&str) -> bool) -> String {
    let Some((path, query)) = url.split_once('?').filter(|(_, query)| segments(query).any(&drop)) else {
        return url.to_owned();
    };
    let kept: Vec<&str> = segments(query).filter(|s| !drop(s)).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

fn query_of(url: &str) -> &str {
    url.split_once('?').map_or("", |(_, query)| query)
}

fn segments(query: &str) -> impl Iterator<Item = &str> {
    query.split('&')
}

fn name_of(segment: &str) -> Cow<'_, str> {
    let name = segment.split_once('=').map_or(segment, |(name, _)| name);
    percent_decode_str(name).decode_utf8().unwrap_or(Cow::Borrowed(name))
}

fn value_of(segment: &str) -> &str {
    segment.split_once('=').map_or("", |(_, value)| value)
}

fn is_named(segment: &str, name: &str) -> bool {
    name_of(segment) == name
}

fn utm_name(segment: &str) -> Option<Cow<'_, str>> {
    Some(name_of(segment)).filter(|name| UTM_PARAMS.contains(&&**name))
}

fn is_ours(segment: &str, click_param: Option<&str>) -> bool {
    is_named(segment, DEFAULT_CLICK_PARAM) || click_param.is_some_and(|name| is_named(segment, name))
}

fn is_stripe_payment_link(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
        && url[8..].split(['/', '?']).next().is_some_and(|host| host.eq_ignore_ascii_case("buy.stripe.com"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utm(query: &str) -> Utm {
        Utm::from_query(query)
    }

    #[test]
    fn link_tags_fill_the_gaps() {
        let check = |url: &str, tags: &str, expected: &str| {
            assert_eq!(
                link_destination(url, &utm(tags), ClickParam::Default).to_url(),
                expected,
                "{url} + {tags}"
            );
        };
        let tags = "utm_source=x&utm_medium=social";
        check("https://s.test/", "", "https://s.test/");
        check("https://s.test", tags, "https://s.test?utm_source=x&utm_medium=social");
        check("https://s.test/p?a=1", tags, "https://s.test/p?a=1&utm_source=x&utm_medium=social");
        check("https://s.test/p?", tags, "https://s.test/p?utm_source=x&utm_medium=social");
        check("https://s.test/p?a&", tags, "https://s.test/p?a&utm_source=x&utm_medium=social");
        check("https://s.test/#/r?x=1", tags, "https://s.test/?utm_source=x&utm_medium=social#/r?x=1");
        check("https://s.test/?utm_source=Own", tags, "https://s.test/?utm_source=Own&utm_medium=social");
        check("https://s.test/?utm%5Fsource=Own", tags, "https://s.test/?utm%5Fsource=Own&utm_medium=social");
        check("https://s.test/?utm_source=", tags, "https://s.test/?utm_source=&utm_medium=social");
        check(
            "https://s.test/?q=%20+a[]=&b",
            tags,
            "https://s.test/?q=%20+a[]=&b&utm_source=x&utm_medium=social",
        );
        check("https://s.test/", "utm_term=a+b%26c%23ä", "https://s.test/?utm_term=a%20b%26c%23%C3%A4");
        check("https://s.test/ä b\r\nX: 1", "", "https://s.test/%C3%A4%20b%0D%0AX:%201");
        check("https://s.test/?a=1&um_click=old&b=2#f", "", "https://s.test/?a=1&b=2#f");
        check("https://s.test/?um_click=old", "", "https://s.test/");
    }

    #[test]
    fn the_token_finds_its_parameter() {
        let check = |url: &str, param: ClickParam<'_>, expected: Option<&str>| {
            let destination = link_destination(url, &Utm::default(), param);
            assert_eq!(destination.click_param.as_deref(), expected, "{url}");
        };
        check("https://s.test/", ClickParam::Default, Some("um_click"));
        check("https://s.test/", ClickParam::Named("cid"), Some("cid"));
        check("https://s.test/", ClickParam::Off, None);
        check("https://buy.stripe.com/x?a=1", ClickParam::Default, Some("client_reference_id"));
        check("HTTPS://BUY.stripe.com", ClickParam::Default, Some("client_reference_id"));
        check("https://buy.stripe.com/x?client_reference_id=7", ClickParam::Default, Some("um_click"));
        check("https://buy.stripe.com.evil.test/x", ClickParam::Default, Some("um_click"));
        assert!(is_click_param("client_reference_id"));
        for name in ["", "a b", "a=b", "utm_content", "ä", &"a".repeat(65)] {
            assert!(!is_click_param(name), "{name}");
        }
    }

    #[test]
    fn the_incoming_query_overrides() {
        let check = |url: &str, incoming: &str, expected: &str| {
            assert_eq!(forward_query(url, incoming, Some("um_click")), expected, "{url} + {incoming}");
        };
        check("https://s.test/", "", "https://s.test/");
        check("https://s.test/", "a=1", "https://s.test/?a=1");
        check("https://s.test/?b", "a=1&&c", "https://s.test/?b&a=1&c");
        check("https://s.test/?utm_source=x&b=%20", "utm_source=Y", "https://s.test/?utm_source=Y&b=%20");
        check("https://s.test/?utm%5Fsource=x", "utm_source=Y", "https://s.test/?utm_source=Y");
        check(
            "https://s.test/?utm_source=x&b&utm_source=z",
            "utm_source=Y",
            "https://s.test/?utm_source=Y&b",
        );
        check("https://s.test/?b", "utm_source=Y&utm_source=Z", "https://s.test/?b&utm_source=Y");
        check("https://s.test/?utm_source=x", "utm_source=&utm_source", "https://s.test/?utm_source=x");
        check("https://s.test/", "um_click=forged&um%5Fclick=x&a", "https://s.test/?a");
        check(
            "https://s.test/?gclid=A",
            "gclid=B&fbclid=IwAR_x",
            "https://s.test/?gclid=A&gclid=B&fbclid=IwAR_x",
        );
        check("https://s.test/", "q=ä", "https://s.test/?q=%C3%A4");
        assert_eq!(forward_query("u", "cid=1&um_click=2&a", Some("cid")), "u?a");
        assert_eq!(forward_query("u", "um_click=2&a", None), "u?a");
    }

    #[test]
    fn untidy_values_are_named() {
        let tags = utm("utm_source=Instagram&utm_medium=social&utm_campaign=my+sale&utm_term=");
        assert_eq!(tags.untidy().collect::<Vec<_>>(), ["utm_source", "utm_campaign"]);
        assert_eq!(tags.term, None);
    }

    fn any_query() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("utm_source".to_owned()),
            Just("utm_medium".to_owned()),
            Just("utm%5Fsource".to_owned()),
            Just("um_click".to_owned()),
            Just("gclid".to_owned()),
            "[a-z%\\[\\]\r\n é]{0,4}",
        ];
        let segment = (name, prop_oneof![Just(String::new()), "=[A-Za-z0-9+%=é \r\n]{0,6}"])
            .prop_map(|(name, value)| name + &value);
        proptest::collection::vec(segment, 0..6).prop_map(|segments| segments.join("&"))
    }

    fn any_url() -> impl Strategy<Value = String> {
        let query = prop_oneof![Just(String::new()), any_query().prop_map(|q| format!("?{q}"))];
        ("[a-zA-Z0-9/%é \r\n]{0,12}", query, prop_oneof![Just(""), Just("#"), Just("#/r?utm_source=f&x=1")])
            .prop_map(|(path, query, fragment)| format!("https://s.test/{path}{query}{fragment}"))
    }

    fn is_header_safe(text: &str) -> bool {
        text.bytes().all(|b| b.is_ascii_graphic())
    }

    /// The segments of a URL's query that nobody may change.
    fn untouchable(url: &str) -> Vec<String> {
        let printable = printable(url).into_owned();
        let before = printable.split('#').next().unwrap();
        segments(query_of(before))
            .filter(|s| !s.is_empty() && !is_ours(s, None) && utm_name(s).is_none())
            .map(str::to_owned)
            .collect()
    }

    proptest! {
        #[test]
        fn merging_keeps_bytes_and_is_idempotent(url in any_url(), tags in any_query()) {
            let tags = utm(&tags);
            let once = link_destination(&url, &tags, ClickParam::Default);
            let again = link_destination(&once.to_url(), &tags, ClickParam::Default);
            prop_assert_eq!(&once, &again);
            prop_assert!(is_header_safe(&once.url) && is_header_safe(&once.fragment));
            prop_assert_eq!(once.fragment.as_str(), url.find('#').map_or("", |i| &url[i..]));
            prop_assert_eq!(untouchable(&once.url), untouchable(&url));
            let safe = printable(&url);
            let before = safe.split('#').next().unwrap();
            if !segments(query_of(before)).any(|s| is_ours(s, None)) {
                prop_assert!(once.url.starts_with(before));
            }
            for (name, value) in tags.iter() {
                let found = Utm::from_query(query_of(&once.url)).field_mut(name).unwrap().clone();
                let own = Utm::from_query(query_of(before)).field_mut(name).unwrap().clone();
                let has_own = segments(query_of(before)).any(|s| is_named(s, name));
                prop_assert_eq!(found, if has_own { own } else { Some(value.to_owned()) });
            }
        }

        #[test]
        fn forwarding_overrides_tags_only(url in any_url(), incoming in any_query()) {
            let destination = link_destination(&url, &Utm::default(), ClickParam::Default);
            let merged = forward_query(&destination.url, &incoming, Some("um_click"));
            prop_assert!(is_header_safe(&merged));
            let mut kept = untouchable(&destination.url);
            kept.extend(untouchable(&format!("?{incoming}")));
            prop_assert_eq!(untouchable(&merged), kept);
            for name in UTM_PARAMS {
                let said = |query: &str| segments(query).find(|s| {
                    is_named(s, name) && !value_of(s).is_empty()
                }).map(str::to_owned);
                if let Some(segment) = said(&printable(&incoming)) {
                    let all: Vec<_> = segments(query_of(&merged)).filter(|s| is_named(s, name)).collect();
                    prop_assert_eq!(all, [segment.as_str()]);
                }
            }
            prop_assert!(!segments(query_of(&merged)).any(|s| is_ours(s, None)));
            // Tags are replaced in place, so a second time changes nothing.
            let tags: Vec<_> = segments(&incoming).filter(|s| utm_name(s).is_some()).collect();
            let once = forward_query(&destination.url, &tags.join("&"), None);
            prop_assert_eq!(forward_query(&once, &tags.join("&"), None), once);
        }
    }
}
