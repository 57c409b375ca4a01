//! The four formats in which YOURLS answers.

use std::fmt::Write as _;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    Xml,
    Json,
    /// With the name of the function to call.
    Jsonp(String),
    /// One text: the short URL, or what else was asked for.
    Simple,
}

impl Format {
    /// XML is YOURLS' own default; an unknown format is as `simple`.
    pub fn from_fields(format: Option<&str>, callback: Option<String>) -> Self {
        match format {
            None | Some("xml") => Self::Xml,
            Some("json") => Self::Json,
            Some("jsonp") => Self::Jsonp(callback.filter(|name| is_function(name)).unwrap_or_default()),
            Some(_) => Self::Simple,
        }
    }

    /// `simple` is what the format of that name says.
    pub fn write(&self, status: StatusCode, answer: &Value, simple: &str) -> Response {
        let (content_type, body) = match self {
            Self::Json => ("application/json", answer.to_string()),
            Self::Jsonp(callback) => ("application/javascript", format!("{callback}({answer})")),
            Self::Xml => ("application/xml", xml(answer)),
            Self::Simple => ("text/plain; charset=utf-8", simple.to_owned()),
        };
        (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
    }
}

/// A name that cannot smuggle a script into the page that asked for it.
fn is_function(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_$.[]".contains(c);
    !name.is_empty() && name.len() <= 100 && name.chars().all(is_part)
}

fn xml(answer: &Value) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    write_element(&mut text, "result", answer);
    text
}

fn write_element(text: &mut String, name: &str, value: &Value) {
    let _ = write!(text, "<{name}>");
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| write_element(text, name, value)),
        Value::Null => {}
        Value::String(plain) => write_escaped(text, plain),
        other => write_escaped(text, &other.to_string()),
    }
    let _ = write!(text, "</{name}>");
}

fn write_escaped(text: &mut String, plain: &str) {
    for c in plain.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            // XML 1.0 has no place for other control characters.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => {}
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_chosen() {
        let check = |format: Option<&str>, callback: &str, expected: Format| {
            assert_eq!(Format::from_fields(format, Some(callback.to_owned())), expected);
        };
        check(None, "", Format::Xml);
        check(Some("json"), "", Format::Json);
        check(Some("jsonp"), "app.on[0]", Format::Jsonp("app.on[0]".into()));
        check(Some("jsonp"), "alert(1);x", Format::Jsonp(String::new()));
        check(Some("yaml"), "", Format::Simple);
    }

    #[test]
    fn xml_is_escaped() {
        let answer = json!({"a": {"b": "1 < 2 & \u{1}3", "c": null}, "n": 7});
        let expected = "<result><a><b>1 &lt; 2 &amp; 3</b><c></c></a><n>7</n></result>";
        assert_eq!(xml(&answer).lines().last(), Some(expected));
    }
}
