//! Bitly, as `pyshorteners` and other clients with a base URL of their own speak it.

use serde_json::{Value, json};

use crate::server::{Answer, Sent, Server};

struct Bitly {
    server: Server,
    key: String,
}

impl Bitly {
    async fn start() -> Self {
        let server = Server::start("").await;
        let key = server.key(&["links"]).await;
        Self { server, key }
    }

    async fn ask(&self, request: &str, body: impl Into<Sent>) -> Answer {
        let request = request.replacen(' ', " /v4", 1);
        self.server.ask(&request, &[("authorization", &format!("Bearer {}", self.key))], body).await
    }
}

#[tokio::test]
async fn a_bitlink_is_made_expanded_changed_and_counted() {
    let bitly = Bitly::start().await;
    let made = bitly
        .ask(
            "POST /bitlinks",
            json!({"long_url": "https://shop.test/p?a=1", "domain": "bit.ly", "group_guid": "Ba1bc23dE4F",
                "title": "T", "tags": ["a"], "post": "p1", "external_id": "e1", "keyword": "summer", "deeplinks": []}),
        )
        .await
        .expect(201);
    let expected = json!({"id": "go.test/summer", "link": "https://go.test/summer", "title": "T", "tags": ["a"],
        "long_url": "https://shop.test/p?a=1", "archived": false, "custom_bitlinks": [], "deeplinks": []});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    assert!(made["created_at"].as_str().unwrap().ends_with("+0000"));
    assert_eq!(bitly.server.native("GET /api/v1/links/by-external-id/e1", ()).await["post"], "p1");
    for id in ["go.test/summer", "bit.ly/summer", "https://go.test/summer"] {
        let expanded = bitly.ask("POST /expand", json!({"bitlink_id": id})).await.expect(200);
        assert_eq!((&expanded["long_url"], &expanded["id"]), (&made["long_url"], &made["id"]));
    }

    bitly.server.clicks("summer", 7, 2).await;
    let clicks = bitly.ask("GET /bitlinks/go.test/summer/clicks", ()).await.expect(200);
    assert_eq!((&clicks["unit"], &clicks["units"]), (&json!("day"), &json!(-1)));
    assert_eq!(
        (&clicks["link_clicks"][0]["clicks"], clicks["link_clicks"].as_array().unwrap().len()),
        (&json!(7), 1)
    );
    for (unit, units, length) in [("day", 30, 30), ("week", 4, 4), ("month", 12, 12)] {
        let path = format!("GET /bitlinks/bit.ly/summer/clicks?unit={unit}&units={units}");
        let clicks = bitly.ask(&path, ()).await.expect(200)["link_clicks"].clone();
        assert_eq!(
            (clicks.as_array().unwrap().len(), &clicks[0]["clicks"], &clicks[1]["clicks"]),
            (length, &json!(7), &json!(0))
        );
    }
    let before = "unit=day&units=7&unit_reference=2020-01-01T00:00:00%2B0000";
    for (query, expected) in [("", 7), ("unit=month&units=1", 7), (before, 0)] {
        let summary =
            bitly.ask(&format!("GET /bitlinks/go.test/summer/clicks/summary?{query}"), ()).await.expect(200);
        assert_eq!(summary["total_clicks"], expected, "{query}");
    }
    let countries = bitly.ask("GET /bitlinks/go.test/summer/countries", ()).await.expect(200);
    assert_eq!(countries["metrics"], json!([{"value": "DE", "clicks": 7}]));

    let changed = bitly
        .ask("PATCH /bitlinks/go.test/summer", json!({"title": "U", "archived": false}))
        .await
        .expect(200);
    assert_eq!((&changed["title"], &changed["long_url"]), (&json!("U"), &made["long_url"]));
    let custom = json!({"bitlink_id": "go.test/summer", "custom_bitlink": "bit.ly/autumn"});
    let renamed = bitly.ask("POST /custom_bitlinks", custom).await.expect(200);
    assert_eq!(renamed["custom_bitlink"], "https://go.test/autumn");
    bitly.ask("GET /bitlinks/go.test/autumn", ()).await.expect(200);
}

#[tokio::test]
async fn groups_are_workspaces() {
    let bitly = Bitly::start().await;
    let one = bitly.ask("POST /shorten", json!({"long_url": "https://shop.test"})).await.expect(201);
    let two = bitly.ask("POST /shorten", json!({"long_url": "https://shop.test"})).await.expect(201);
    assert_ne!(one["link"], two["link"]);
    let user = bitly.ask("GET /user", ()).await.expect(200);
    let group = user["default_group_guid"].as_str().unwrap();
    assert_eq!(bitly.ask("GET /groups", ()).await.expect(200)["groups"][0]["guid"], group);
    bitly.ask(&format!("GET /groups/{group}"), ()).await.expect(200);
    let list = bitly.ask(&format!("GET /groups/{group}/bitlinks?size=1"), ()).await.expect(200);
    assert_eq!((&list["links"][0]["link"], &list["pagination"]["total"]), (&two["link"], &json!(2)));
    assert!(list["pagination"]["next"].as_str().unwrap().ends_with("page=2&size=1"));
    bitly.ask("GET /groups/other/bitlinks", ()).await.expect(404);
}

#[tokio::test]
async fn mistakes_are_told_in_bitlys_words() {
    let bitly = Bitly::start().await;
    bitly
        .ask("POST /bitlinks", json!({"long_url": "https://shop.test", "keyword": "taken"}))
        .await
        .expect(201);
    let check = async |request: &str, body: Value, status: u16, message: &str| -> Value {
        let error = bitly.ask(request, body).await.expect(status);
        assert_eq!(error["message"], message, "{error}");
        assert!(error["description"].as_str().unwrap().len() > 10, "{error}");
        error
    };
    let error = check("POST /shorten", json!({}), 400, "INVALID_ARG").await;
    assert_eq!(error["errors"][0]["field"], "long_url");
    check(
        "POST /bitlinks",
        json!({"long_url": "https://shop.test", "keyword": "taken"}),
        409,
        "ALREADY_EXISTS",
    )
    .await;
    check("POST /shorten", json!({"long_url": "https://shop.test", "domain": "x.test"}), 400, "INVALID_ARG")
        .await;
    check("GET /bitlinks/go.test/none", json!({}), 404, "NOT_FOUND").await;
    check("GET /bitlinks/go.test/taken/clicks?unit=hour", json!({}), 400, "INVALID_ARG").await;
    let refused = bitly.server.ask("GET /v4/user", &[("authorization", "Bearer um_wrong")], ()).await;
    assert_eq!(refused.expect(403)["message"], "FORBIDDEN");
}
