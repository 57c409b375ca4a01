//! Adds to every operation what holds for many.

use serde_json::{Map, Value, json};

use super::details::{ENUMS, EXAMPLES, LENGTHS, PATTERNS};
use super::report_shapes;

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// Path, method and operation, in the document's order.
pub fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let item = item.as_object().into_iter().flatten();
        let operations = item.filter(|(method, _)| METHODS.contains(&method.as_str()));
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// The document with everything that its parts share.
pub fn complete(mut document: Value) -> Value {
    document["components"]["securitySchemes"] = json!({
        "key": {
            "type": "http", "scheme": "bearer",
            "description": "A key of a workspace or of the platform, `um_...`: POST /api/v1/keys makes one, \
                            scopes say what it may do.",
        },
    });
    document["components"]["parameters"] = json!({
        "Idempotency-Key": {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Your word for this very request. Sent again within 24 hours with the same body it is \
                            answered as before (with the header Idempotency-Replayed), not done again; with \
                            another body it is refused.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        },
        "Utmost-Workspace": {
            "name": "Utmost-Workspace", "in": "header", "required": false,
            "description": "The workspace that a platform key acts for; `default` if absent.",
            "schema": {"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"},
            "example": "default",
        },
    });
    let items = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in items {
        let operations = item.as_object_mut().into_iter().flatten();
        for (method, operation) in operations.filter(|(method, _)| METHODS.contains(&method.as_str())) {
            complete_operation(path, method, operation);
        }
    }
    let schemas = &mut document["components"]["schemas"];
    for (schema, field, values) in ENUMS {
        let shape = property(schemas, schema, field);
        // Beside a null that is allowed, null is one of the values.
        let null = shape["type"].as_array().is_some().then_some(Value::Null);
        shape["enum"] = values.iter().map(|value| json!(value)).chain(null).collect();
    }
    for (schema, field, max) in LENGTHS {
        property(schemas, schema, field)["maxLength"] = json!(max);
    }
    for (schema, field, pattern) in PATTERNS {
        property(schemas, schema, field)["pattern"] = json!(pattern);
    }
    for (name, schema) in report_shapes::schemas() {
        schemas[name] = schema;
    }
    for (schema, example) in EXAMPLES {
        schemas[schema]["examples"] = json!([example_value(example)]);
    }
    document
}

pub fn example_value(text: &str) -> Value {
    serde_json::from_str(text).expect("examples are JSON")
}

/// A field's schema; that of its items where it is a list.
fn property<'a>(schemas: &'a mut Value, schema: &str, field: &str) -> &'a mut Value {
    let properties = schemas.get_mut(schema).and_then(|it| it.get_mut("properties"));
    let shape = properties.and_then(|it| it.get_mut(field));
    let shape = shape.unwrap_or_else(|| panic!("the schema {schema} has no field {field}"));
    if shape.get("items").is_some() { &mut shape["items"] } else { shape }
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    let words = path.strip_prefix("/api/v1/").unwrap_or(path).split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    operation["operationId"] = json!(format!("{method}_{}", words.join("_")));

    let is_native = path.starts_with("/api/v1/");
    let needs_key = is_native && path != "/api/v1/events";
    operation["security"] = if needs_key { json!([{"key": []}]) } else { json!([]) };
    if needs_key {
        let mut headers = vec![json!({"$ref": "#/components/parameters/Utmost-Workspace"})];
        if method == "post" {
            headers.push(json!({"$ref": "#/components/parameters/Idempotency-Key"}));
        }
        match operation["parameters"].as_array_mut() {
            Some(parameters) => parameters.append(&mut headers),
            None => operation["parameters"] = headers.into(),
        }
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        complete_parameter(parameter);
    }
    let has_body = operation.get("requestBody").is_some();
    if has_body {
        operation["requestBody"]["required"] = json!(true);
    }
    let is_csv_too = path.starts_with("/api/v1/reports/") && method == "get" && has_format(operation);
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    responses.remove("default");
    if is_csv_too {
        responses["200"]["content"] = json!({
            "application/json": {"schema": report_shapes::of(path)},
            "text/csv": {"schema": {"type": "string"}},
        });
    }
    for response in responses.values_mut() {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = json!("Done");
        }
    }
    for status in problems(path, method, has_body, needs_key) {
        responses.entry(status.to_string()).or_insert_with(|| problem(status));
    }
    let replayed = json!({
        "description": "true: answered before, and not done again",
        "schema": {"type": "string", "enum": ["true"]},
    });
    if needs_key && method == "post" {
        for (_, response) in responses.iter_mut().filter(|(status, _)| status.starts_with('2')) {
            response["headers"] = json!({"Idempotency-Replayed": replayed});
        }
    }
}

fn has_format(operation: &Value) -> bool {
    let parameters = operation["parameters"].as_array();
    parameters.into_iter().flatten().any(|parameter| parameter["name"] == "format")
}

fn complete_parameter(parameter: &mut Value) {
    let place = parameter["in"].as_str().unwrap_or_default().to_owned();
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let Some(schema) = parameter.get_mut("schema") else { return };
    match (place.as_str(), name.as_str()) {
        ("query", "limit") => {
            *schema = json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100})
        }
        ("query", "format") => schema["enum"] = json!(["json", "csv"]),
        ("path", _) => schema["minLength"] = json!(1),
        _ => {}
    }
    // In a query there is no null: the parameter is there or not.
    if place == "query"
        && let Some(kinds) = schema["type"].as_array()
    {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kind.unwrap_or_else(|| json!("string"));
    }
}

/// The statuses of problems that an operation may answer with.
fn problems(path: &str, method: &str, has_body: bool, needs_key: bool) -> Vec<u16> {
    if !path.starts_with("/api/v1/") && !path.starts_with("/hooks/") {
        return Vec::new();
    }
    let mut statuses = vec![429, 500, 503];
    let reads_body = has_body || method == "post";
    if reads_body {
        statuses.extend([400, 408, 413]);
    }
    if has_body && path.starts_with("/api/v1/") && path != "/api/v1/events" {
        statuses.push(415);
    }
    if needs_key {
        statuses.extend([401, 403, 404, 422]);
    } else if path == "/api/v1/events" {
        statuses.extend([401, 403, 422]);
    } else {
        statuses.extend([401, 404]);
    }
    let may_conflict = method != "get" || path == "/api/v1/conversions/{id}";
    if needs_key && may_conflict {
        statuses.push(409);
    }
    statuses.sort_unstable();
    statuses
}

fn problem(status: u16) -> Value {
    let description = match status {
        400 => "The body cannot be read as what it says it is",
        401 => "The key is missing or not valid, or the signature does not verify",
        403 => "The key has not the scope that this needs",
        404 => "There is no such thing in this workspace",
        408 => "The body did not arrive in time",
        409 => "It does not fit what is there: taken, or under way by the same Idempotency-Key",
        413 => "The body is too large",
        415 => "The content type is not one that this reads",
        422 => "A field is wrong: `field`, `errors` and `detail` say which, and how to mend it",
        429 => "Too many requests under way; Retry-After says when to come again",
        500 => "It failed on our side and was logged",
        _ => "Not possible now; Retry-After says when to send the same again",
    };
    let mut response = json!({
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    if matches!(status, 429 | 503) {
        let schema = json!({"type": "integer", "minimum": 0});
        let header = json!({"description": "Seconds", "schema": schema});
        response["headers"] = Map::from_iter([("Retry-After".to_owned(), header)]).into();
    }
    response
}
