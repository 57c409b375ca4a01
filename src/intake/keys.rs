//! Finding, in what platforms deliver, the keys by which an order may be matched.

use super::fact::Keys;
use super::fields::{Field, clean};
use crate::domain::token::{DEFAULT_CLICK_PARAM, has_token_shape};
use crate::domain::utm::{UTM_PARAMS, Utm};

/// Names under which a click token comes; any other name counts if its value looks like a token.
const TOKEN_NAMES: [&str; 3] = [DEFAULT_CLICK_PARAM, "click_id", "utm_click"];

/// Names under which sites hand a payment provider their own number of the order.
const REFERENCE_NAMES: [&str; 3] = ["order_id", "order_number", "order_key"];

/// Bounds for what one order may name; the rest falls away.
const MAX_TOKENS: usize = 50;
const MAX_COUPONS: usize = 20;
const MAX_REFERENCES: usize = 20;
const MAX_TOKEN_BYTES: usize = 80;
const MAX_URL_BYTES: usize = 8192;

impl Keys {
    /// A named value as sites attach them (note attributes, meta data, custom data): a click token,
    /// several of them, a UTM tag or a landing URL.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        let name = name.trim_start_matches('_');
        if is_token_name(name) {
            // The script joins the tokens of several clicks.
            for token in value.split([',', ';', ' ', '|']) {
                self.add_token(token);
            }
        } else if looks_like_a_token(value) {
            self.add_token(value);
        } else if UTM_PARAMS.contains(&name) {
            self.add_utm(name, value);
        } else if matches!(name, "landing_url" | "landing_site" | "landing_page") {
            self.add_landing(value);
        }
    }

    /// Everything that an object of names and values holds, the order's number elsewhere included.
    pub(super) fn note_all(&mut self, object: &Field<'_>) {
        for (name, field) in object.entries() {
            if let Some(value) = field.opt_text() {
                self.note(name, value);
            }
            if REFERENCE_NAMES.contains(&name) {
                self.add_reference(field.opt_id());
            }
        }
    }

    /// A click token as found.
    pub(super) fn add_token(&mut self, token: &str) {
        let token = token.trim();
        let plausible = (1..=MAX_TOKEN_BYTES).contains(&token.len()) && is_base64url(token);
        if plausible && self.tokens.len() < MAX_TOKENS && !self.tokens.iter().any(|known| known == token) {
            self.tokens.push(token.into());
        }
    }

    /// A landing URL with the tokens and tags of its query. The first one stands.
    pub(super) fn add_landing(&mut self, url: &str) {
        let Some(url) = clean(url) else { return };
        self.add_query_of(url);
        if self.landing_url.is_none() && url.len() <= MAX_URL_BYTES {
            self.landing_url = Some(url.into());
        }
    }

    /// The tokens and tags of a URL's query, whatever else the URL is.
    pub(super) fn add_query_of(&mut self, url: &str) {
        let Some((_, query)) = url.split_once('?') else { return };
        let query = query.split('#').next().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if !UTM_PARAMS.contains(&name.as_ref()) && !name.starts_with("landing") {
                self.note(&name, &value);
            }
        }
        for (name, value) in Utm::from_query(query).iter() {
            self.add_utm(name, value);
        }
    }

    /// A tag by its parameter name; the first value of a name stands. Trackers write `(direct)` and
    /// `(none)` for what is not there.
    pub(super) fn add_utm(&mut self, param: &str, value: &str) {
        let name = param.strip_prefix("utm_").unwrap_or(param);
        let Some(value) = clean(value).filter(|value| !value.starts_with('(')) else { return };
        if !self.utm.iter().any(|(known, _)| known == name) {
            self.utm.push((name.into(), value.into()));
        }
    }

    pub(super) fn add_referrer(&mut self, referrer: Option<&str>) {
        let referrer = referrer.filter(|url| url.len() <= MAX_URL_BYTES && !url.starts_with('('));
        if self.referrer.is_none() {
            self.referrer = referrer.map(Into::into);
        }
    }

    pub(super) fn add_coupon(&mut self, code: Option<&str>) {
        if let Some(code) = code
            && self.coupons.len() < MAX_COUPONS
            && !self.coupons.iter().any(|known| known == code)
        {
            self.coupons.push(code.into());
        }
    }

    pub(super) fn add_reference(&mut self, reference: Option<String>) {
        if let Some(reference) = reference
            && self.references.len() < MAX_REFERENCES
            && !self.references.contains(&reference)
        {
            self.references.push(reference);
        }
    }
}

/// Whether a query parameter or an attribute is called as a click token usually is.
pub fn is_token_name(name: &str) -> bool {
    TOKEN_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// As long as our tokens are, and no hexadecimal digest.
pub fn looks_like_a_token(value: &str) -> bool {
    has_token_shape(value) && !value.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_base64url(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_landing(url: &str) -> Keys {
        let mut keys = Keys::default();
        keys.add_landing(url);
        keys
    }

    #[test]
    fn landings_give_tokens_and_tags() {
        let token = "AQGTf3rXSXOAkdvC0hWc4ZcBAAAAAAAAAAECAwQFBgcICQoLDA_-fVZRHzW5p9cx";
        let check = |url: &str, tokens: &[&str], utm: &[(&str, &str)]| {
            let keys = of_landing(url);
            assert_eq!(keys.tokens, tokens, "{url}");
            let expected: Vec<_> = utm.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(keys.utm, expected, "{url}");
            assert_eq!(keys.landing_url.as_deref(), clean(url));
        };
        check("/p?um_click=abc&utm_source=X&utm_source=y", &["abc"], &[("source", "X")]);
        check(&format!("https://a.example/?ref={token}#top"), &[token], &[]);
        check(&format!("/?hmac={}", "ab".repeat(32)), &[], &[]);
        check("/?um_click=not%20one!&utm_medium=%28none%29", &["not"], &[]);
        check("http://[junk?click_id=a&click_id=b", &["a", "b"], &[]);
        check("/?utm_term=a%00b&utm_id=7", &[], &[("id", "7")]);
        check("nothing at all", &[], &[]);
        assert_eq!(of_landing(" \u{0} "), Keys::default());
        assert_eq!(of_landing(&format!("/?um_click=abc&x={}", "y".repeat(9000))).landing_url, None);
    }

    #[test]
    fn named_values_are_bounded() {
        let mut keys = Keys::default();
        keys.note("_um_click", &(0..100).map(|n| format!("t{n}")).collect::<Vec<_>>().join(","));
        keys.note("utm_campaign", " Spring ");
        keys.note("gift", "yes");
        assert_eq!(keys.tokens.len(), MAX_TOKENS);
        assert_eq!(keys.utm, [("campaign".to_string(), "Spring".to_string())]);
        for n in 0..100 {
            keys.add_coupon(Some(&format!("c{n}")));
            keys.add_reference(Some(format!("r{n}")));
        }
        assert_eq!((keys.coupons.len(), keys.references.len()), (MAX_COUPONS, MAX_REFERENCES));
    }
}
