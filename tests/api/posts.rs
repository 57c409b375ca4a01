//! Posts with their links, metrics and coupons.

use serde_json::{Value, json as j};

use crate::server::{Server, fields};

#[tokio::test]
async fn a_post_gets_one_link_per_network_and_the_same_ones_again() {
    let api = Server::start().await;
    let body = j!({"title": "Launch", "campaign": "spring", "tags": ["new"], "kind": "video",
        "published_at": "2026-11-23T10:00:00+01:00", "destination": "https://shop.test/p",
        "networks": ["Instagram", "facebook", "instagram"]});
    let made = api.put("/api/v1/posts/p1", body.clone()).await.expect(201);
    assert_eq!(made["published_at"], "2026-11-23T09:00:00Z");
    let links = made["links"].as_array().unwrap();
    assert_eq!(links.len(), 2);
    let networks: Vec<&Value> = links.iter().map(|link| &link["network"]).collect();
    assert_eq!(networks, ["instagram", "facebook"]);
    for link in links {
        assert_eq!((&link["post"], &link["utm"]["campaign"]), (&j!("p1"), &j!("spring")));
        assert_eq!(link["utm"]["source"], link["network"]);
    }
    assert_eq!(api.put("/api/v1/posts/p1", body).await.expect(200)["links"], made["links"]);

    let wider = api.put("/api/v1/posts/p1", j!({"networks": ["facebook", "x"]})).await.expect(200);
    assert_eq!((&wider["title"], &wider["links"][0]), (&j!("Launch"), &links[1]));
    let moved = api
        .put(
            "/api/v1/posts/p1",
            j!({"destination": "https://shop.test/q", "campaign": "summer", "networks": ["x"]}),
        )
        .await
        .expect(200);
    assert_eq!(moved["links"][0]["id"], wider["links"][1]["id"]);
    let read = api.get("/api/v1/posts/p1").await.expect(200);
    let all = read["links"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    for link in all {
        assert!(link["destination"].as_str().unwrap().starts_with("https://shop.test/q?"), "{link}");
        assert_eq!((&link["campaign"], &link["utm"]["campaign"]), (&j!("summer"), &j!("summer")));
    }
    let list = api.get("/api/v1/posts?campaign=summer&kind=video&tag=new").await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert!(list["data"][0].get("links").is_none());
    assert_eq!(api.get("/api/v1/posts?tag=ne").await.expect(200)["data"], j!([]));
    // What the links stood for is kept.
    assert_eq!(api.count("SELECT COUNT(*) FROM link_revisions WHERE campaign = 'spring'").await, 3);
}

#[tokio::test]
async fn a_post_may_be_named_before_it_is_known() {
    let api = Server::start().await;
    let link = api.post("/api/v1/links", j!({"url": "https://s.test", "post": "later"})).await.expect(201);
    assert_eq!(api.get("/api/v1/posts/later").await.expect(200)["network"], Value::Null);
    api.put("/api/v1/posts/later", j!({"network": "TikTok", "campaign": "c"})).await.expect(200);
    let link = api.get(&format!("/api/v1/links/{}", link["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(
        (&link["network"], &link["utm"]["source"], &link["campaign"]),
        (&j!("tiktok"), &j!("tiktok"), &j!("c"))
    );
    let made =
        api.put("/api/v1/posts/one", j!({"network": "x", "destination": "https://s.test"})).await.expect(201);
    assert_eq!(made["links"][0]["network"], "x");
    api.get("/api/v1/posts/none").await.expect(404);
}

#[tokio::test]
async fn mistakes_in_posts_are_named_and_nothing_is_stored() {
    let api = Server::start().await;
    let check = async |body: Value, expected: &[&str]| {
        let problem = api.put("/api/v1/posts/p", body.clone()).await.expect(422);
        assert_eq!(fields(&problem), expected, "{body}: {problem}");
    };
    check(j!({"networks": ["x"]}), &["destination"]).await;
    check(j!({"networks": ["x"], "destination": "https://go.test/a"}), &["destination"]).await;
    check(j!({"url": "x", "published_at": "now", "networks": [""]}), &["url", "published_at", "networks"])
        .await;
    check(j!({"nets": []}), &["nets"]).await;
    api.get("/api/v1/posts/p").await.expect(404);
    assert_eq!(api.get("/api/v1/links").await.expect(200)["data"], j!([]));
}

#[tokio::test]
async fn metrics_are_kept_by_day() {
    let api = Server::start().await;
    let path = "/api/v1/posts/p1/metrics";
    let days = j!([{"day": "2026-11-22", "reach": 100, "likes": 5}, {"day": "2026-11-23", "reach": 50}]);
    api.put(path, days).await.expect(200);
    api.put(path, j!({"metrics": [{"day": "2026-11-23", "comments": 2}]})).await.expect(200);
    let read = api.get(path).await.expect(200);
    assert_eq!(
        read["data"],
        j!([{"day": "2026-11-22", "reach": 100, "likes": 5, "shares": null, "comments": null},
            {"day": "2026-11-23", "reach": 50, "likes": null, "shares": null, "comments": 2}])
    );
    let wrong = api.put(path, j!({"day": "x", "likes": -1})).await.expect(422);
    assert_eq!(fields(&wrong), ["likes", "day"]);
    api.get("/api/v1/posts/none/metrics").await.expect(404);
}

#[tokio::test]
async fn coupons_stand_for_a_post_or_a_link() {
    let api = Server::start().await;
    let link = api.post("/api/v1/links", j!({"url": "https://s.test"})).await.expect(201);
    let bound = api.put("/api/v1/coupons/save10", j!({"link": link["id"]})).await.expect(200);
    assert_eq!((&bound["code"], &bound["link"]), (&j!("SAVE10"), &link["id"]));
    let again = api.put("/api/v1/coupons/Save10", j!({"post": "p1"})).await.expect(200);
    assert_eq!(
        (&again["post"], &again["link"], &again["created_at"]),
        (&j!("p1"), &Value::Null, &bound["created_at"])
    );
    assert_eq!(api.get("/api/v1/coupons").await.expect(200)["data"].as_array().unwrap().len(), 1);
    for wrong in
        [j!({}), j!({"post": "p", "link": link["id"]}), j!({"link": "0000000000000"}), j!({"link": "x"})]
    {
        api.put("/api/v1/coupons/other", wrong).await.expect(422);
    }
    api.delete("/api/v1/coupons/SAVE10").await.expect(204);
    api.get("/api/v1/coupons/save10").await.expect(404);
}
