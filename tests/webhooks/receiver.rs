//! Somebody whom utmost tells things: a real HTTP server that verifies signatures, and can fail, dawdle and die.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use utmost::domain::time::now_ms;
use utmost::intake::{Platform, Secret, Verdict, verify};

#[derive(Debug, Clone)]
pub struct Received {
    pub id: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub answered: u16,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn event(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// By the code that verifies others' Standard Webhooks.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let secrets = [Secret::new(secret)];
        verify(Platform::Standard, &self.headers, &self.body, &secrets, now_ms()) == Verdict::Verified
    }
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    /// Statuses of the next answers; then 204.
    answers: Mutex<Vec<u16>>,
    delay: Mutex<Duration>,
    at_once: AtomicUsize,
    at_once_max: AtomicUsize,
}

pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<tokio::task::JoinHandle<()>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = Some(tokio::spawn(accept(listener, Arc::clone(&shared))));
        Self { address, shared, accepting }
    }

    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook", self.address.port())
    }

    /// The statuses of the next answers.
    pub fn answer(&self, statuses: &[u16]) {
        *self.shared.answers.lock().unwrap() = statuses.iter().rev().copied().collect();
    }

    /// How long it thinks before every answer.
    pub fn delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How many requests it had at once at most.
    pub fn at_once_max(&self) -> usize {
        self.shared.at_once_max.load(Ordering::SeqCst)
    }

    /// Connections are refused from now on, and those that are open end.
    pub async fn die(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
    }

    pub async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accepting = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Counts a request for as long as it lasts, also if its client goes away.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let now = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    let _counted = Counted(Arc::clone(&shared));
    shared.at_once_max.fetch_max(now, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let status = shared.answers.lock().unwrap().pop().unwrap_or(204);
    let id = parts.headers["webhook-id"].to_str().unwrap().to_owned();
    let path = parts.uri.path().to_owned();
    let received = Received { id, path, headers: parts.headers, body, answered: status };
    shared.received.lock().unwrap().push(received);
    let delay = *shared.delay.lock().unwrap();
    tokio::time::sleep(delay).await;
    let response = Response::builder().status(status).header("location", "/elsewhere");
    Ok(response.body(Full::default()).unwrap())
}
