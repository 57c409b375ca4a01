//! A small HTTP client, for the demo, `utmost health` and the tests.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

#[derive(Clone)]
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    base: String,
    key: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    /// `base`: such as `http://127.0.0.1:8080`. `key` goes with calls of the API.
    pub fn new(base: String, key: String) -> Self {
        Self { http: HyperClient::builder(TokioExecutor::new()).build_http(), base, key }
    }

    /// Any request; `path` may be a whole URL of the same server.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = Request::builder().method(method).uri(&url).body(Full::new(body.into()))?;
        *request.headers_mut() = headers;
        let response = self.http.request(request).await.with_context(|| url.clone())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.with_context(|| url)?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// The header that goes with calls of the API.
    pub fn authorization(&self) -> anyhow::Result<HeaderValue> {
        Ok(format!("Bearer {}", self.key).parse()?)
    }

    /// A call of the API; anything but success is an error that shows the answer.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", self.authorization()?);
        let body = match body {
            Some(body) => {
                headers.insert("content-type", "application/json".parse()?);
                serde_json::to_vec(&body)?
            }
            None => Vec::new(),
        };
        let answer = self.send(method.clone(), path, headers, body).await?;
        if !answer.status.is_success() {
            bail!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(&answer.body)? })
    }
}
