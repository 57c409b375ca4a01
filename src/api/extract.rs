//! Reading requests: JSON bodies, queries and path segments, each with errors that name the field.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

use super::error::{Answer, Kind, Problem};

/// Largest body of an ordinary request.
pub const BODY_MAX_BYTES: usize = 1 << 20;
/// Largest body of a bulk request: 1,000 links with long destinations.
pub const BULK_MAX_BYTES: usize = 8 << 20;
/// Of a body that is too large, this much is taken in and thrown away.
const DISCARDED_MAX_BYTES: usize = 16 << 20;
/// A body that has not arrived by then is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A JSON body of at most `MAX` bytes.
pub struct Json<T, const MAX: usize = BODY_MAX_BYTES>(pub T);

impl<T: DeserializeOwned, S: Sync, const MAX: usize> FromRequest<S> for Json<T, MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "send JSON with the header content-type: application/json",
            ));
        }
        let bytes = read_body(request.into_body(), MAX).await?;
        parse_json(&bytes).map(Self)
    }
}

pub fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// The whole body, unless it is too large or too slow.
pub async fn read_body(body: Body, max_bytes: usize) -> Answer<Bytes> {
    let too_large = || Problem::new(Kind::TooLarge, format!("send at most {max_bytes} bytes"));
    let mut body = body;
    let read = async {
        match Limited::new(&mut body, max_bytes).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(_) => Err(Problem::new(Kind::Malformed, "the body ended before it was complete")),
        }
    };
    let read = tokio::time::timeout(BODY_DEADLINE, read).await;
    let read = read.unwrap_or_else(|_| Err(Problem::new(Kind::Timeout, "the body did not arrive in time")));
    if read.as_ref().is_err_and(|problem| problem.kind() == Kind::TooLarge) {
        // A client that is still sending sees our answer only if its words are taken in.
        let rest = Limited::new(body, DISCARDED_MAX_BYTES).collect();
        let _ = tokio::time::timeout(BODY_DEADLINE, rest).await;
    }
    read
}

/// Reads JSON; text that is no JSON is malformed (400), JSON of another shape is invalid (422).
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // Rarely there at all, and then looked at closely: `\\u0000` is a backslash and letters.
    if bytes.windows(NUL_ESCAPED.len()).any(|window| window == NUL_ESCAPED)
        && let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(path) = nul_in(&value)
    {
        return Err(nul_problem(path));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.is_data() {
            true => shape_problem(path, &error.to_string()),
            false => Problem::new(Kind::Malformed, format!("the body is not valid JSON: {error}")),
        }
    })?;
    json.end()
        .map_err(|error| Problem::new(Kind::Malformed, format!("the body is not valid JSON: {error}")))?;
    Ok(value)
}

/// How JSON writes the character NUL, which PostgreSQL keeps in no text.
const NUL_ESCAPED: &[u8] = b"\\u0000";

/// The first place whose name or text holds NUL.
fn nul_in(value: &Value) -> Option<String> {
    let below = |name: String, value: &Value| {
        let rest = nul_in(value)?;
        Some(if rest.is_empty() || rest.starts_with('[') { name + &rest } else { format!("{name}.{rest}") })
    };
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| below(format!("[{i}]"), item)),
        Value::Object(object) => object.iter().find_map(|(name, value)| {
            if name.contains('\0') { Some(name.replace('\0', "")) } else { below(name.clone(), value) }
        }),
        _ => None,
    }
}

fn nul_problem(field: String) -> Problem {
    let detail = "the character NUL cannot be kept; leave it out";
    match field.is_empty() {
        true => Problem::new(Kind::Invalid, detail),
        false => Problem::invalid(field.clone(), format!("{field}: {detail}")),
    }
}

/// The pairs of a query string, none of which may hold NUL.
pub fn parse_pairs(query: &str) -> Answer<Vec<(String, String)>> {
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    match pairs.iter().find(|(name, value)| name.contains('\0') || value.contains('\0')) {
        Some((name, _)) => Err(nul_problem(name.replace('\0', ""))),
        None => Ok(pairs),
    }
}

/// The same for a part of a body that was read already.
pub fn parse_value<T: DeserializeOwned>(value: Value) -> Answer<T> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| shape_problem(error.path().to_string(), &error.inner().to_string()))
}

/// A list, one item alone, or an object that holds nothing but a list by `name`.
pub fn parse_list<T: DeserializeOwned>(value: Value, name: &str) -> Answer<Vec<T>> {
    let items = match value {
        Value::Array(items) => items,
        Value::Object(mut object) if object.len() == 1 && object.get(name).is_some_and(Value::is_array) => {
            match object.remove(name) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        item => vec![item],
    };
    items.into_iter().map(parse_value).collect()
}

/// The query string; unknown parameters are refused by types that deny unknown fields.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let query = parts.uri.query().unwrap_or_default();
        parse_pairs(query)?;
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
            .map(Self)
            .map_err(|error| shape_problem(error.path().to_string(), &error.inner().to_string()))
    }
}

/// Parts of the path, percent-decoded.
pub struct Segment<T = String>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segment<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        if parts.uri.path().contains("%00") {
            return Err(Problem::new(Kind::NotFound, "no path holds the character NUL"));
        }
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::new(Kind::NotFound, "the path is not valid UTF-8")),
        }
    }
}

/// For PATCH: None where a field is absent, `Some(None)` where it is null.
pub fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Turns what serde says into the field and the fix.
fn shape_problem(path: String, message: &str) -> Problem {
    let message = message.split(" at line ").next().unwrap_or(message);
    let path = if path == "." { String::new() } else { path };
    let quoted = |prefix: &str| {
        let name = message.strip_prefix(prefix)?.split('`').next()?;
        Some(if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") })
    };
    if let Some(field) = quoted("missing field `") {
        let detail = format!("{field} is missing");
        return Problem::invalid(field, detail);
    }
    if let Some(field) = quoted("unknown field `") {
        let known = message.split_once(", ").map_or("", |(_, known)| known).replace('`', "");
        // A newer serde names the field in the path as well.
        let field = if path.ends_with(field.rsplit('.').next().unwrap_or_default()) { path } else { field };
        return Problem::invalid(field.clone(), format!("{field} is not known here: {known}"));
    }
    let message = match message {
        "invalid digit found in string" => "expected a whole number",
        other => other,
    };
    match path.is_empty() {
        true => Problem::new(Kind::Invalid, format!("the body has the wrong shape: {message}")),
        false => Problem::invalid(path.clone(), format!("{path}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Outer {
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Inner {
        count: u32,
    }

    #[test]
    fn nul_is_refused_wherever_it_stands() {
        let check = |json: &str, field: Option<&str>| {
            let problem = parse_json::<Value>(json.as_bytes()).unwrap_err().body();
            assert_eq!((problem.status, problem.field.as_deref()), (422, field), "{json}");
        };
        check(r#"{"a": {"b": ["x", "y\u0000"]}}"#, Some("a.b[1]"));
        check(r#"{"a": {"b\u0000": 1}}"#, Some("a.b"));
        check(r#"[{"a": "\u0000"}]"#, Some("[0].a"));
        check(r#""\u0000""#, None);
        assert!(parse_json::<Value>(br#"{"a": "\\u0000"}"#).is_ok());
        assert!(parse_pairs("a=b&c=%00").is_err_and(|problem| problem.body().field.as_deref() == Some("c")));
        assert!(parse_pairs("a=b").is_ok());
    }

    #[test]
    fn errors_name_the_field_and_the_fix() {
        let check = |json: &str, status: u16, field: Option<&str>, detail: &str| {
            let body = parse_json::<Outer>(json.as_bytes()).unwrap_err().body();
            assert_eq!((body.status, body.field.as_deref()), (status, field), "{json}");
            assert!(body.detail.contains(detail), "{json}: {}", body.detail);
        };
        check("{", 400, None, "not valid JSON");
        check("{\"name\":\"a\"} x", 400, None, "not valid JSON");
        check("[]", 422, None, "wrong shape");
        check("{}", 422, Some("name"), "name is missing");
        check("{\"name\":5}", 422, Some("name"), "expected a string");
        check("{\"name\":\"a\",\"x\":1}", 422, Some("x"), "expected name or inner");
        check("{\"name\":\"a\",\"inner\":[{\"count\":-1}]}", 422, Some("inner[0].count"), "expected u32");
        check("{\"name\":\"a\",\"inner\":[{}]}", 422, Some("inner[0].count"), "is missing");
        check("{\"name\":\"a\",\"inner\":[{\"n\":1}]}", 422, Some("inner[0].n"), "expected count");
    }
}
