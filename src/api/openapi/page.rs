//! `/api/docs`: the description as a page. Rendered here, without a script, nothing from elsewhere.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};

use super::DOCUMENT;
use super::complete::operations;

const STYLE: &str = include_str!("docs.css");
/// How deep an example shows what it is made of.
const DEPTH_MAX: usize = 5;

/// This description as a page.
#[utoipa::path(get, path = "/api/docs", tag = "health",
    responses((status = 200, description = "HTML", content_type = "text/html", body = String)))]
pub async fn docs() -> Response {
    static PAGE: std::sync::LazyLock<(String, String)> = std::sync::LazyLock::new(|| {
        use base64::Engine as _;
        use sha2::Digest as _;
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        (policy, render(&DOCUMENT).into_string())
    });
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE.0.as_str()),
        (header::CACHE_CONTROL, "public, max-age=300"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    (headers, PAGE.1.as_str()).into_response()
}

fn render(document: &Value) -> Markup {
    let tags = document["tags"].as_array().map_or(&[][..], Vec::as_slice);
    let schemas = document["components"]["schemas"].as_object();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "utmost API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                nav {
                    a class="name" href="#top" { "utmost API" }
                    @for tag in tags { a href={ "#" (text(&tag["name"])) } { (text(&tag["name"])) } }
                    a href="#schemas" { "schemas" }
                    a href="/api/openapi.json" { "openapi.json" }
                }
                main id="top" {
                    h1 { "utmost API " small { (text(&document["info"]["version"])) } }
                    p { (text(&document["info"]["description"])) }
                    p { "Send a key with every request: " code { "Authorization: Bearer um_..." } ". "
                        "A platform key acts for the workspace that the header " code { "Utmost-Workspace" }
                        " names. Every POST with a key takes an " code { "Idempotency-Key" } "; what comes without one (events, \
                          hooks) is told apart by its own ids." }
                    @for tag in tags {
                        section id=(text(&tag["name"])) {
                            h2 { (text(&tag["name"])) }
                            p { (text(&tag["description"])) }
                            @for (path, method, operation) in operations(document) {
                                @if operation["tags"][0] == tag["name"] { (operation_box(document, path, method, operation)) }
                            }
                        }
                    }
                    section id="schemas" {
                        h2 { "schemas" }
                        @for (name, schema) in schemas.into_iter().flatten() {
                            details id={ "schema-" (name) } {
                                summary { code { (name) } " " (text(&schema["description"])) }
                                (fields(schema))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn operation_box(document: &Value, path: &str, method: &str, operation: &Value) -> Markup {
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    let body = operation["requestBody"]["content"].as_object().and_then(|content| content.iter().next());
    html! {
        details id=(text(&operation["operationId"])) {
            summary {
                span class={ "method " (method) } { (method.to_uppercase()) } " "
                code { (path) } " " (text(&operation["summary"]))
            }
            @if let Some(description) = operation["description"].as_str() { p { (description) } }
            @if !parameters.is_empty() {
                h3 { "Parameters" }
                table {
                    @for parameter in parameters.iter().map(|parameter| resolve(document, parameter)) {
                        tr {
                            th { code { (text(&parameter["name"])) } @if parameter["required"] == true { " *" } }
                            td { (text(&parameter["in"])) }
                            td { (kind(&parameter["schema"])) }
                            td { (text(&parameter["description"])) }
                        }
                    }
                }
            }
            @if let Some((media, shape)) = body {
                h3 { "Body" }
                p { code { (media) } ": " (kind(&shape["schema"])) }
            }
            h3 { "Answers" }
            table {
                @for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                    tr {
                        th { (status) }
                        td { (text(&response["description"])) }
                        td {
                            @for (media, shape) in response["content"].as_object().into_iter().flatten() {
                                div { code { (media) } " " (kind(&shape["schema"])) }
                            }
                        }
                    }
                }
            }
            h3 { "Example" }
            pre { (curl(document, path, method, operation)) }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|reference| document.pointer(&reference[1..]));
    target.unwrap_or(value)
}

/// What a schema is, in a few words.
fn kind(schema: &Value) -> Markup {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[alternatives].as_array() {
            let shown = choices.iter().filter(|choice| choice["type"] != "null");
            return html! { @for (i, choice) in shown.enumerate() { @if i > 0 { " or " } (kind(choice)) } };
        }
    }
    if schema.get("items").is_some() {
        return html! { "list of " (kind(&schema["items"])) };
    }
    let name = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find_map(|kind| kind.as_str().filter(|kind| *kind != "null")),
        other => other.as_str(),
    };
    let values: Vec<&str> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    html! {
        (name.unwrap_or("any"))
        @if let Some(format) = schema["format"].as_str() { " (" (format) ")" }
        @if !values.is_empty() { ": " (values.join(", ")) }
        @if let Some(max) = schema["maxLength"].as_u64() { ", at most " (max) " characters" }
    }
}

fn fields(schema: &Value) -> Markup {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    html! {
        table {
            @for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                tr {
                    th { code { (name) } @if required.contains(&name.as_str()) { " *" } }
                    td { (kind(field)) }
                    td { (text(&field["description"])) }
                }
            }
        }
        @if schema.get("properties").is_none() { p { (kind(schema)) } }
    }
}

/// A call of the operation that can be pasted into a shell.
fn curl(document: &Value, path: &str, method: &str, operation: &Value) -> String {
    let mut call = String::from("curl");
    if method != "get" {
        call += &format!(" -X {}", method.to_uppercase());
    }
    call += &format!(" \"$UTMOST{path}\"");
    if operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty()) {
        call += " \\\n  -H \"Authorization: Bearer $UTMOST_KEY\"";
    }
    let content = operation["requestBody"]["content"].as_object();
    if let Some((media, shape)) = content.and_then(|content| content.iter().next()) {
        let body = match media.ends_with("json") {
            true => example(document, &shape["schema"], 0).to_string(),
            false => "...".to_owned(),
        };
        call += &format!(" \\\n  -H \"Content-Type: {media}\" \\\n  -d '{body}'");
    }
    call
}

/// The schema's own example, or what could stand there.
fn example(document: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolve(document, schema);
    if let Some(example) = schema["examples"].get(0) {
        return example.clone();
    }
    if depth == DEPTH_MAX {
        return Value::Null;
    }
    if schema.get("items").is_some() {
        return json!([example(document, &schema["items"], depth + 1)]);
    }
    if let Some(value) = schema["enum"].get(0) {
        return value.clone();
    }
    if let Some(properties) = schema["properties"].as_object() {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let needed = properties.iter().filter(|(name, _)| required.contains(&json!(name)));
        return needed.map(|(name, field)| (name.clone(), example(document, field, depth + 1))).collect();
    }
    match text(&schema["type"]) {
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        "object" => json!({}),
        _ => json!("..."),
    }
}
