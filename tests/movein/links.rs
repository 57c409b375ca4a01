//! `utmost links`: create, list, import, export.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::support::postgres::Postgres;
use crate::support::{Redis, Server, click, settled};
use crate::{Run, fixture, utmost};

const PUBLIC: (&str, &str) = ("UTMOST_SERVER__PUBLIC_URL", "https://go.example");

/// A folder whose stores a server has made.
fn made(env: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert!(Server::start(dir.path(), env).terminate());
    dir
}

fn export(dir: &Path, env: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let run = utmost(dir, env, &["links", "export", "--format", "json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let links: Vec<Value> = serde_json::from_str(&run.out).unwrap();
    links.into_iter().map(|link| (link["slug"].as_str().unwrap().to_owned(), link)).collect()
}

fn import(dir: &Path, from: &str, file: &str, more: &[&str]) -> Run {
    let arguments = [&["links", "import", file, "--from", from], more].concat();
    utmost(dir, &[PUBLIC], &arguments)
}

#[test]
fn every_export_format_keeps_what_it_has() {
    // What each file is to give of the link lamps; the destination, too, is always as given.
    let check = |from: &str, file: &str, summary: &str, refused: &[&str], expected: Value| {
        let dir = made(&[PUBLIC]);
        let file = fixture(&format!("links/{file}"));
        let dry = import(dir.path(), from, &file, &["--dry-run"]);
        assert!(export(dir.path(), &[PUBLIC]).is_empty(), "a dry run writes nothing");
        let run = import(dir.path(), from, &file, &[]);
        assert_eq!(dry.out.replace("would be made", "made"), run.out, "{file}");
        assert!(run.out.ends_with(&format!("{summary}\n")), "{file}: {} {}", run.out, run.err);
        for reason in refused {
            assert!(run.out.contains(reason), "{file}: {reason}: {}", run.out);
        }
        assert_eq!(run.code, i32::from(!refused.is_empty()), "{file}: {}", run.err);
        let links = export(dir.path(), &[PUBLIC]);
        let link = &links["lamps"];
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&link[field], value, "{file}: {field} of {link:#}");
        }
        // The same once more is nothing new.
        let again = import(dir.path(), from, &file, &[]);
        assert!(again.out.contains("0 made"), "{file}: {}", again.out);
        assert_eq!(export(dir.path(), &[PUBLIC]), links);
    };
    let lamps = "https://shop.example/lamps";
    let bitly = json!({"url": format!("{lamps}?color=red#top"), "title": "Lamps, all of them", "tags": "spring,lamps",
        "created_at": "2024-03-05T09:10:11Z", "short_url": "https://go.example/lamps"});
    check(
        "bitly",
        "bitly.csv",
        "3 made, 0 there already, 1 refused",
        &["line 4: domain: \"bit.ly\" is no domain"],
        bitly.clone(),
    );
    check("bitly", "bitly.json", "3 made, 0 there already, 0 refused", &[], bitly);
    check(
        "dub",
        "dub.csv",
        "2 made, 0 there already, 1 refused",
        &["line 4: slug: where the domain itself leads to is no link"],
        json!({"url": format!("{lamps}?utm_source=instagram"), "clicks": 41, "network": "instagram", "archived": false,
               "created_at": "2025-05-06T07:08:09.123Z", "tags": "spring,lamps"}),
    );
    check(
        "dub",
        "dub.json",
        "1 made, 0 there already, 1 refused",
        &["line 2: password: "],
        json!({"external_id": "post-7", "utm_campaign": "spring", "expires_at": "2099-01-01T00:00:00Z",
               "expired_url": "https://shop.example/over", "tags": "spring", "clicks": 41}),
    );
    check(
        "shlink",
        "shlink.csv",
        "1 made, 0 there already, 1 refused",
        &["line 3: slug: slug may hold letters"],
        json!({"url": lamps, "tags": "spring|lamps, red", "clicks": 99, "created_at": "2022-02-03T03:05:06Z"}),
    );
    check(
        "shlink",
        "shlink.json",
        "2 made, 0 there already, 1 refused",
        &["line 3: rules: ", "line 3: starts_at: "],
        json!({"url": lamps, "tags": "spring|lamps, red", "max_clicks": 51, "forward_query": false,
               "expires_at": "2099-01-01T00:00:00Z"}),
    );
    check(
        "kutt",
        "kutt.json",
        "1 made, 0 there already, 1 refused",
        &["line 2: password: "],
        json!({"url": lamps, "title": "Lamps", "clicks": 5, "created_at": "2023-04-05T06:07:08.009Z"}),
    );
    let yourls = json!({"url": lamps, "title": "Lamps", "clicks": 321, "created_at": "2019-08-07T06:05:04Z"});
    check("yourls", "yourls.csv", "2 made, 0 there already, 0 refused", &[], yourls.clone());
    check("yourls", "yourls.json", "2 made, 0 there already, 0 refused", &[], yourls);
    let plugin = json!({"url": lamps, "clicks": 321});
    check("yourls", "yourls_plugin.csv", "2 made, 0 there already, 0 refused", &[], plugin);
}

#[test]
fn any_columns_are_mapped_and_what_is_refused_is_told() {
    let dir = made(&[PUBLIC]);
    let file = dir.path().join("list.csv");
    let rows = "Landing page;Name;Where;Made\n\
                https://shop.example/a;a;instagram;2026-01-31 17:05:00\n\
                nonsense;b;;2026-01-31\n\
                https://shop.example/c;api;;31.01.2026\n\
                https://shop.example/d;a;;\n\
                https://shop.example/no-slug;;;\n";
    std::fs::write(&file, rows).unwrap();
    let file = file.to_str().unwrap();
    let unmapped = import(dir.path(), "csv", file, &[]);
    assert!(unmapped.err.contains("no column for url; name it by --map COLUMN=url"), "{}", unmapped.err);
    let unknown = import(dir.path(), "csv", file, &["--map", "Name=nmae"]);
    assert!(unknown.err.contains("\"nmae\" is no field of a link"), "{}", unknown.err);

    let refused = dir.path().join("refused.csv");
    let map = [
        "--map",
        "Landing page=url",
        "--map",
        "Name=slug",
        "--map",
        "Where=network",
        "--map",
        "Made=created_at",
    ];
    let more = ["--timezone", "Europe/Berlin", "--no-utm", "--refused", refused.to_str().unwrap()];
    let run = import(dir.path(), "csv", file, &[&map[..], &more].concat());
    assert_eq!(run.code, 1);
    assert!(run.out.ends_with("2 made, 0 there already, 3 refused\n"), "{}", run.out);
    let told = std::fs::read_to_string(&refused).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[0], "line,field,reason");
    assert!(told[1].starts_with("4,created_at,") && told[1].contains("31.01.2026"), "{told:?}");
    assert_eq!(told[2], "5,slug,line 2 has the same short URL");
    assert!(told[3].starts_with("3,url,"), "{told:?}");
    let links = export(dir.path(), &[PUBLIC]);
    assert_eq!(links.len(), 2);
    assert_eq!(links["a"]["created_at"], "2026-01-31T16:05:00Z");
    assert_eq!((&links["a"]["network"], &links["a"]["utm_medium"]), (&json!("instagram"), &json!("(none)")));

    // Once more, with a destination that has changed, and the row without a slug as before.
    std::fs::write(file, rows.replace("example/a;", "example/elsewhere;")).unwrap();
    let run = import(dir.path(), "csv", file, &[&map[..], &more].concat());
    assert!(run.out.ends_with("0 made, 1 there already, 4 refused\n"), "{}", run.out);
    assert!(
        std::fs::read_to_string(&refused)
            .unwrap()
            .contains("2,slug,go.example/a is taken and leads elsewhere")
    );
}

#[test]
fn what_is_exported_moves_in_elsewhere() {
    let dir = made(&[PUBLIC]);
    let create = |arguments: &[&str]| {
        let run = utmost(dir.path(), &[PUBLIC], &[&["links", "create"], arguments].concat());
        (run.code, run.out, run.err)
    };
    let made_url = create(&[
        "https://shop.example/p?a=%20b#top",
        "--slug",
        "лето",
        "--post",
        "p1",
        "--network",
        "Instagram",
        "--campaign",
        "Spring",
        "--tag",
        "a",
        "--tag",
        "b,c",
        "--title",
        "T \"1\"",
        "--external-id",
        "e1",
        "--utm",
        "medium=",
        "--utm",
        "utm_term=x",
        "--expires-at",
        "2099-12-31T00:00:00+01:00",
        "--expired-url",
        "https://shop.example/over",
        "--max-clicks",
        "5",
        "--click-param",
        "",
    ]);
    assert_eq!(made_url, (0, "https://go.example/лето\n".to_owned(), String::new()));
    let (code, url, _) = create(&["https://shop.example/q"]);
    assert!(code == 0 && url.starts_with("https://go.example/") && url.trim().len() == 26, "{url}");
    let (code, _, error) = create(&["https://shop.example/r", "--slug", "a b", "--max-clicks", "0"]);
    assert!(code == 1 && error.contains("slug may hold") && error.contains("max_clicks must be"), "{error}");
    let (code, _, error) = create(&["https://shop.example/r", "--slug", "лето"]);
    assert!(code == 1 && error.contains("is taken"), "{error}");

    let listed = utmost(dir.path(), &[PUBLIC], &["links", "list", "--network", "instagram"]);
    let lines: Vec<&str> = listed.out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("short url") && lines[1].starts_with("https://go.example/лето  instagram  p1")
    );
    for filter in
        [["--tag", "b,c"], ["--post", "p1"], ["--campaign", "Spring"], ["--search", "shop.example/p"]]
    {
        let run =
            utmost(dir.path(), &[PUBLIC], &[&["links", "list", "--format", "json"], &filter[..]].concat());
        assert_eq!(
            serde_json::from_str::<Value>(&run.out).unwrap().as_array().unwrap().len(),
            1,
            "{filter:?}"
        );
    }

    let here = export(dir.path(), &[PUBLIC]);
    for format in ["csv", "json"] {
        let file = dir.path().join(format!("links.{format}"));
        let file = file.to_str().unwrap();
        let run = utmost(dir.path(), &[PUBLIC], &["links", "export", "--format", format, "--output", file]);
        assert_eq!((run.code, run.out.as_str()), (0, ""), "{}", run.err);
        let there = made(&[PUBLIC]);
        let run = import(there.path(), "csv", file, &[]);
        assert_eq!(run.out, "2 made, 0 there already, 0 refused\n", "{}", run.err);
        let mut moved = export(there.path(), &[PUBLIC]);
        for (slug, link) in &here {
            let moved = moved.remove(slug).unwrap();
            assert_eq!(&moved, link, "{format}");
        }
        let again = import(dir.path(), "csv", file, &[]);
        assert_eq!(again.out, "0 made, 2 there already, 0 refused\n", "at home all is there: {}", again.err);
    }
}

/// Imports beside a running server: its redirects know the links, also a slug that was just asked for in vain.
async fn imported_links_lead_on(env: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), env);
    let client = server.client();
    let url = |slug: &str| format!("{}/{slug}", server.base);
    assert_eq!(click(&client, &url("n7"), None).await.unwrap().status, 404);
    let file = dir.path().join("list.csv");
    let mut text = String::from("url,slug\n");
    for n in 0..2_500 {
        writeln!(text, "https://shop.example/{n},n{n}").unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let public = ("UTMOST_SERVER__PUBLIC_URL", server.base.as_str());
    let run = utmost(dir.path(), &[env, &[public]].concat(), &["links", "import", file.to_str().unwrap()]);
    assert_eq!(run.out, "2500 made, 0 there already, 0 refused\n", "{}", run.err);
    assert_eq!(click(&client, &url("n2499"), None).await.unwrap().status, 302);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while click(&client, &url("n7"), None).await.unwrap().status != 302 {
        assert!(std::time::Instant::now() < end, "the miss is still remembered");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Their clicks count as those of any link.
    let path = "/api/v1/reports/attribution?by=link";
    settled(&client, path, |report| report["totals"]["recorded_clicks"].as_u64() >= Some(2)).await;
    let made = utmost(
        dir.path(),
        &[env, &[public]].concat(),
        &["links", "create", "https://shop.example/x", "--slug", "x"],
    );
    assert_eq!(made.out, format!("{}/x\n", server.base), "{}", made.err);
    assert_eq!(click(&client, &url("x"), None).await.unwrap().status, 302);
    let links = client.api(Method::GET, "/api/v1/links?slug=n3", None).await.unwrap();
    assert_eq!(links["data"][0]["url"], "https://shop.example/3");
}

#[tokio::test]
async fn imported_links_lead_on_embedded() {
    imported_links_lead_on(&[]).await;
}

#[tokio::test]
async fn imported_links_lead_on_with_redis_and_postgres() {
    let (redis, postgres) = (Redis::start(&[]), Postgres::start());
    let (hot, ledger) = (redis.url(), postgres.url("postgres"));
    imported_links_lead_on(&[("UTMOST_HOT__URL", &hot), ("UTMOST_LEDGER__URL", &ledger)]).await;
}
