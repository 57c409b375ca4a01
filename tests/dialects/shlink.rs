//! Shlink, as its SDK and its web client speak it.

use serde_json::{Value, json};

use crate::server::{Answer, Sent, Server};

struct Shlink {
    server: Server,
    key: String,
}

impl Shlink {
    async fn start() -> Self {
        let server = Server::start("").await;
        let key = server.key(&["links"]).await;
        Self { server, key }
    }

    async fn ask(&self, request: &str, body: impl Into<Sent>) -> Answer {
        let request = request.replacen(' ', " /rest/v3", 1);
        self.server.ask(&request, &[("x-api-key", &self.key)], body).await
    }

    async fn make(&self, body: Value) -> Value {
        self.ask("POST /short-urls", body).await.expect(200)
    }
}

#[tokio::test]
async fn a_short_url_is_made_changed_listed_and_deleted() {
    let shlink = Shlink::start().await;
    let made = shlink
        .make(json!({"longUrl": "https://shop.test/p?a=1", "customSlug": "summer", "tags": ["b", "a"], "title": "T",
            "validUntil": "2030-01-02T00:00:00+02:00", "validSince": "2020-01-02T00:00:00Z", "maxVisits": 5,
            "crawlable": true, "forwardQuery": true, "findIfExists": true, "post": "p1", "externalId": "e1"}))
        .await;
    let expected = json!({"shortCode": "summer", "shortUrl": "https://go.test/summer", "domain": null, "title": "T",
        "longUrl": "https://shop.test/p?a=1", "crawlable": true, "forwardQuery": true, "hasRedirectRules": false,
        "visitsSummary": {"total": 0, "nonBots": 0, "bots": 0},
        "meta": {"validSince": "2020-01-02T00:00:00Z", "validUntil": "2030-01-01T22:00:00Z", "maxVisits": 5}});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    assert_eq!(made["tags"].as_array().unwrap().len(), 2);
    assert_eq!(shlink.server.native("GET /api/v1/links/by-external-id/e1", ()).await["post"], "p1");

    shlink.server.clicks("summer", 7, 2).await;
    for query in ["", "?domain=go.test", "?domain=DEFAULT"] {
        let read = shlink.ask(&format!("GET /short-urls/summer{query}"), ()).await.expect(200);
        assert_eq!(read["visitsSummary"], json!({"total": 9, "nonBots": 7, "bots": 2}));
    }
    let changed = shlink
        .ask(
            "PATCH /short-urls/summer",
            json!({"title": null, "maxVisits": null, "longUrl": "https://shop.test/q"}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&changed["title"], &changed["meta"]["maxVisits"], &changed["longUrl"], &changed["tags"]),
        (&Value::Null, &Value::Null, &json!("https://shop.test/q"), &made["tags"])
    );
    let rules = shlink.ask("GET /short-urls/summer/redirect-rules", ()).await.expect(200);
    assert_eq!(rules, json!({"defaultLongUrl": "https://shop.test/q", "redirectRules": []}));

    shlink.make(json!({"longUrl": "https://shop.test/z", "customSlug": "other", "tags": ["a"]})).await;
    let codes = async |query: &str| -> Vec<String> {
        let list = shlink.ask(&format!("GET /short-urls?{query}"), ()).await.expect(200);
        let data = list["shortUrls"]["data"].as_array().unwrap().iter();
        data.map(|link| link["shortCode"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes("page=1&itemsPerPage=1&orderBy=visits-DESC").await, ["summer"]);
    assert_eq!(codes("page=2&itemsPerPage=1&orderBy=visits-DESC").await, ["other"]);
    assert_eq!(codes("tags[]=a&tags[]=b&tagsMode=all").await, ["summer"]);
    assert_eq!(codes("tags[]=a&tags[]=b&orderBy=shortCode-ASC").await, ["other", "summer"]);
    assert_eq!(codes("searchTerm=shop.test/z&startDate=2020-01-01T00:00:00Z").await, ["other"]);
    let list = shlink.ask("GET /short-urls?itemsPerPage=1", ()).await.expect(200);
    assert_eq!(
        list["shortUrls"]["pagination"],
        json!({"currentPage": 1, "pagesCount": 2, "itemsPerPage": 1, "itemsInCurrentPage": 1, "totalItems": 2})
    );

    let deleted = shlink.ask("DELETE /short-urls/summer", ()).await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    assert_eq!(codes("").await, ["other"]);
}

#[tokio::test]
async fn visits_and_tags_are_told() {
    let shlink = Shlink::start().await;
    shlink.make(json!({"longUrl": "https://shop.test", "customSlug": "one", "tags": ["a", "b"]})).await;
    shlink.make(json!({"longUrl": "https://shop.test", "customSlug": "two", "tags": ["a"]})).await;
    shlink.server.clicks("one", 3, 2).await;
    shlink.server.clicks("two", 1, 0).await;
    let total = async |path: &str| -> Value {
        shlink.ask(&format!("GET {path}"), ()).await.expect(200)["visits"]["pagination"]["totalItems"].clone()
    };
    assert_eq!(total("/short-urls/one/visits").await, 5);
    assert_eq!(total("/short-urls/one/visits?excludeBots=true").await, 3);
    assert_eq!(total("/short-urls/one/visits?endDate=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(total("/tags/a/visits").await, 6);
    assert_eq!(total("/tags/b/visits").await, 5);
    assert_eq!(total("/domains/DEFAULT/visits").await, 6);
    assert_eq!(total("/domains/go.test/visits").await, 6);
    assert_eq!(total("/visits/non-orphan?itemsPerPage=2").await, 6);
    assert_eq!(total("/visits/orphan").await, 0);
    let visits = shlink.ask("GET /short-urls/one/visits", ()).await.expect(200)["visits"]["data"].clone();
    let visits = visits.as_array().unwrap();
    let from_instagram = visits.iter().filter(|visit| visit["referer"] == "l.instagram.com").count();
    assert_eq!((visits.len(), from_instagram), (5, 5));
    let overview = shlink.ask("GET /visits", ()).await.expect(200);
    assert_eq!(overview["visits"]["nonOrphanVisits"], json!({"total": 6, "nonBots": 4, "bots": 2}));

    assert_eq!(shlink.ask("GET /tags", ()).await.expect(200)["tags"]["data"], json!(["a", "b"]));
    let stats = shlink.ask("GET /tags/stats", ()).await.expect(200)["tags"]["data"].clone();
    let summary = json!({"total": 6, "nonBots": 4, "bots": 2});
    assert_eq!(stats[0], json!({"tag": "a", "shortUrlsCount": 2, "visitsSummary": summary}));
    assert_eq!(shlink.ask("PUT /tags", json!({"oldName": "b", "newName": "a"})).await.status, 204);
    assert_eq!(shlink.ask("PUT /tags", json!({"oldName": "none", "newName": "a"})).await.status, 404);
    assert_eq!(shlink.ask("GET /tags", ()).await.expect(200)["tags"]["data"], json!(["a"]));
    assert_eq!(shlink.ask("DELETE /tags?tags[]=a&tags[]=none", ()).await.status, 204);
    assert_eq!(shlink.ask("GET /tags", ()).await.expect(200)["tags"]["data"], json!([]));

    let domains = shlink.ask("GET /domains", ()).await.expect(200)["domains"]["data"].clone();
    assert_eq!((&domains[0]["domain"], &domains[0]["isDefault"]), (&json!("go.test"), &json!(true)));
    for path in ["/rest/v3/health", "/rest/health", "/shlink/rest/v3/health"] {
        let health = shlink.server.ask(&format!("GET {path}"), &[], ()).await.expect(200);
        assert_eq!(health["status"], "pass");
    }
}

#[tokio::test]
async fn only_find_if_exists_dedupes() {
    let shlink = Shlink::start().await;
    let url = "https://shop.test/p";
    let one = shlink.make(json!({"longUrl": url, "tags": ["a"]})).await;
    assert_ne!(shlink.make(json!({"longUrl": url, "tags": ["a"]})).await["shortCode"], one["shortCode"]);
    let newest = shlink.make(json!({"longUrl": url, "tags": ["a"], "post": "p1"})).await;
    let found = async |mut body: Value| {
        body["findIfExists"] = true.into();
        body["longUrl"] = url.into();
        shlink.make(body).await["shortCode"] == newest["shortCode"]
    };
    assert!(found(json!({})).await);
    assert!(found(json!({"tags": ["a"], "post": "p1"})).await);
    assert!(!found(json!({"post": "p2"})).await);
}

#[tokio::test]
async fn mistakes_are_told_in_shlinks_words() {
    let shlink = Shlink::start().await;
    shlink.make(json!({"longUrl": "https://shop.test", "customSlug": "taken"})).await;
    let check = async |request: &str, body: Value, status: u16, word: &str| -> Value {
        let answer = shlink.ask(request, body).await;
        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (status, &"application/problem+json".parse().unwrap())
        );
        let problem = answer.json();
        assert_eq!(problem["type"], format!("https://shlink.io/api/error/{word}"), "{problem}");
        assert_eq!(problem["status"], status);
        problem
    };
    let url = "https://shop.test";
    check("POST /short-urls", json!({"longUrl": url, "customSlug": "taken"}), 400, "non-unique-slug").await;
    let missing = check("POST /short-urls", json!({}), 400, "invalid-data").await;
    assert_eq!(missing["invalidElements"], json!(["longUrl"]));
    check("POST /short-urls", json!({"longUrl": url, "validSince": "2999-01-01"}), 400, "invalid-data").await;
    check("POST /short-urls", json!({"longUrl": url, "deviceLongUrls": {"ios": url}}), 400, "invalid-data")
        .await;
    check("GET /short-urls?orderBy=mood-ASC", json!({}), 400, "invalid-data").await;
    check("GET /short-urls/none", json!({}), 404, "short-url-not-found").await;
    check("POST /short-urls/taken/redirect-rules", json!({"redirectRules": []}), 400, "invalid-data").await;
    let refused = shlink.server.ask("GET /rest/v3/short-urls", &[("x-api-key", "um_wrong")], ()).await;
    assert_eq!(
        (refused.status, &refused.json()["type"]),
        (401, &json!("https://shlink.io/api/error/invalid-api-key"))
    );
}

#[tokio::test]
async fn a_repeated_mistake_is_told_as_it_was() {
    let shlink = Shlink::start().await;
    let headers = [("x-api-key", shlink.key.as_str()), ("idempotency-key", "k1")];
    let ask =
        || shlink.server.ask("POST /rest/v3/short-urls", &headers, json!({"longUrl": "nowhere at all"}));
    let (first, again) = (ask().await, ask().await);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!((again.status, &again.body), (400, &first.body));
    assert_eq!(again.headers["content-type"], "application/problem+json");
}
