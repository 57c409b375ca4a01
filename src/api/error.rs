//! The one place where errors become HTTP: RFC 9457 problem details that name the field and the fix.
//!
//! What went wrong inside is logged here, once, with its cause; the caller learns only that it did.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::domain::flaw::Flaw;
use crate::ledger::LedgerError;
use crate::links::copies::CopiesError;
use crate::links::issue::IssueError;

/// What a handler answers.
pub type Answer<T> = Result<T, Problem>;

/// The closed set of what can be wrong. The words are part of the interface (`type` of a problem).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Malformed,
    Unauthorized,
    BadSignature,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Timeout,
    Conflict,
    SlugTaken,
    TooLarge,
    UnsupportedMediaType,
    Invalid,
    IdempotencyKeyReused,
    TooManyRequests,
    Internal,
    Unavailable,
}

impl Kind {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::BadSignature => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict | Self::SlugTaken => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::BadSignature => "bad-signature",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Timeout => "timeout",
            Self::Conflict => "conflict",
            Self::SlugTaken => "slug-taken",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::Invalid => "invalid",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::TooManyRequests => "too-many-requests",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Unauthorized => "A valid key is needed",
            Self::BadSignature => "The signature does not verify",
            Self::Forbidden => "This key may not do that",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "The method does not fit this path",
            Self::Timeout => "The request took too long to arrive",
            Self::Conflict => "This does not fit what is there",
            Self::SlugTaken => "The slug is taken",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "The content type is not supported",
            Self::Invalid => "The request has mistakes",
            Self::IdempotencyKeyReused => "The Idempotency-Key belongs to another request",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "Something went wrong here",
            Self::Unavailable => "Not possible right now",
        }
    }
}

/// PostgreSQL's code for text that holds NUL (character_not_in_repertoire).
const NOT_STORABLE: &str = "22021";

/// An error on its way to the caller.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    flaws: Vec<Flaw>,
    retry_after_s: Option<u32>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// The body of every error answer, `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind of problem: `urn:utmost:slug-taken`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and how to mend it.
    pub detail: String,
    /// The first field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// All fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    pub field: String,
    pub detail: String,
}

/// For the description of the interface: any operation may answer with a problem.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let response = ResponseBuilder::new()
            .description("A problem: its status and detail say what is wrong and how to mend it")
            .content(
                "application/problem+json",
                ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build(),
            )
            .build();
        BTreeMap::from([("default".to_owned(), RefOr::T(response))])
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), flaws: Vec::new(), retry_after_s: None, cause: None }
    }

    /// A problem with one field.
    pub fn field(kind: Kind, field: impl Into<String>, detail: impl Into<String>) -> Self {
        let flaw = Flaw::new(field, detail);
        Self { detail: flaw.detail.clone(), flaws: vec![flaw], ..Self::new(kind, "") }
    }

    /// One field that is wrong: 422.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::field(Kind::Invalid, field, detail)
    }

    /// `what` and its id: "link", "01h...".
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} {id} in this workspace"))
    }

    /// 503: nothing was done, or `detail` says what was; the same request may be sent again.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(Kind::Unavailable, detail) }
    }

    /// 500. The cause is logged, never shown.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let detail = "the request failed on our side; it was logged";
        Self { cause: Some(cause.into()), ..Self::new(Kind::Internal, detail) }
    }

    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    pub fn because(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What the caller sees.
    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:utmost:{}", self.kind.word()),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            field: self.flaws.first().map(|flaw| flaw.field.clone()),
            errors: self
                .flaws
                .iter()
                .map(|flaw| FieldProblem { field: flaw.field.clone(), detail: flaw.detail.clone() })
                .collect(),
        }
    }

    /// Logs the cause, if there is one. Called once, where the problem leaves the program.
    pub fn log(&self) {
        if let Some(cause) = &self.cause {
            let mut chain = cause.to_string();
            let mut next = cause.source();
            while let Some(error) = next {
                chain = format!("{chain}: {error}");
                next = error.source();
            }
            tracing::error!(status = self.kind.status().as_u16(), cause = %chain, "a request failed");
        }
    }
}

impl From<Vec<Flaw>> for Problem {
    fn from(flaws: Vec<Flaw>) -> Self {
        let detail = match flaws.as_slice() {
            [one] => one.detail.clone(),
            many => format!("{} fields are wrong: see errors", many.len()),
        };
        Self { flaws, ..Self::new(Kind::Invalid, detail) }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let away = matches!(
            &error,
            LedgerError::Sql(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_))
        );
        // What gets past the native API's own look: forms of the dialects, and pages.
        if let LedgerError::Sql(sqlx::Error::Database(refused)) = &error
            && refused.code().as_deref() == Some(NOT_STORABLE)
        {
            return Self::new(
                Kind::Invalid,
                "a text holds the character NUL, which cannot be kept; leave it out",
            );
        }
        match away {
            true => Self::unavailable("the ledger does not answer; nothing was changed", 2).because(error),
            false => Self::internal(error),
        }
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        let detail = error.to_string();
        match error {
            IssueError::Invalid(flaws) => flaws.into(),
            IssueError::SlugTaken { .. } => Self::field(Kind::SlugTaken, "slug", detail),
            IssueError::ExternalIdTaken(_) => Self::field(Kind::Conflict, "external_id", detail),
            IssueError::NotFound => Self::new(Kind::NotFound, detail),
            IssueError::IdTaken => Self::unavailable(detail, 1),
            IssueError::NotFed(error) => {
                let detail = "the change is saved, but redirects do not know it yet; with the same \
                              Idempotency-Key the same request may be sent again";
                Self::unavailable(detail, 2).because(error)
            }
            IssueError::Ledger(error) => error.into(),
        }
    }
}

impl From<CopiesError> for Problem {
    fn from(error: CopiesError) -> Self {
        let detail = "the change is saved, but redirects learn of it only when the hot store answers again";
        Self::unavailable(detail, 2).because(error)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        LedgerError::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let body = serde_json::to_string(&self.body()).unwrap_or_default();
        let mut response = (self.kind.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The dialects say it in their own words.
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
