//! The fields of a request as other shorteners' clients send them: in the query, as a form or as JSON, with
//! numbers as texts, nulls, empty texts and names that nobody knows. What is understood is taken; what has
//! a wrong shape is noted.

use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::api::error::{Answer, Kind, Problem};
use crate::api::extract::{BODY_MAX_BYTES, parse_json, read_body};
use crate::domain::flaw::{Flaw, Flaws};

/// Fields by name. Each is taken once; `check` tells all that was wrong with those taken.
#[derive(Debug, Default)]
pub struct Fields {
    values: Map<String, Value>,
    flaws: Flaws,
}

impl<S: Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    /// Fields of the body stand over those of the query.
    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let mut fields = Self::default();
        fields.add_form(request.uri().query().unwrap_or_default().as_bytes());
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
        if content_type.starts_with("multipart/form-data") {
            fields.add_multipart(request).await?;
        } else {
            let is_form = content_type.starts_with("application/x-www-form-urlencoded");
            fields.add_body(is_form, request.into_body()).await?;
        }
        Ok(fields)
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(values: Map<String, Value>) -> Self {
        Self { values, flaws: Flaws::default() }
    }
}

impl Fields {
    /// PHP's curl sends forms so.
    async fn add_multipart(&mut self, request: Request) -> Answer<()> {
        let (parts, body) = request.into_parts();
        let body = Body::from(read_body(body, BODY_MAX_BYTES).await?);
        let broken = |error: MultipartError| Problem::new(Kind::Malformed, error.body_text());
        let request = Request::from_parts(parts, body);
        let mut multipart = Multipart::from_request(request, &())
            .await
            .map_err(|error| Problem::new(Kind::Malformed, error.body_text()))?;
        while let Some(field) = multipart.next_field().await.map_err(broken)? {
            let name = field.name().unwrap_or_default().to_owned();
            self.values.insert(name, field.text().await.map_err(broken)?.into());
        }
        Ok(())
    }

    async fn add_body(&mut self, is_form: bool, body: Body) -> Answer<()> {
        let bytes = read_body(body, BODY_MAX_BYTES).await?;
        if is_form {
            self.add_form(&bytes);
        } else if !bytes.trim_ascii().is_empty() {
            let Value::Object(values) = parse_json(&bytes)? else {
                return Err(Problem::new(Kind::Malformed, "the body must be a JSON object"));
            };
            self.values.extend(values);
        }
        Ok(())
    }

    /// A name that comes again, or that ends in `[]`, makes a list.
    fn add_form(&mut self, form: &[u8]) {
        let mut given: Map<String, Value> = Map::new();
        for (name, value) in url::form_urlencoded::parse(form) {
            let value = Value::from(value.into_owned());
            let (name, is_list) = match name.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (&*name, false),
            };
            match given.get_mut(name) {
                None if is_list => {
                    given.insert(name.to_owned(), Value::Array(vec![value]));
                }
                None => {
                    given.insert(name.to_owned(), value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        self.values.extend(given);
    }

    /// None where absent, `Some(None)` where null or empty.
    pub fn nullable_text(&mut self, name: &str) -> Option<Option<String>> {
        Some(match self.values.remove(name)? {
            Value::Null => None,
            Value::String(text) => Some(text).filter(|text| !text.trim().is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Array(_) | Value::Object(_) => {
                self.flaws.add(name, format!("{name} must be a text"));
                None
            }
        })
    }

    /// None where absent, null or empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.nullable_text(name).flatten()
    }

    /// A text that is not taken yet.
    pub fn peek_text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str().filter(|text| !text.trim().is_empty())
    }

    /// None where absent, null or empty.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Some(true),
            "false" | "0" | "off" | "no" => Some(false),
            _ => {
                self.flaws.add(name, format!("{name} must be true or false"));
                None
            }
        }
    }

    /// None where absent, `Some(None)` where null or empty.
    pub fn nullable_number(&mut self, name: &str) -> Option<Option<i64>> {
        let text = self.nullable_text(name)?;
        let number = text.as_deref().map(|text| text.trim().parse::<i64>());
        if matches!(number, Some(Err(_))) {
            self.flaws.add(name, format!("{name} must be a whole number"));
        }
        Some(number.and_then(Result::ok))
    }

    /// None where absent, null or empty.
    pub fn number(&mut self, name: &str) -> Option<i64> {
        self.nullable_number(name).flatten()
    }

    /// A list, or one text with commas. None where absent; null and an empty text are an empty list.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let values = match self.values.remove(name)? {
            Value::Array(values) => values,
            Value::Null => Vec::new(),
            Value::String(text) => text.split(',').map(Value::from).collect(),
            other => vec![other],
        };
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            match value {
                Value::String(text) => texts.extend(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
                Value::Number(number) => texts.push(number.to_string()),
                _ => self.flaws.add(name, format!("{name} must be a list of texts")),
            }
        }
        Some(texts)
    }

    /// Milliseconds since 1970 of RFC 3339, of a date and time without a zone (then UTC) or of a date alone.
    pub fn nullable_time(&mut self, name: &str) -> Option<Option<i64>> {
        let text = self.nullable_text(name)?;
        let time = text.as_deref().map(|text| parse_time(text.trim()));
        if time == Some(None) {
            self.flaws.add(name, format!("{name} must be a time such as 2026-11-23T18:00:00Z"));
        }
        Some(time.flatten())
    }

    /// The value as it came; None where absent or null.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    pub fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        self.flaws.add(name, detail);
    }

    /// Errs with all that was wrong with the fields taken so far.
    pub fn check(&mut self) -> Result<(), Vec<Flaw>> {
        std::mem::take(&mut self.flaws).check()
    }
}

fn parse_time(text: &str) -> Option<i64> {
    // The last moment of the year 9999.
    const MAX_MS: i64 = 253_402_300_799_999;
    let at_ms = match text.parse::<Timestamp>() {
        Ok(at) => at.as_millisecond(),
        Err(_) => {
            let local: DateTime = text.parse().ok()?;
            TimeZone::UTC.to_timestamp(local).ok()?.as_millisecond()
        }
    };
    (0..=MAX_MS).contains(&at_ms).then_some(at_ms)
}
