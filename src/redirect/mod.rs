//! The redirect: a short URL is asked for, the click is recorded, the visitor is sent on. Nothing here
//! touches SQL or the ledger, and nobody looks into user agents: the worker does.

pub mod accept;
mod answer;
mod page;
mod slow;
mod visitor;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::ids::ClickId;
use crate::domain::keys::KeyRing;
use crate::domain::time::now_ms;
use crate::links::cache::{Found, LinkCache, SourceError};
use crate::links::{domain_key, slug};
use crate::log::Log;
use crate::log::record::ClientNetwork;
use answer::{Answer, Asked, Fresh, answer};
use page::Page;
use visitor::{Cookie, Proxies};

#[derive(Debug, Clone)]
pub struct RedirectConfig {
    /// As `links::domain_key` makes it. Hosts that are no short domain are taken for it.
    pub default_domain: String,
    /// Short links are https: cookies are for https alone.
    pub is_https: bool,
    /// Strict privacy: neither cookie nor visitor.
    pub is_strict: bool,
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
}

pub struct Redirect {
    links: LinkCache,
    log: Log,
    keys: Arc<KeyRing>,
    config: RedirectConfig,
    proxies: Proxies,
    counted: Counted,
}

impl Redirect {
    pub fn new(
        links: LinkCache,
        log: Log,
        keys: Arc<KeyRing>,
        config: RedirectConfig,
        metrics: &RedirectMetrics,
    ) -> Self {
        let proxies = Proxies::new(config.trusted_proxies.clone());
        Self { links, log, keys, proxies, counted: Counted::new(metrics), config }
    }

    /// Answers a request of a short URL; None if its path is not one and belongs to the program.
    pub async fn handle(
        &self,
        peer: IpAddr,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        let slug = slug_of(uri.path())?;
        let now_ms = now_ms();
        let found = match self.find(host(uri, headers), &slug, now_ms).await {
            Ok(found) => found?,
            Err(error) => {
                tracing::warn!(%error, "a link cannot be looked up");
                return Some(self.page(Page::Unavailable));
            }
        };
        if method != Method::GET && method != Method::HEAD {
            let mut response = self.page(Page::MethodNotAllowed);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        let link = match &found {
            Found::Link(link) => Some(&**link),
            Found::NoLink | Found::UnknownDomain => None,
        };
        let asked = Asked {
            request: visitor::request(method, headers),
            query: uri.query().unwrap_or_default(),
            cookie: Cookie::of(headers),
            is_anonymous: self.config.is_strict || visitor::is_opted_out(headers),
            address: Some(ClientNetwork::of(self.proxies.client(peer, headers))),
            user_agent: text(headers, &header::USER_AGENT),
            referrer: text(headers, &header::REFERER),
        };
        let fresh = Fresh { click: ClickId::generate(now_ms), cookie: Cookie::generate() };
        Some(match answer(asked, link, fresh, &self.keys) {
            Answer::Go { click, location, set_cookie } => {
                // A lost click is counted by the log; the visitor goes on all the same.
                let _ = self.log.append_click(&click).await;
                let is_https = self.config.is_https || self.proxies.says_https(peer, headers);
                self.counted.redirected.inc();
                redirect(location, set_cookie.map(|cookie| cookie.to_header(is_https)))
            }
            Answer::Elsewhere { location } => {
                self.counted.redirected.inc();
                redirect(location, None)
            }
            Answer::Page(page) => self.page(page),
        })
    }

    /// None if the slug is a word that belongs to the program.
    async fn find(&self, host: &str, slug: &str, now_ms: i64) -> Result<Option<Found>, SourceError> {
        let domain = domain_key(host);
        match self.find_on(&domain, slug, now_ms).await? {
            Some(Found::UnknownDomain) if domain != self.config.default_domain => {
                self.find_on(&self.config.default_domain, slug, now_ms).await
            }
            found => Ok(found),
        }
    }

    async fn find_on(&self, domain: &str, slug: &str, now_ms: i64) -> Result<Option<Found>, SourceError> {
        let mut key = String::with_capacity(domain.len() + 1 + slug.len());
        key.push_str(domain);
        key.push('/');
        key.push_str(slug);
        if let Some(found) = self.links.peek(&key, now_ms) {
            return Ok(Some(found));
        }
        // Only now, since most requests are for links at hand, and no link has such a slug.
        if slug::is_reserved(&slug.to_lowercase()) {
            return Ok(None);
        }
        if slug::check(slug).is_err() {
            return Ok(Some(Found::NoLink));
        }
        self.links.find(&key, now_ms).await.map(Some)
    }

    fn page(&self, page: Page) -> Response<Full<Bytes>> {
        match page {
            Page::NotFound => &self.counted.not_found,
            Page::Gone => &self.counted.gone,
            Page::Unavailable => &self.counted.unavailable,
            Page::MethodNotAllowed => &self.counted.method_not_allowed,
        }
        .inc();
        let mut response = Response::new(Full::new(page.body()));
        *response.status_mut() = page.status();
        let headers = response.headers_mut();
        mark(headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        if page == Page::Unavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn redirect(location: Vec<u8>, set_cookie: Option<HeaderValue>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.reserve(8);
    let location = HeaderValue::from_maybe_shared(Bytes::from(location));
    headers.insert(header::LOCATION, location.expect("destinations and queries are printable ASCII"));
    mark(headers);
    if let Some(set_cookie) = set_cookie {
        headers.insert(header::SET_COOKIE, set_cookie);
    }
    response
}

/// What every answer says: this is for one visitor, now, and no page of its own.
fn mark(headers: &mut HeaderMap) {
    const X_ROBOTS_TAG: header::HeaderName = header::HeaderName::from_static("x-robots-tag");
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(X_ROBOTS_TAG, HeaderValue::from_static("noindex"));
}

/// The slug that a path names: its only segment. None if it has none or several.
fn slug_of(path: &str) -> Option<Cow<'_, str>> {
    let segment = path.strip_prefix('/')?;
    let segment = segment.strip_suffix('/').unwrap_or(segment);
    if segment.is_empty() || segment.contains('/') {
        return None;
    }
    // What is no UTF-8 becomes a slug that no link has.
    Some(percent_decode_str(segment).decode_utf8_lossy())
}

fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Cow<'a, str> {
    let value = headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
    // Nearly all are ASCII, and this looks at them in larger steps than the lossy way.
    str::from_utf8(value).map_or_else(|_| String::from_utf8_lossy(value), Cow::Borrowed)
}

/// What the redirect counts.
#[derive(Debug, Clone, Default)]
pub struct RedirectMetrics {
    redirects: Family<Vec<(&'static str, &'static str)>, Counter>,
}

impl RedirectMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("utmost_redirects", "Answers to short URLs, by status", self.redirects.clone());
    }
}

/// The counters by status, looked up once.
struct Counted {
    redirected: Counter,
    not_found: Counter,
    gone: Counter,
    method_not_allowed: Counter,
    unavailable: Counter,
}

impl Counted {
    fn new(metrics: &RedirectMetrics) -> Self {
        let status = |status| metrics.redirects.get_or_create(&vec![("status", status)]).clone();
        Self {
            redirected: status("302"),
            not_found: status("404"),
            gone: status("410"),
            method_not_allowed: status("405"),
            unavailable: status("503"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_single_segments() {
        let check =
            |path: &str, expected: Option<&str>| assert_eq!(slug_of(path).as_deref(), expected, "{path}");
        check("/", None);
        check("/a", Some("a"));
        check("/a/", Some("a"));
        check("/a/b", None);
        check("//a", None);
        check("*", None);
        check("/%D0%BB%D0%B5%D1%82%D0%BE", Some("лето"));
        check("/a%2Fb", Some("a/b"));
        check("/%FF", Some("\u{FFFD}"));
    }

    #[test]
    fn the_host_is_where_it_stands() {
        let headers: HeaderMap = [(header::HOST, HeaderValue::from_static("go.test"))].into_iter().collect();
        assert_eq!(host(&Uri::from_static("/a"), &headers), "go.test");
        assert_eq!(host(&Uri::from_static("http://other.test:81/a"), &headers), "other.test:81");
        assert_eq!(host(&Uri::from_static("/a"), &HeaderMap::new()), "");
    }
}
