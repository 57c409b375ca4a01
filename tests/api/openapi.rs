//! The description of the interface against the interface.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json as j};

use crate::server::Server;

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str()));
        methods.map(|method| (path.clone(), method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

/// The paths of `.route("...", ...)` in the native API's source.
fn routes() -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Other shorteners' APIs are described by their makers.
                if !path.ends_with("dialects") {
                    folders.push(path);
                }
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (_, rest) in text.match_indices(".route(").map(|(at, word)| text.split_at(at + word.len())) {
                let route = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                let route = route.unwrap_or_else(|| panic!("{}: write the path out", path.display()));
                let is_whole =
                    ["/api/", "/hooks/", "/healthz", "/readyz"].iter().any(|it| route.starts_with(it));
                routes.insert(if is_whole { route.to_owned() } else { format!("/api/v1{route}") });
            }
        }
    }
    assert!(routes.len() > 30, "{routes:?}");
    routes
}

#[tokio::test]
async fn every_route_is_described_and_no_other() {
    let api = Server::start().await;
    let document = api.get("/api/openapi.json").await.expect(200);
    let described = described(&document);
    let paths: BTreeSet<String> = described.iter().map(|(path, _)| path.clone()).collect();
    let routes = routes();
    assert_eq!(paths.difference(&routes).collect::<Vec<_>>(), Vec::<&String>::new(), "no such routes");
    assert_eq!(routes.difference(&paths).collect::<Vec<_>>(), Vec::<&String>::new(), "not described");

    for path in paths.iter().filter(|path| !path.ends_with("z")) {
        // No route knows TRACE, so the answer lists the methods that it knows.
        let url = path.replace(['{', '}'], "x");
        let answer = api.send("TRACE", &url, &[], "").await;
        let allowed = answer.header("allow").unwrap_or_else(|| panic!("{path}: {}", answer.body));
        let known: BTreeSet<&str> =
            allowed.split(',').filter(|method| !["HEAD", "OPTIONS"].contains(method)).collect();
        let of_path = described.iter().filter(|(it, _)| it == path);
        assert_eq!(of_path.map(|(_, method)| method.as_str()).collect::<BTreeSet<_>>(), known, "{path}");
    }
}

#[tokio::test]
async fn what_holds_for_many_operations_is_said_of_each() {
    let api = Server::start().await;
    let document = api.get("/api/openapi.json").await.expect(200);
    assert_eq!(document["openapi"].as_str().map(|it| &it[..3]), Some("3.1"));
    let create = &document["paths"]["/api/v1/links"]["post"];
    let headers: Vec<&str> =
        create["parameters"].as_array().unwrap().iter().filter_map(|it| it["$ref"].as_str()).collect();
    assert_eq!(
        headers,
        ["#/components/parameters/Utmost-Workspace", "#/components/parameters/Idempotency-Key"]
    );
    assert_eq!(create["security"], j!([{"key": []}]));
    assert_eq!(document["paths"]["/healthz"]["get"].get("parameters"), None);
    for status in ["400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503"] {
        let problem = &create["responses"][status]["content"]["application/problem+json"]["schema"];
        assert_eq!(problem["$ref"], "#/components/schemas/Problem", "{status}");
    }
    assert_eq!(document["paths"]["/api/v1/events"]["post"]["security"], j!([]));
    let platform = &document["components"]["schemas"]["NewSource"]["properties"]["platform"];
    assert!(platform["enum"].as_array().unwrap().contains(&j!("shopify")));
}

/// Sends the example of each body as a reader of the description would.
#[tokio::test]
async fn examples_work() {
    let api = Server::start().await;
    let document = api.get("/api/openapi.json").await.expect(200);
    let example = |schema: &str| document["components"]["schemas"][schema]["examples"][0].clone();
    let link = api.post("/api/v1/links", example("LinkInput")).await.expect(201);
    let bulk = api.post("/api/v1/links/bulk", j!([example("LinkInput")])).await.expect(200);
    assert_eq!(bulk["results"][0]["status"], 201);
    let link = link["id"].as_str().unwrap();
    api.post("/api/v1/links/stats", example("StatsInput")).await.expect(200);
    api.patch(&format!("/api/v1/links/{link}"), example("LinkInput")).await.expect(200);
    let post = api.put("/api/v1/posts/ig-42", example("PostInput")).await.expect(200);
    assert_eq!(post["links"].as_array().unwrap().len(), 2);
    api.put("/api/v1/coupons/SPRING", example("CouponInput")).await.expect(200);
    let source = api.post("/api/v1/sources", example("NewSource")).await.expect(201);
    let source = format!("/api/v1/sources/{}", source["id"].as_str().unwrap());
    api.patch(&source, example("SourceChange")).await.expect(200);
    api.post(&format!("{source}/secrets"), example("NewSecret")).await.expect(201);
    api.put("/api/v1/rates", j!([example("DayRates")])).await.expect(200);
    api.post("/api/v1/conversions", example("NewConversion")).await.expect(202);
    api.post("/api/v1/conversions/1001/refunds", example("NewRefund")).await.expect(202);
    api.post("/api/v1/costs", example("CostInput")).await.expect(201);
    api.post("/api/v1/keys", example("NewKey")).await.expect(201);
    api.post("/api/v1/workspaces", example("NewWorkspace")).await.expect(201);
    api.patch("/api/v1/workspaces/acme", example("WorkspaceChange")).await.expect(200);
    api.post("/api/v1/domains", example("NewDomain")).await.expect(201);
    api.post("/api/v1/reports/snapshots", example("SnapshotInput")).await.expect(201);
    api.post("/api/v1/customers/erase", example("Erasure")).await.expect(202);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let api = Server::start().await;
    let page = api.get("/api/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        page.header("content-security-policy").unwrap().starts_with("default-src 'none'; style-src 'sha256-")
    );
    let document = api.get("/api/openapi.json").await.expect(200);
    for (path, method) in described(&document) {
        let operation = &document["paths"][&path][method.to_lowercase()];
        let id = operation["operationId"].as_str().unwrap();
        assert!(page.body.contains(&format!("id=\"{id}\"")), "{method} {path}");
    }
    for foreign in ["src=", "<script", "@import", "url("] {
        assert!(!page.body.contains(foreign), "{foreign}");
    }
}

/// Whatever an answer holds is described, and whatever must be there is there.
fn conforms(value: &Value, schema: &Value, document: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return conforms(value, document.pointer(&reference[1..]).unwrap(), document, place);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_of = |name: &Value| *name == kind || (*name == "number" && kind == "integer");
    let kinds = &schema["type"];
    let fits = kinds.as_array().map_or_else(|| is_of(kinds), |kinds| kinds.iter().any(is_of));
    assert!(fits, "{place}: {value} is not {kinds}");
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{place}: {value} is none of {values:?}");
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        conforms(item, &schema["items"], document, &format!("{place}/{i}"));
    }
    let Some(fields) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(name.as_str().unwrap()), "{place}: {name} is missing");
    }
    for (name, field) in fields {
        let place = format!("{place}/{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => conforms(field, schema, document, &place),
            (None, Value::Bool(true)) => {}
            (None, others @ Value::Object(_)) => conforms(field, others, document, &place),
            (None, _) => panic!("{place} is not described"),
        }
    }
}

#[tokio::test]
async fn reports_are_as_described() {
    let api = Server::start().await;
    crate::reports::shop(&api).await;
    let document = api.get("/api/openapi.json").await.expect(200);
    for (path, queries) in [
        (
            "attribution",
            &["by=post&clock=click", "by=network&model=all", "by=day", "by=network&model=markov", "by=tag"][..],
        ),
        ("compare", &["by=post", "by=network&models=markov,linear"]),
        ("retention", &["by=all", "by=network"]),
    ] {
        let path = format!("/api/v1/reports/{path}");
        let content = &document["paths"][&path]["get"]["responses"]["200"]["content"];
        for query in queries {
            let report = api.get(&format!("{path}?{query}")).await.expect(200);
            assert!(!report["rows"].as_array().unwrap().is_empty(), "{path}?{query}");
            conforms(&report, &content["application/json"]["schema"], &document, &format!("{path}?{query}"));
        }
    }

    let today = &utmost::domain::time::rfc3339(utmost::domain::time::now_ms())[..10];
    let question = j!({"name": "So far", "query": {"by": "post", "from": "2025-01-01", "to": today}});
    let snapshot = api.post("/api/v1/reports/snapshots", question).await.expect(201);
    let id = snapshot["id"].as_str().unwrap();
    let compared = api.get(&format!("/api/v1/reports/snapshots/{id}/compare")).await.expect(200);
    assert!(!compared["rows"].as_array().unwrap().is_empty());
    let path = "/api/v1/reports/snapshots/{id}/compare";
    let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
    conforms(&compared, &content["application/json"]["schema"], &document, path);
}
