//! The HTTP client that webhooks go out by, and that fetches orders. It looks at the address that it really connects to, so that no
//! name can point elsewhere between a check and the call, and it follows no redirects.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use tower::Service;
use url::{Host, Url};

use super::address::may_be_called;

/// Of an answer's body, which nobody reads, this much is taken in so that the connection can be used again.
const ANSWER_MAX_BYTES: usize = 16 << 10;
const IDLE: Duration = Duration::from_secs(30);
const IDLE_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0} is no public address; webhooks.allow_networks in the configuration can allow it")]
    Forbidden(IpAddr),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("not a URL that can be called")]
    Url,
    #[error("the answer was cut off, or has more than {0} bytes")]
    TooLarge(usize),
    /// Of connecting, of TLS or of HTTP.
    #[error("{0}")]
    Http(String),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct GuardedClient {
    http: HyperClient<HttpsConnector<HttpConnector<GuardedResolver>>, Full<Bytes>>,
    allowed: Arc<[IpNet]>,
    timeout: Duration,
}

impl GuardedClient {
    /// `timeout` is for a whole call.
    pub fn new(allowed: &[IpNet], timeout: Duration) -> Self {
        let allowed: Arc<[IpNet]> = allowed.into();
        let mut http = HttpConnector::new_with_resolver(GuardedResolver { allowed: Arc::clone(&allowed) });
        http.enforce_http(false);
        http.set_connect_timeout(Some(timeout));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(https);
        Self { http, allowed, timeout }
    }

    /// Posts a body; the status of the answer and how long it asks to be left alone.
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Option<Duration>), CallError> {
        let (parts, _) = self.call(Method::POST, url, headers, body, ANSWER_MAX_BYTES).await?;
        Ok((parts.status, retry_after(&parts.headers)))
    }

    /// Gets what is there: status, headers and body. An answer of more than `max_bytes` is an error.
    pub async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
        max_bytes: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), CallError> {
        let (parts, body) = self.call(Method::GET, url, headers, Bytes::new(), max_bytes).await?;
        Ok((parts.status, parts.headers, body.ok_or(CallError::TooLarge(max_bytes))?))
    }

    /// The answer's body is None where it is longer than `max_bytes` or ends too early.
    async fn call(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        max_bytes: usize,
    ) -> Result<(Parts, Option<Bytes>), CallError> {
        // An address in the URL itself goes past the resolver.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(CallError::Url),
        };
        if let Some(address) = literal.filter(|address| !may_be_called(*address, &self.allowed)) {
            return Err(CallError::Forbidden(address));
        }
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .body(Full::new(body))
            .map_err(|_| CallError::Url)?;
        *request.headers_mut() = headers;
        let call = async {
            let response = self.http.request(request).await.map_err(|error| told(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, max_bytes).collect().await;
            Ok((parts, body.ok().map(Collected::to_bytes)))
        };
        tokio::time::timeout(self.timeout, call).await.unwrap_or(Err(CallError::Timeout(self.timeout)))
    }
}

/// How long an answer asks to be left alone.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The causes in one line: what hyper itself says is only that it failed.
fn told(error: &(dyn std::error::Error + 'static)) -> CallError {
    let mut causes = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Forbidden(address)) =
            error.downcast_ref::<io::Error>().and_then(|io| io.get_ref()?.downcast_ref())
        {
            return CallError::Forbidden(*address);
        }
        let text = error.to_string();
        if !causes.contains(&text) {
            causes.push(text);
        }
        cause = error.source();
    }
    CallError::Http(causes.join(": "))
}

#[derive(Debug, thiserror::Error)]
#[error("{0} is no public address")]
struct Forbidden(IpAddr);

/// Resolves names as the system does, and gives out only addresses that may be called: these very ones are
/// connected to.
#[derive(Clone)]
struct GuardedResolver {
    allowed: Arc<[IpNet]>,
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().map(SocketAddr::ip);
            let good: Vec<SocketAddr> =
                found.into_iter().filter(|address| may_be_called(address.ip(), &allowed)).collect();
            match first {
                Some(first) if good.is_empty() => Err(io::Error::other(Forbidden(first))),
                _ => Ok(good.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post(allowed: &[IpNet], url: &str) -> Result<(StatusCode, Option<Duration>), CallError> {
        let client = GuardedClient::new(allowed, Duration::from_secs(5));
        client.post(&url.parse().unwrap(), HeaderMap::new(), Bytes::from_static(b"{}")).await
    }

    #[tokio::test]
    async fn names_and_numbers_of_this_machine_are_refused_before_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
        ] {
            let error = post(&[], &format!("http://{host}:{port}/")).await.unwrap_err();
            assert!(matches!(error, CallError::Forbidden(_)), "{host}: {error}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "somebody connected");
    }

    #[tokio::test]
    async fn an_allowed_network_is_called_and_tls_is_spoken() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let allowed = ["127.0.0.0/8".parse().unwrap()];
        let call = tokio::spawn(async move { post(&allowed, &format!("https://localhost:{port}/")).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
        // A TLS handshake record with a ClientHello.
        assert_eq!((first[0], first[1], first[5]), (0x16, 3, 1));
        drop(stream);
        assert!(matches!(call.await.unwrap().unwrap_err(), CallError::Http(_)));
    }
}
