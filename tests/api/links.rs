//! Links: made, read, changed, archived, many at once.

use serde_json::{Value, json as j};

use crate::server::{Server, fields};

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
