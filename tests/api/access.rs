//! Keys, workspaces and domains.

use serde_json::json as j;

use crate::server::{Server, fields};

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
