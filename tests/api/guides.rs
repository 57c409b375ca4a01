//! Sends every call that the guides show.

use std::path::Path;

use crate::server::Server;

struct Call {
    method: String,
    path: String,
    body: Option<String>,
}

/// The calls in the shell blocks of a guide: `curl [-X METHOD] "$UTMOST/path" [-H "..."]... [-d '...']`.
fn calls(guide: &str) -> Vec<Call> {
    let blocks = guide.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| read(&block.replace("\\\n", " "))).collect()
}

fn read(block: &str) -> Call {
    let after = |word: &str| block.split_once(word).map(|(_, rest)| rest);
    assert!(
        block.trim_start().starts_with("curl ") && block.contains("Authorization: Bearer $UTMOST_KEY"),
        "{block}"
    );
    let body = after("-d '").map(|rest| rest.rsplit_once('\'').unwrap().0.to_owned());
    assert_eq!(body.is_some(), block.contains("Content-Type: application/json"), "{block}");
    let method = after("-X ").and_then(|rest| rest.split(' ').next());
    let path = after("\"$UTMOST").and_then(|rest| rest.split('"').next()).unwrap();
    Call {
        method: method.unwrap_or(if body.is_some() { "POST" } else { "GET" }).to_owned(),
        path: path.to_owned(),
        body,
    }
}

#[tokio::test]
async fn every_call_of_the_guides_works() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides");
    let mut sent = 0;
    for name in ["shopify", "woocommerce", "stripe", "bigcommerce", "segment", "postiz", "n8n", "html"] {
        let read = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.md"))).unwrap();
        let guide = read(name);
        let api = Server::start().await;
        let link = api.post("/api/v1/links", serde_json::json!({"url": "https://s.test"})).await.expect(201);
        let mut source = None;
        let mut all = calls(&guide);
        if matches!(name, "shopify" | "woocommerce" | "stripe" | "bigcommerce" | "segment") {
            assert!(guide.contains("README.md#does-it-work"), "{name}");
            all.extend(calls(&read("README")));
        }
        for call in all {
            let mut path = call.path.replace("$LINK", link["id"].as_str().unwrap());
            if path.contains("$SOURCE") {
                path = path.replace("$SOURCE", source.as_deref().expect("a guide makes its source first"));
            }
            let body = call.body.unwrap_or_default();
            let answer = api.send(&call.method, &path, &[("content-type", "application/json")], &body).await;
            assert!((200..300).contains(&answer.status), "{name}: {} {path}: {}", call.method, answer.body);
            if path == "/api/v1/sources" {
                source = Some(answer.expect(201)["id"].as_str().unwrap().to_owned());
            }
            api.work().await;
            sent += 1;
        }
        if let Some(source) = source {
            let deliveries = api.get(&format!("/api/v1/sources/{source}/deliveries")).await.expect(200);
            let result = &deliveries["data"][0]["result"];
            assert!(result == "accepted" || result == "ignored", "{name}: {deliveries}");
        }
    }
    assert!(sent >= 20, "{sent}");
}

/// The page for schedulers names the versions that scripts/acceptance runs.
#[test]
fn the_clients_named_are_the_clients_tested() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let page = read("docs/SCHEDULERS.md");
    let npm: serde_json::Value = serde_json::from_str(&read("tests/acceptance/package.json")).unwrap();
    let version_of = |name: &str| npm["dependencies"][name].as_str().unwrap().to_owned();
    for name in ["dub", "kutt", "@shlinkio/shlink-js-sdk"] {
        let version = version_of(name);
        assert!(page.contains(&format!("npm `{name}` {version}")), "{name} {version}");
    }
    let guide = read("docs/guides/segment.md");
    for name in ["@segment/analytics-node", "@rudderstack/rudder-sdk-node"] {
        let version = version_of(name);
        assert!(guide.contains(&format!("`{name}` {version}")), "{name} {version}");
    }
    let pypi = read("tests/acceptance/requirements.txt");
    for name in ["dub", "kutt", "pyshorteners", "yourls"] {
        let version = pypi.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("==")).unwrap();
        assert!(page.contains(&format!("PyPI `{name}` {version}")), "{name} {version}");
    }
}
