//! The dashboard at `/app`: pages rendered on the server, one style sheet and one small script of our own,
//! nothing from elsewhere. Reading only, but for freezing a report; all figures come from `reports`.

mod chart;
mod compare;
mod conversion;
mod conversions;
mod customers;
mod layout;
mod overview;
mod parts;
mod post;
mod session;
mod sheet;
mod snapshots;
mod table;
mod view;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::Markup;

use crate::api::{Api, Kind, Problem};
use crate::reports::ReportError;

/// Everything a page may load comes from here; nothing inline, nothing framed.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/app", get(overview::page))
        .route("/app/report.csv", get(overview::csv))
        .route("/app/posts/{id}", get(post::page))
        .route("/app/compare", get(compare::page))
        .route("/app/customers", get(customers::page))
        .route("/app/snapshots", get(snapshots::list).post(snapshots::create))
        .route("/app/snapshots/{id}", get(snapshots::page))
        .route("/app/conversions", get(conversions::page))
        .route("/app/conversions/{id}", get(conversion::page))
        .route("/app/sign-in", get(session::form).post(session::sign_in))
        .route("/app/sign-out", axum::routing::post(session::sign_out))
        .route("/app/{*rest}", get(|| async { PageError::NotFound("There is no such page.") }))
        .layer(from_fn(private))
        .route("/app/style.css", get(|| asset("text/css; charset=utf-8", layout::STYLE)))
        .route("/app/app.js", get(|| asset("text/javascript; charset=utf-8", layout::SCRIPT)))
        .with_state(api)
}

/// Pages hold figures of one customer: no cache keeps them, no other site sees where we are.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, text).into_response()
}

/// What a page answers when it cannot be shown.
pub enum PageError {
    /// Nobody is signed in, or no longer.
    SignIn,
    NotFound(&'static str),
    /// The request makes no sense; the text says why.
    Invalid(String),
    Problem(Problem),
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, text) = match self {
            Self::SignIn => return Redirect::to("/app/sign-in").into_response(),
            Self::NotFound(text) => (StatusCode::NOT_FOUND, "Not found", text.to_owned()),
            Self::Invalid(text) => (StatusCode::UNPROCESSABLE_ENTITY, "This cannot be shown", text),
            Self::Problem(problem) => {
                problem.log();
                let body = problem.body();
                let status = StatusCode::from_u16(body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, "Something went wrong", body.detail)
            }
        };
        (status, layout::message(title, &text)).into_response()
    }
}

impl From<Problem> for PageError {
    fn from(problem: Problem) -> Self {
        match problem.kind() {
            Kind::Unauthorized => Self::SignIn,
            _ => Self::Problem(problem),
        }
    }
}

impl From<ReportError> for PageError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Invalid { .. } => Self::Invalid(error.to_string()),
            error => Self::Problem(error.into()),
        }
    }
}

impl From<crate::ledger::LedgerError> for PageError {
    fn from(error: crate::ledger::LedgerError) -> Self {
        Self::Problem(error.into())
    }
}

type Page = Result<Markup, PageError>;
