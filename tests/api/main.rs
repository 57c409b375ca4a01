//! The API's router in process, over a ledger in a temporary folder.

mod server;

use serde_json::{Value, json as j};
use server::{Server, fields, json};

#[tokio::test]
async fn a_link_is_made_read_changed_and_archived() {
    let api = Server::start().await;
    let made = api
        .post(
            "/api/v1/links",
            j!({"url": "https://shop.test/p?a=%20b#top", "post": "p1", "network": "Instagram",
                "utm": {"campaign": "Summer Sale"}, "tags": ["a", "a", " b "], "external_id": "e1"}),
        )
        .await
        .expect(201);
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["short_url"], format!("https://go.test/{}", made["slug"].as_str().unwrap()));
    assert_eq!(made["slug"].as_str().unwrap().len(), 7);
    assert_eq!(
        made["destination"],
        format!(
            "https://shop.test/p?a=%20b&utm_source=instagram&utm_medium=social&utm_campaign=Summer%20Sale&utm_content={id}#top"
        )
    );
    assert_eq!((&made["tags"], &made["clicks"]), (&j!(["a", "b"]), &j!(0)));
    assert_eq!(made["warnings"].as_array().unwrap().len(), 1);

    let path = format!("/api/v1/links/{id}");
    let mut read = api.get(&path).await.expect(200);
    assert_eq!(read, made);
    read = api
        .patch(&path, j!({"campaign": "winter", "utm": {"campaign": null}, "title": "T"}))
        .await
        .expect(200);
    assert_eq!(
        (&read["campaign"], &read["utm"]["campaign"], &read["title"]),
        (&j!("winter"), &j!("winter"), &j!("T"))
    );
    api.patch(&path, j!({"title": null, "slug": "autumn"})).await.expect(200);
    let read = api.get(&path).await.expect(200);
    assert_eq!((&read["title"], &read["short_url"]), (&Value::Null, &j!("https://go.test/autumn")));

    api.delete(&path).await.expect(204);
    assert!(api.get(&path).await.expect(200)["archived_at"].is_string());
    assert_eq!(api.get("/api/v1/links").await.expect(200)["data"], j!([]));
    assert_eq!(api.get("/api/v1/links?archived=true").await.expect(200)["data"][0]["id"], id);
    let taken = api.post("/api/v1/links", j!({"url": "https://shop.test", "slug": "autumn"})).await;
    assert_eq!(taken.expect(409)["field"], "slug");
}

#[tokio::test]
async fn mistakes_in_links_are_named() {
    let api = Server::start().await;
    api.post("/api/v1/links", j!({"url": "https://shop.test", "slug": "one", "external_id": "e"}))
        .await
        .expect(201);
    let check = async |body: Value, status: u16, expected: &[&str]| {
        let problem = api.post("/api/v1/links", body.clone()).await.expect(status);
        assert_eq!(fields(&problem), expected, "{body}: {problem}");
    };
    check(j!({}), 422, &["url"]).await;
    check(j!({"url": 5}), 422, &["url"]).await;
    check(j!({"url": "ftp://x", "slug": "a b", "tags": ["x".repeat(101)]}), 422, &["url", "slug", "tags"])
        .await;
    check(j!({"url": "https://go.test/x"}), 422, &["url"]).await;
    check(j!({"url": "https://s.test", "expired_url": "https://go.test/x"}), 422, &["expired_url"]).await;
    check(j!({"url": "https://s.test", "domain": "else.test"}), 422, &["domain"]).await;
    check(j!({"url": "https://s.test", "slug": "api"}), 422, &["slug"]).await;
    check(j!({"url": "https://s.test", "slug": "one"}), 409, &["slug"]).await;
    check(j!({"url": "https://s.test", "external_id": "e"}), 409, &["external_id"]).await;
    check(j!({"url": "https://s.test", "expires_at": "soon"}), 422, &["expires_at"]).await;
    check(j!({"url": "https://s.test", "utm": {"medum": "x"}}), 422, &["utm.medum"]).await;
    check(
        j!({"url": "https://s.test", "max_clicks": 0, "click_param": "a b"}),
        422,
        &["max_clicks", "click_param"],
    )
    .await;
    let unknown = api.post("/api/v1/links", j!({"ulr": "x"})).await.expect(422);
    assert!(unknown["detail"].as_str().unwrap().contains("expected one of url, slug, domain"), "{unknown}");
    assert_eq!(api.get("/api/v1/links").await.expect(200)["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_thousand_links_in_one_call_each_with_its_result() {
    let api = Server::start().await;
    let mut links: Vec<Value> = (0..996)
        .map(|i| j!({"url": format!("https://s.test/{i}"), "post": format!("p{}", i % 7), "external_id": i.to_string()}))
        .collect();
    links.extend([
        j!({"url": "https://s.test", "slug": "same"}),
        j!({"url": "https://s.test", "slug": "same"}),
        j!({"url": "nonsense"}),
        j!({"url": "https://s.test", "nonsense": 1}),
    ]);
    let answer = api.post("/api/v1/links/bulk", j!({"links": links})).await.expect(200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1000);
    assert!(results[..997].iter().all(|result| result["status"] == 201), "{}", results[0]);
    assert_eq!(results[5]["link"]["url"], "https://s.test/5");
    let status = |i: usize| (results[i]["index"].clone(), results[i]["status"].clone());
    assert_eq!(status(997), (j!(997), j!(409)));
    assert_eq!(status(998), (j!(998), j!(422)));
    assert_eq!(results[999]["problem"]["field"], "nonsense");

    let too_many = vec![j!({"url": "https://s.test"}); 1001];
    api.post("/api/v1/links/bulk", Value::from(too_many)).await.expect(422);

    let mut seen = std::collections::HashSet::new();
    let mut path = "/api/v1/links?limit=300".to_owned();
    loop {
        let page = api.get(&path).await.expect(200);
        for link in page["data"].as_array().unwrap() {
            assert!(seen.insert(link["id"].as_str().unwrap().to_owned()));
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/links?limit=300&cursor={cursor}");
    }
    assert_eq!(seen.len(), 997);
    let some = api.get("/api/v1/links?post=p3&limit=1000").await.expect(200);
    assert_eq!(some["data"].as_array().unwrap().len(), 142);
    let changed = api.get("/api/v1/links?changed_since=2020-01-01T00:00:00Z&limit=1").await.expect(200);
    let cursor = changed["next_cursor"].as_str().unwrap();
    let rest = api
        .get(&format!("/api/v1/links?changed_since=2020-01-01T00:00:00Z&limit=1000&cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(rest["data"].as_array().unwrap().len(), 996);
}

#[tokio::test]
async fn an_upsert_gives_the_same_link_again() {
    let api = Server::start().await;
    let path = "/api/v1/links/by-external-id/post%2F17";
    let made = api.put(path, j!({"url": "https://s.test/1", "tags": ["a"]})).await.expect(201);
    assert_eq!(made["external_id"], "post/17");
    let again = api.put(path, j!({"url": "https://s.test/2"})).await.expect(200);
    assert_eq!((&again["id"], &again["slug"]), (&made["id"], &made["slug"]));
    assert_eq!((&again["url"], &again["tags"]), (&j!("https://s.test/2"), &j!(["a"])));
    api.delete(&format!("/api/v1/links/{}", made["id"].as_str().unwrap())).await.expect(204);
    assert!(api.put(path, j!({})).await.expect(200)["archived_at"].is_null());
    assert_eq!(api.get(path).await.expect(200)["id"], made["id"]);
}

#[tokio::test]
async fn keys_have_scopes_and_can_be_revoked() {
    let api = Server::start().await;
    let made = api.post("/api/v1/keys", j!({"name": "scheduler", "scopes": ["links"]})).await.expect(201);
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("um_") && key.len() >= 40);
    let scheduler = api.with_key(&key);
    scheduler.post("/api/v1/links", j!({"url": "https://s.test"})).await.expect(201);
    let refused = scheduler.post("/api/v1/keys", j!({"name": "x", "scopes": ["admin"]})).await.expect(403);
    assert!(refused["detail"].as_str().unwrap().contains("admin"));
    scheduler.get("/api/v1/workspaces/default").await.expect(200);

    let listed = api.get("/api/v1/keys").await.expect(200);
    assert_eq!(listed["data"][0]["name"], "scheduler");
    assert!(listed["data"][0].get("key").is_none() && !listed.to_string().contains(&key));
    api.delete(&format!("/api/v1/keys/{}", made["id"].as_str().unwrap())).await.expect(204);
    scheduler.get("/api/v1/links").await.expect(401);
    api.delete("/api/v1/keys/key_none").await.expect(404);

    let wrong = api.post("/api/v1/keys", j!({"name": " ", "scopes": ["all"]})).await.expect(422);
    assert_eq!(fields(&wrong), ["name", "scopes"]);
    api.with_key("um_wrong").get("/api/v1/links").await.expect(401);
    api.send("GET", "/api/v1/links", &[("authorization", "")], "").await.expect(401);
}

#[tokio::test]
async fn workspaces_see_nothing_of_one_another() {
    let api = Server::start().await;
    api.post(
        "/api/v1/workspaces",
        j!({"id": "acme", "name": "Acme", "timezone": "Asia/Kathmandu", "currency": "NPR",
        "settings": {"lookback_days": 30}}),
    )
    .await
    .expect(201);
    let acme = api.with_header("utmost-workspace", "acme");
    let link =
        acme.post("/api/v1/links", j!({"url": "https://s.test", "external_id": "e"})).await.expect(201);
    let path = format!("/api/v1/links/{}", link["id"].as_str().unwrap());
    acme.get(&path).await.expect(200);
    api.get(&path).await.expect(404);
    api.patch(&path, j!({"title": "mine"})).await.expect(404);
    api.delete(&path).await.expect(404);
    assert_eq!(api.get("/api/v1/links").await.expect(200)["data"], j!([]));
    api.post("/api/v1/links", j!({"url": "https://s.test", "external_id": "e"})).await.expect(201);

    let made = acme.post("/api/v1/keys", j!({"name": "acme's", "scopes": ["admin"]})).await.expect(201);
    let own = api.with_key(made["key"].as_str().unwrap());
    own.get(&path).await.expect(200);
    own.get("/api/v1/workspaces/default").await.expect(404);
    assert_eq!(own.get("/api/v1/workspaces").await.expect(200)["data"].as_array().unwrap().len(), 1);
    own.post("/api/v1/workspaces", j!({"name": "x"})).await.expect(403);
    own.post("/api/v1/keys", j!({"name": "x", "scopes": ["links"], "platform": true})).await.expect(403);
    own.with_header("utmost-workspace", "default").get("/api/v1/links").await.expect(403);
    api.with_header("utmost-workspace", "nowhere").get("/api/v1/links").await.expect(404);
    assert_eq!(api.get("/api/v1/keys").await.expect(200)["data"], j!([]));
}

#[tokio::test]
async fn workspaces_are_changed_and_removed_while_that_hurts_nobody() {
    let api = Server::start().await;
    let wrong = api
        .post(
            "/api/v1/workspaces",
            j!({"id": "A b", "name": "", "timezone": "Mars/X", "currency": "EURO",
            "settings": {"lookback_days": 0}}),
        )
        .await
        .expect(422);
    assert_eq!(fields(&wrong), ["id", "name", "timezone", "currency", "settings.lookback_days"]);
    api.post("/api/v1/workspaces", j!({"id": "w", "name": "W"})).await.expect(201);
    api.post("/api/v1/workspaces", j!({"id": "w", "name": "W"})).await.expect(409);
    let changed = api
        .patch("/api/v1/workspaces/w", j!({"timezone": "Europe/Berlin", "settings": {"renewals": "exclude"}}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["timezone"], &changed["settings"]),
        (&j!("Europe/Berlin"), &j!({"renewals": "exclude"}))
    );
    api.sql("INSERT INTO clicks_by_day VALUES ('w', 1, 1, 1, 1, 0, 0, 0, 0, 0)").await;
    api.patch("/api/v1/workspaces/w", j!({"timezone": "UTC"})).await.expect(409);
    api.delete("/api/v1/workspaces/w").await.expect(409);
    api.delete("/api/v1/workspaces/default").await.expect(409);
    api.post("/api/v1/workspaces", j!({"id": "empty", "name": "E"})).await.expect(201);
    api.delete("/api/v1/workspaces/empty").await.expect(204);
    api.get("/api/v1/workspaces/empty").await.expect(404);
}

#[tokio::test]
async fn domains_belong_to_one_workspace() {
    let api = Server::start().await;
    assert_eq!(api.get("/api/v1/domains").await.expect(200)["data"][0]["domain"], "go.test");
    api.post("/api/v1/domains", j!({"domain": "Shrt.Test:443"})).await.expect(201);
    api.post("/api/v1/domains", j!({"domain": "shrt.test"})).await.expect(409);
    api.post("/api/v1/domains", j!({"domain": "https://shrt.test/x"})).await.expect(422);
    let link = api
        .post("/api/v1/links", j!({"url": "https://s.test", "domain": "shrt.test", "slug": "a"}))
        .await
        .expect(201);
    assert_eq!(link["short_url"], "https://shrt.test/a");
    api.post("/api/v1/links", j!({"url": "https://s.test", "slug": "a"})).await.expect(201);
    api.post("/api/v1/links", j!({"url": "https://shrt.test/a"})).await.expect(422);
    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    let acme = api.with_header("utmost-workspace", "acme");
    acme.post("/api/v1/links", j!({"url": "https://s.test", "domain": "shrt.test"})).await.expect(422);
    acme.post("/api/v1/links", j!({"url": "https://shrt.test/a"})).await.expect(422);
    acme.delete("/api/v1/domains/other.test").await.expect(404);
    api.delete("/api/v1/domains/shrt.test").await.expect(409);
    api.delete("/api/v1/domains/go.test").await.expect(409);
    api.post("/api/v1/domains", j!({"domain": "brief.test", "shared": true})).await.expect(201);
    api.delete("/api/v1/domains/brief.test").await.expect(204);
}

#[tokio::test]
async fn repeated_posts_are_answered_not_done_again() {
    let api = Server::start().await;
    let keyed = api.with_header("idempotency-key", "k1");
    let body = j!({"url": "https://s.test"});
    let first = keyed.post("/api/v1/links", body.clone()).await;
    let again = keyed.post("/api/v1/links", body.clone()).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(first.expect(201)["url"], "https://s.test");
    let other = keyed.post("/api/v1/links", j!({"url": "https://t.test"})).await.expect(422);
    assert_eq!(other["field"], "Idempotency-Key");
    assert_eq!(api.get("/api/v1/links").await.expect(200)["data"].as_array().unwrap().len(), 1);

    let refused = api.with_header("idempotency-key", "k2");
    let problem = refused.post("/api/v1/links", j!({"url": "x"})).await;
    let same = refused.post("/api/v1/links", j!({"url": "x"})).await;
    assert_eq!((problem.status, &problem.body), (same.status, &same.body));
    assert_eq!(same.header("content-type"), Some("application/problem+json"));

    // Another workspace has keys of its own.
    api.post("/api/v1/workspaces", j!({"id": "acme", "name": "Acme"})).await.expect(201);
    keyed
        .with_header("utmost-workspace", "acme")
        .post("/api/v1/links", j!({"url": "https://u.test"}))
        .await
        .expect(201);

    // A key is shown once, also to those who ask twice.
    let keyed = api.with_header("idempotency-key", "k3");
    let made = keyed.post("/api/v1/keys", j!({"name": "x", "scopes": ["links"]})).await.expect(201);
    let again = keyed.post("/api/v1/keys", j!({"name": "x", "scopes": ["links"]})).await.expect(201);
    assert_eq!((made["id"].clone(), again.get("key")), (again["id"].clone(), None));

    api.sql("UPDATE idempotency SET status = 0, created_ms = created_ms - 60000 WHERE idem_key = 'k1' AND workspace = 'default'")
        .await;
    let under_way = api.with_header("idempotency-key", "k1").post("/api/v1/links", body.clone()).await;
    assert_eq!(under_way.header("retry-after"), Some("1"));
    under_way.expect(409);
    api.sql("UPDATE idempotency SET created_ms = created_ms - 90000000 WHERE idem_key = 'k1'").await;
    api.with_header("idempotency-key", "k1").post("/api/v1/links", body).await.expect(201);
    api.with_header("idempotency-key", &"k".repeat(256)).post("/api/v1/links", j!({})).await.expect(422);
}

#[tokio::test]
async fn every_way_to_ask_wrongly_is_a_problem() {
    let api = Server::start().await;
    let jsons = ("content-type", "application/json");
    let check = async |method: &str, path: &str, headers: &[(&str, &str)], body: &str, status: u16| {
        let answer = api.send(method, path, headers, body).await;
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        let problem = answer.expect(status);
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().starts_with("urn:utmost:") && problem["title"].is_string());
        problem
    };
    check("GET", "/nowhere", &[], "", 404).await;
    check("GET", "/api/v1/nowhere", &[], "", 404).await;
    check("PUT", "/api/v1/links", &[jsons], "{}", 405).await;
    check("POST", "/api/v1/links", &[jsons], "{\"url\": \"https", 400).await;
    check("POST", "/api/v1/links", &[("content-type", "text/plain")], "{}", 415).await;
    check("POST", "/api/v1/links", &[jsons], &" ".repeat((1 << 20) + 1), 413).await;
    check("GET", "/api/v1/links?limit=0", &[], "", 422).await;
    check("GET", "/api/v1/links?limit=x", &[], "", 422).await;
    check("GET", "/api/v1/links?cursor=x", &[], "", 422).await;
    check("GET", "/api/v1/links?colour=red", &[], "", 422).await;
    check("GET", "/api/v1/links/nonsense", &[], "", 404).await;
    check("GET", "/api/v1/links/0000000000000", &[], "", 404).await;
    let unknown = json(&api.send("GET", "/api/v1/links?colour=red", &[], "").await.body);
    assert_eq!(unknown["field"], "colour");
    assert_eq!(api.send("PUT", "/api/v1/links", &[jsons], "{}").await.header("allow"), Some("POST,GET,HEAD"));
}
