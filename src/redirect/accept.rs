//! Takes connections in, HTTP/1.1 and HTTP/2 without TLS, and hands each request to the redirect or, for
//! all other paths, to the router.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::Service as _;

use super::Redirect;
use super::slow::Impatient;

#[derive(Debug, Clone)]
pub struct AcceptConfig {
    /// More wait in the kernel's queue.
    pub max_connections: usize,
    /// For the head of a request; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// Of the head of a request.
    pub max_header_bytes: usize,
    /// For the router to begin its answer.
    pub request_timeout: Duration,
    /// For the client to take some of its answer.
    pub write_timeout: Duration,
    /// Requests at once on one connection of HTTP/2.
    pub http2_streams: u32,
    /// How long a graceful stop may take before what is left is cut.
    pub shutdown: Duration,
}

/// After a stop, clients that are busy get this long to learn of it from an answer, so that no
/// connection is closed under a request.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Streams that a client may reset before they were looked at; then its connection ends.
const HTTP2_RESETS: usize = 20;

/// Serves until `stop`, then drains. `redirect` is None in a process that does not redirect.
pub async fn serve(
    listener: TcpListener,
    redirect: Option<Arc<Redirect>>,
    router: Router,
    config: AcceptConfig,
    metrics: AcceptMetrics,
    stop: impl Future<Output = ()>,
) {
    let limit = Arc::new(Semaphore::new(config.max_connections));
    let max_connections = config.max_connections;
    let shutdown = config.shutdown;
    let (phase, watched) = watch::channel(Phase::Serving);
    let server = Arc::new(Server { redirect, router, config, metrics });
    let spawn = |(stream, peer): (TcpStream, SocketAddr), permit| {
        let connection = Connection { server: Arc::clone(&server), phase: watched.clone(), peer: peer.ip() };
        tokio::spawn(Arc::new(connection).run(stream, permit));
    };

    let mut stop = pin!(stop);
    loop {
        let next = async {
            if limit.available_permits() == 0 {
                server.metrics.limited.inc();
            }
            let permit = Arc::clone(&limit).acquire_owned().await.expect("never closed");
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = &mut stop => break,
            (accepted, permit) = next => match accepted {
                Ok(accepted) => spawn(accepted, permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }

    // Those that are connected already are not turned away.
    while let Ok(permit) = Arc::clone(&limit).try_acquire_owned()
        && let Some(Ok(accepted)) = now_or_never(listener.accept()).await
    {
        spawn(accepted, permit);
    }
    drop(listener);
    let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
    let drained = async {
        phase.send_replace(Phase::LastAnswers);
        let _ = tokio::time::timeout(LAST_ANSWERS, limit.acquire_many(all)).await;
        phase.send_replace(Phase::Closing);
        let _ = limit.acquire_many(all).await;
    };
    if tokio::time::timeout(shutdown, drained).await.is_err() {
        let left = max_connections - limit.available_permits();
        tracing::warn!(connections = left, "connections are cut, since they did not end in time");
    }
    phase.send_replace(Phase::Cut);
}

/// How far a stop has come; connections watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Answers tell the client that the connection ends with them.
    LastAnswers,
    /// Connections end as soon as they are not answering.
    Closing,
    Cut,
}

struct Server {
    redirect: Option<Arc<Redirect>>,
    router: Router,
    config: AcceptConfig,
    metrics: AcceptMetrics,
}

struct Connection {
    server: Arc<Server>,
    phase: watch::Receiver<Phase>,
    peer: IpAddr,
}

type Body = Either<Full<Bytes>, axum::body::Body>;

impl Connection {
    async fn run(self: Arc<Self>, stream: TcpStream, _permit: OwnedSemaphorePermit) {
        let metrics = self.server.metrics.clone();
        metrics.connections.inc();
        // A connection that fails is the client's affair.
        if let Err(error) = self.speak(stream).await {
            tracing::debug!(%error, "a connection ended with an error");
            metrics.ended(&*error);
        }
        metrics.connections.dec();
    }

    async fn speak(
        self: Arc<Self>,
        stream: TcpStream,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let config = &self.server.config;
        let mut phase = self.phase.clone();
        let is_http2 = tokio::select! {
            is_http2 = tokio::time::timeout(config.header_timeout, begins_http2(&stream)) => match is_http2 {
                Ok(is_http2) => is_http2?,
                Err(_) => {
                    self.server.metrics.timed_out.inc();
                    return Ok(());
                }
            },
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return Ok(()),
        };
        let io = TokioIo::new(Impatient::new(stream, config.write_timeout));
        let this = Arc::clone(&self);
        let service = service_fn(move |request| Arc::clone(&this).answer(request));
        if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
                .max_concurrent_streams(config.http2_streams)
                .max_pending_accept_reset_streams(HTTP2_RESETS)
                .keep_alive_interval(config.header_timeout)
                .keep_alive_timeout(config.header_timeout)
                .serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                ended = &mut connection => return Ok(ended?),
                _ = phase.wait_for(|phase| *phase >= Phase::LastAnswers) => {}
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut connection => Ok(ended?),
                _ = phase.wait_for(|phase| *phase >= Phase::Cut) => Ok(()),
            }
        } else {
            let connection = http1::Builder::new()
                // Answers are small: one buffer and a plain write cost less than a list of buffers.
                .writev(false)
                .timer(TokioTimer::new())
                .header_read_timeout(config.header_timeout)
                .max_buf_size(config.max_header_bytes.max(8 * 1024))
                .serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                ended = &mut connection => return Ok(ended?),
                _ = phase.wait_for(|phase| *phase >= Phase::Closing) => {}
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut connection => Ok(ended?),
                _ = phase.wait_for(|phase| *phase >= Phase::Cut) => Ok(()),
            }
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
        let server = &*self.server;
        let version = request.version();
        let redirected = match &server.redirect {
            Some(redirect) => {
                redirect.handle(self.peer, request.method(), request.uri(), request.headers()).await
            }
            None => None,
        };
        let mut response = match redirected {
            Some(response) => response.map(Either::Left),
            None => self.route(request).await,
        };
        if version <= Version::HTTP_11 && *self.phase.borrow() >= Phase::LastAnswers {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let server = &*self.server;
        let mut router = server.router.clone();
        let answered = router.call(request.map(axum::body::Body::new));
        match tokio::time::timeout(server.config.request_timeout, answered).await {
            Ok(Ok(response)) => response.map(Either::Right),
            Ok(Err(never)) => match never {},
            Err(_) => {
                server.metrics.timed_out.inc();
                let mut response = Response::new(Either::Left(Full::default()));
                *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
                response
            }
        }
    }
}

/// Whether a connection begins as HTTP/2 does, "PRI": no method of HTTP/1 begins with "PR" but `PROPFIND`
/// and `PROPPATCH`, which nothing here serves.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; 3];
    let len = stream.peek(&mut start).await?;
    Ok(start[..len] == *b"PRI" || start[..len] == *b"PR")
}

async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// What taking connections counts.
#[derive(Debug, Clone, Default)]
pub struct AcceptMetrics {
    connections: Gauge,
    limited: Counter,
    timed_out: Counter,
    too_large: Counter,
    slow: Counter,
    http2_refused: Counter,
}

impl AcceptMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("utmost_connections", "Open connections", self.connections.clone());
        registry.register(
            "utmost_connections_limited",
            "Times that server.max_connections was reached",
            self.limited.clone(),
        );
        registry.register(
            "utmost_requests_timed_out",
            "Requests whose head or answer took too long",
            self.timed_out.clone(),
        );
        registry.register(
            "utmost_requests_too_large",
            "Requests whose head was larger than server.max_header_bytes",
            self.too_large.clone(),
        );
        registry.register(
            "utmost_connections_slow",
            "Connections whose client took nothing of its answer for server.write_timeout_ms",
            self.slow.clone(),
        );
        registry.register(
            "utmost_http2_refused",
            "Connections of HTTP/2 that were ended for what the client did, such as floods of resets",
            self.http2_refused.clone(),
        );
    }

    /// Which bound ended a connection, if one did.
    fn ended(&self, error: &(dyn std::error::Error + 'static)) {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                self.timed_out.inc();
            } else if error.is_parse_too_large() {
                self.too_large.inc();
            }
        }
        let causes = || std::iter::successors(Some(error), |error| error.source());
        let is_slow = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        if causes().filter_map(|cause| cause.downcast_ref()).any(is_slow) {
            self.slow.inc();
        }
        let is_refused = |error: &h2::Error| error.is_go_away() && error.is_library();
        if causes().filter_map(|cause| cause.downcast_ref()).any(is_refused) {
            self.http2_refused.inc();
        }
    }
}
