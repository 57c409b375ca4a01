//! Slugs: what stands after the domain in a short URL.
//!
//! A slug is one path segment. Letters and digits of any script and `-`, `_`, `.`, `~` may stand in it;
//! it is compared byte by byte, so case counts. Words that the program needs for its own paths are
//! refused in any case.

use rand::RngExt as _;

/// Bytes of the longest slug (UTF-8).
pub const SLUG_MAX_BYTES: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    #[error("slug must have 1 to {SLUG_MAX_BYTES} bytes")]
    Length,
    #[error("slug may hold letters, digits, '-', '_', '.' and '~', but not {0:?}")]
    Character(char),
    #[error("slug must not begin with a dot")]
    LeadingDot,
    #[error("slug {0:?} is reserved")]
    Reserved(String),
}

/// A random slug of 7 characters (2.2 * 10^12 of them) that people do not mistake for another.
pub fn generate() -> String {
    const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut rng = rand::rng();
    loop {
        let slug: String = (0..7).map(|_| char::from(BASE58[rng.random_range(0..58)])).collect();
        if !is_reserved(&slug.to_ascii_lowercase()) {
            return slug;
        }
    }
}

/// Judges a slug that somebody chose.
pub fn check(slug: &str) -> Result<(), SlugError> {
    if slug.is_empty() || slug.len() > SLUG_MAX_BYTES {
        return Err(SlugError::Length);
    }
    if let Some(c) = slug.chars().find(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.' | '~')) {
        return Err(SlugError::Character(c));
    }
    if slug.starts_with('.') {
        return Err(SlugError::LeadingDot);
    }
    if is_reserved(&slug.to_lowercase()) {
        return Err(SlugError::Reserved(slug.to_owned()));
    }
    Ok(())
}

/// Whether a first path segment (in lower case) belongs to the program and not to a link.
pub fn is_reserved(segment: &str) -> bool {
    matches!(
        segment,
        "" | "api"
            | "app"
            | "hooks"
            | "js"
            | "static"
            | "assets"
            | "healthz"
            | "readyz"
            | "metrics"
            | "robots.txt"
            | "favicon.ico"
            | "apple-touch-icon.png"
            | "apple-touch-icon-precomposed.png"
            | "sitemap.xml"
            | "ads.txt"
            | "security.txt"
            | ".well-known"
            // Where the dialects of other shorteners expect their doors.
            | "links"
            | "track"
            | "analytics"
            | "events"
            | "domains"
            | "tags"
            | "folders"
            | "rest"
            | "v1"
            | "v2"
            | "v3"
            | "v4"
            | "yourls-api.php"
            | "dub"
            | "kutt"
            | "shlink"
            | "bitly"
            | "yourls"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_slugs_are_judged() {
        let check_ok = |slug: &str| assert_eq!(check(slug), Ok(()), "{slug}");
        for slug in ["a", "Summer-Sale_2026.v2~", "лето", "夏", "apis", "v5", &"x".repeat(128)] {
            check_ok(slug);
        }
        let check_err = |slug: &str, expected: SlugError| assert_eq!(check(slug), Err(expected), "{slug}");
        check_err("", SlugError::Length);
        check_err(&"x".repeat(129), SlugError::Length);
        check_err("a b", SlugError::Character(' '));
        check_err("a/b", SlugError::Character('/'));
        check_err("a%20b", SlugError::Character('%'));
        check_err("a\r\nX", SlugError::Character('\r'));
        check_err("😀", SlugError::Character('😀'));
        check_err("..", SlugError::LeadingDot);
        check_err(".well-known", SlugError::LeadingDot);
        check_err("API", SlugError::Reserved("API".into()));
        check_err("yourls-api.php", SlugError::Reserved("yourls-api.php".into()));
    }

    #[test]
    fn random_slugs_are_valid_and_differ() {
        let slugs: std::collections::HashSet<String> = (0..1_000).map(|_| generate()).collect();
        assert_eq!(slugs.len(), 1_000);
        assert!(slugs.iter().all(|s| s.len() == 7 && check(s).is_ok()));
    }
}
