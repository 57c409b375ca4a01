//! Who asks: the visitor's cookie, the wish not to be known, the address behind proxies.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::log::record::Request;

/// Characters of a cookie's value: 16 random bytes as base64url.
const COOKIE_LEN: usize = 22;
const NAME: &[u8] = b"um_v=";
/// 400 days, as long as journeys live. It is not renewed: what was set once ends then.
const ATTRIBUTES: &[u8] = b"; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax";

/// The value of `um_v`. Visitors are derived from it, by workspace; it is never recorded itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie([u8; COOKIE_LEN]);

impl Cookie {
    pub fn generate() -> Self {
        let mut text = [0; COOKIE_LEN];
        let written = URL_SAFE_NO_PAD.encode_slice(rand::random::<[u8; 16]>(), &mut text);
        debug_assert_eq!(written, Ok(COOKIE_LEN));
        Self(text)
    }

    /// The cookie that a browser sends, if it is one of ours.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get_all(header::COOKIE).iter().find_map(|line| {
            line.as_bytes().split(|b| *b == b';').find_map(|pair| Self::parse(pair.trim_ascii_start()))
        })
    }

    fn parse(pair: &[u8]) -> Option<Self> {
        let value = pair.strip_prefix(NAME)?.trim_ascii_end();
        let value: [u8; COOKIE_LEN] = value.try_into().ok()?;
        let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
        value.iter().all(is_base64).then_some(Self(value))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The `Set-Cookie` header.
    pub fn to_header(self, is_https: bool) -> HeaderValue {
        // Not by format!, which takes longer than all that is formatted here.
        let parts = [NAME, &self.0, ATTRIBUTES, if is_https { b"; Secure" } else { b"" }];
        HeaderValue::from_maybe_shared(bytes::Bytes::from(parts.concat())).expect("plain ASCII")
    }
}

/// Whether the browser asks that its user not be known: Global Privacy Control or Do Not Track.
pub fn is_opted_out(headers: &HeaderMap) -> bool {
    const SEC_GPC: HeaderName = HeaderName::from_static("sec-gpc");
    [SEC_GPC, header::DNT].iter().any(|name| headers.get(name).is_some_and(|value| value == "1"))
}

/// How a link is asked for. Prefetching browsers say so in `Sec-Purpose`, older ones in `Purpose`.
pub fn request(method: &http::Method, headers: &HeaderMap) -> Request {
    const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
    const PURPOSE: HeaderName = HeaderName::from_static("purpose");
    let says_prefetch =
        |name: HeaderName| headers.get(name).is_some_and(|value| value.as_bytes().starts_with(b"prefetch"));
    if method == http::Method::HEAD {
        Request::Head
    } else if says_prefetch(SEC_PURPOSE) || says_prefetch(PURPOSE) {
        Request::Prefetch
    } else {
        Request::Get
    }
}

/// The proxies whose word is taken for where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self(trusted)
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// The client's address: the last one in `X-Forwarded-For` that is no trusted proxy, if a trusted proxy
    /// says so.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
        let mut client = peer;
        if !self.trusts(peer) {
            return client;
        }
        // Proxies append, so the list is walked from its end; whoever is not trusted may have made up
        // the rest.
        for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            for entry in line.to_str().unwrap_or_default().rsplit(',') {
                let Some(address) = parse_address(entry.trim()) else { return client };
                client = address;
                if !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }

    /// Whether a trusted proxy says that the client speaks https.
    pub fn says_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
        self.trusts(peer) && headers.get(X_FORWARDED_PROTO).is_some_and(|value| value == "https")
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    bare.parse().or_else(|_| text.parse::<std::net::SocketAddr>().map(|socket| socket.ip())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn cookies_are_found_among_others() {
        let ours = "AAAAAAAAAAAAAAAAAAAAA_";
        let check = |lines: &[&str], is_found: bool| {
            let headers = lines.iter().map(|l| (header::COOKIE, l.parse().unwrap())).collect();
            let expected = is_found.then(|| Cookie(ours.as_bytes().try_into().unwrap()));
            assert_eq!(Cookie::of(&headers), expected, "{lines:?}");
        };
        check(&[], false);
        check(&["um_v=AAAAAAAAAAAAAAAAAAAAA_"], true);
        check(&["a=b; um_v=AAAAAAAAAAAAAAAAAAAAA_ ; c=d"], true);
        check(&["a=b", "um_v=AAAAAAAAAAAAAAAAAAAAA_"], true);
        check(&["xum_v=AAAAAAAAAAAAAAAAAAAAA_"], false);
        check(&["um_v=short"], false);
        check(&["um_v=AAAAAAAAAAAAAAAAAAAAA="], false);
    }

    #[test]
    fn a_new_cookie_comes_back() {
        let cookie = Cookie::generate();
        let set = cookie.to_header(true);
        let set = set.to_str().unwrap();
        assert!(set.ends_with("; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax; Secure"), "{set}");
        let sent = headers(&[("cookie", set.split(';').next().unwrap())]);
        assert_eq!(Cookie::of(&sent), Some(cookie));
        assert!(!cookie.to_header(false).to_str().unwrap().contains("Secure"));
    }

    #[test]
    fn wishes_and_prefetches_are_read() {
        let check = |name: &'static str, value: &str, is_out: bool, expected: Request| {
            let headers = headers(&[(name, value)]);
            assert_eq!(is_opted_out(&headers), is_out, "{name}: {value}");
            assert_eq!(request(&http::Method::GET, &headers), expected, "{name}: {value}");
        };
        check("sec-gpc", "1", true, Request::Get);
        check("sec-gpc", "0", false, Request::Get);
        check("dnt", "1", true, Request::Get);
        check("sec-purpose", "prefetch;prerender", false, Request::Prefetch);
        check("purpose", "prefetch", false, Request::Prefetch);
        assert_eq!(request(&http::Method::HEAD, &HeaderMap::new()), Request::Head);
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let check = |peer: &str, forwarded: &str, expected: &str| {
            let headers = headers(&[("x-forwarded-for", forwarded)]);
            let client = proxies.client(peer.parse().unwrap(), &headers);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer}: {forwarded}");
        };
        check("203.0.113.1", "198.51.100.1", "203.0.113.1");
        check("10.0.0.1", "198.51.100.1", "198.51.100.1");
        check("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1");
        check("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1");
        check("10.0.0.1", "10.0.0.3", "10.0.0.3");
        check("10.0.0.1", "198.51.100.1:4711", "198.51.100.1");
        check("10.0.0.1", "[2a00::1]:4711", "2a00::1");
        check("2001:db8::1", "2a00::1", "2a00::1");
        check("10.0.0.1", "unknown", "10.0.0.1");
        check("10.0.0.1", "", "10.0.0.1");
        let https = headers(&[("x-forwarded-proto", "https")]);
        assert!(proxies.says_https("10.0.0.1".parse().unwrap(), &https));
        assert!(!proxies.says_https("203.0.113.1".parse().unwrap(), &https));
    }
}
