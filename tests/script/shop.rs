//! A shop of a few pages with Shopify's cart, and utmost on another site.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

pub struct Shop {
    pub base: String,
    /// Where the script comes from; another site than the shop.
    pub utmost: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    pages: Mutex<HashMap<String, Page>>,
    attributes: Mutex<Map<String, Value>>,
    cart_updates: Mutex<Vec<(String, Value)>>,
    forms: Mutex<Vec<HashMap<String, String>>>,
    events: Mutex<Vec<Event>>,
}

/// What the script sent to utmost.
#[derive(Debug, Clone)]
pub struct Event {
    pub path: String,
    pub content_type: String,
    pub body: Value,
}

#[derive(Clone)]
struct Page {
    html: String,
    policy: Option<String>,
}

impl Shop {
    /// With a stand-in for utmost, which serves the script and writes down what it sends.
    pub async fn open() -> Self {
        let seen = Arc::new(Seen::default());
        let events = Router::new().fallback(note_event).with_state(Arc::clone(&seen));
        let port = listen(utmost::script::router().merge(events)).await;
        Self::start(seen, format!("http://127.0.0.1:{port}")).await
    }

    /// `utmost`: the address of the real one.
    pub async fn open_with(utmost: &str) -> Self {
        Self::start(Arc::default(), utmost.to_owned()).await
    }

    async fn start(seen: Arc<Seen>, utmost: String) -> Self {
        let port = listen(Router::new().fallback(serve).with_state(Arc::clone(&seen))).await;
        // Cookies know no ports, so two names keep the sites apart.
        Self { base: format!("http://localhost:{port}"), utmost, seen }
    }

    /// A page whose head loads the script by a tag with these attributes, after `before`.
    pub fn page(&self, path: &str, before: &str, attributes: &str, body: &str) {
        let src = format!("{}/js/utmost.js", self.utmost);
        let html = format!(
            "<!doctype html><title>Shop</title>{before}<script src=\"{src}\" {attributes}></script>{body}"
        );
        self.put(path, Page { html, policy: None });
    }

    /// Any page with a Content-Security-Policy.
    pub fn page_with_policy(&self, path: &str, html: String, policy: String) {
        self.put(path, Page { html, policy: Some(policy) });
    }

    fn put(&self, path: &str, page: Page) {
        self.seen.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Path and body of each call of `cart/update.js`.
    pub fn cart_updates(&self) -> Vec<(String, Value)> {
        self.seen.cart_updates.lock().unwrap().clone()
    }

    /// Attributes of the cart as Shopify would copy them to the order.
    pub fn cart_attributes(&self) -> Value {
        Value::Object(self.seen.attributes.lock().unwrap().clone())
    }

    /// As after an order: the next cart is a new one.
    pub fn empty_cart(&self) {
        self.seen.attributes.lock().unwrap().clear();
    }

    /// What the script sent to the stand-in.
    pub fn events(&self) -> Vec<Event> {
        self.seen.events.lock().unwrap().clone()
    }

    /// The forms that were sent.
    pub fn forms(&self) -> Vec<HashMap<String, String>> {
        self.seen.forms.lock().unwrap().clone()
    }
}

async fn listen(router: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A browser may hang up whenever it likes.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

async fn note_event(
    State(seen): State<Arc<Seen>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let content_type = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap());
    let body = serde_json::from_str(&body).unwrap();
    let event = Event { path: uri.path().to_owned(), content_type: content_type.to_owned(), body };
    seen.events.lock().unwrap().push(event);
    (StatusCode::ACCEPTED, [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")])
}

async fn serve(State(seen): State<Arc<Seen>>, method: Method, uri: Uri, body: String) -> Response {
    let path = uri.path();
    if path.ends_with("/cart.js") {
        let attributes = seen.attributes.lock().unwrap().clone();
        return axum::Json(json!({"token": "c1", "attributes": attributes})).into_response();
    }
    if method == Method::POST && path.ends_with("/cart/update.js") {
        let update: Value = serde_json::from_str(&body).unwrap();
        let attributes = update["attributes"].as_object().unwrap().clone();
        seen.attributes.lock().unwrap().extend(attributes);
        seen.cart_updates.lock().unwrap().push((path.to_owned(), update));
        return axum::Json(json!({})).into_response();
    }
    if method == Method::POST {
        let fields = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        seen.forms.lock().unwrap().push(fields);
        return Html("<!doctype html><title>Thank you</title>").into_response();
    }
    let page = seen.pages.lock().unwrap().get(path).cloned();
    match page {
        Some(Page { html, policy: Some(policy) }) => {
            ([(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response()
        }
        Some(Page { html, policy: None }) => Html(html).into_response(),
        // The browser asks for an icon of its own accord.
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
