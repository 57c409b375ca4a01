//! What a link may lead to: an http or https address that is not one of our own short URLs.

use std::borrow::Cow;

use url::Url;

use super::domain_key;

/// Bytes of the longest destination, with its tags.
pub const URL_MAX_BYTES: usize = 8 * 1024;

/// Why `url` was refused; every text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("url must not be empty")]
    Empty,
    #[error("url must have at most {URL_MAX_BYTES} bytes")]
    TooLong,
    #[error("url must begin with http:// or https://")]
    Scheme,
    #[error("url must not contain control characters")]
    ControlCharacter,
    #[error("url is not valid: {0}")]
    Invalid(#[from] url::ParseError),
    #[error("url must name a host")]
    Host,
    #[error("url leads back to the short domain {0}, which would be a loop")]
    Loop(String),
}

/// Judges the destination of a new link. `is_own` is asked with a key as [`domain_key`] makes it.
///
/// The answer is the address as it was given, trimmed; only a host outside ASCII is replaced by its
/// punycode form.
pub fn check(url: &str, is_own: impl Fn(&str) -> bool) -> Result<Cow<'_, str>, DestinationError> {
    let url = url.trim();
    if url.is_empty() {
        return Err(DestinationError::Empty);
    }
    if url.len() > URL_MAX_BYTES {
        return Err(DestinationError::TooLong);
    }
    if url.contains(char::is_control) {
        return Err(DestinationError::ControlCharacter);
    }
    let after_scheme = authority_start(url).ok_or(DestinationError::Scheme)?;
    let parsed = Url::parse(url)?;

    // Browsers take a backslash for a slash, and skip surplus slashes before a host.
    let rest = &url[after_scheme..];
    let authority = &rest[..rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len())];
    let host = parsed.host_str().filter(|_| !authority.is_empty()).ok_or(DestinationError::Host)?;

    let own_key = match parsed.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let own_key = domain_key(&own_key);
    if is_own(&own_key) {
        return Err(DestinationError::Loop(own_key.into_owned()));
    }
    if authority.is_ascii() {
        return Ok(Cow::Borrowed(url));
    }
    let scheme = &url[..after_scheme];
    let path = &rest[authority.len()..];
    Ok(Cow::Owned(format!("{scheme}{}{path}", parsed.authority())))
}

fn authority_start(url: &str) -> Option<usize> {
    ["https://", "http://"].into_iter().find_map(|scheme| {
        url.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(str::len)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(key: &str) -> bool {
        ["go.test", "127.0.0.1:8080"].contains(&key)
    }

    #[test]
    fn addresses_are_kept_as_they_are() {
        for url in [
            "https://s.test",
            "HTTP://S.test:8443/a%2Fb/../c?x[]=1&y#z",
            "https://s.test/ä b?ü",
            "https://u:p@s.test/",
            "https://[::1]:9/x",
            "http://127.0.0.1:9000/shop",
            "https://go.test.example/",
            "https://s.test/?next=https://go.test/x",
        ] {
            assert_eq!(check(url, own).as_deref(), Ok(url));
        }
        assert_eq!(check("  https://s.test/\n", own).as_deref(), Ok("https://s.test/"));
        assert_eq!(check("https://Bücher.test:81/ä", own).as_deref(), Ok("https://xn--bcher-kva.test:81/ä"));
    }

    #[test]
    fn others_are_refused_with_a_reason() {
        let check = |url: &str, expected: DestinationError| {
            assert_eq!(check(url, own), Err(expected), "{url}");
        };
        check("", DestinationError::Empty);
        check(" \n", DestinationError::Empty);
        check(&format!("https://s.test/{}", "x".repeat(URL_MAX_BYTES)), DestinationError::TooLong);
        check("javascript:alert(1)", DestinationError::Scheme);
        check("ftp://s.test/", DestinationError::Scheme);
        check("s.test/x", DestinationError::Scheme);
        check("https:s.test", DestinationError::Scheme);
        check("//s.test/x", DestinationError::Scheme);
        check("https://s.test/\r\nSet-Cookie: a=b", DestinationError::ControlCharacter);
        check("https:///s.test", DestinationError::Host);
        check("https://", DestinationError::Invalid(url::ParseError::EmptyHost));
        check("https://s.test:99999/", DestinationError::Invalid(url::ParseError::InvalidPort));
        for url in [
            "https://go.test",
            "http://GO.test./x",
            "https://go.test:443/x",
            "https://u@go.test/",
            "https://go.test\\x",
            "https://%67o.test/",
        ] {
            check(url, DestinationError::Loop("go.test".into()));
        }
        check("http://127.0.0.1:8080/x", DestinationError::Loop("127.0.0.1:8080".into()));
        check("http://2130706433:8080/x", DestinationError::Loop("127.0.0.1:8080".into()));
    }
}
