//! Kutt, as the `kutt` packages speak it.

use serde_json::{Value, json};

use crate::server::{Answer, Sent, Server};

struct Kutt {
    server: Server,
    key: String,
}

impl Kutt {
    async fn start() -> Self {
        let server = Server::start("").await;
        let key = server.key(&["links"]).await;
        Self { server, key }
    }

    async fn ask(&self, request: &str, body: impl Into<Sent>) -> Answer {
        self.server.ask(request, &[("x-api-key", &self.key)], body).await
    }
}

#[tokio::test]
async fn a_link_is_made_changed_counted_and_deleted() {
    let kutt = Kutt::start().await;
    let made = kutt
        .ask(
            "POST /api/v2/links",
            json!({"target": "https://shop.test/p?a=1", "customurl": "summer", "description": "d",
                "expire_in": "2 days", "domain": "kutt.it", "reuse": false, "post": "p1", "external_id": "e1"}),
        )
        .await
        .expect(201);
    let expected = json!({"address": "summer", "link": "https://go.test/summer", "target": "https://shop.test/p?a=1",
        "domain": null, "description": "d", "visit_count": 0, "banned": false, "password": false});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    let id = made["id"].as_str().unwrap();
    assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 8);
    let native = kutt.server.native("GET /api/v1/links/by-external-id/e1", ()).await;
    assert_eq!((&native["post"], &native["expires_at"]), (&json!("p1"), &made["expire_in"]));

    kutt.server.clicks("summer", 7, 2).await;
    for name in [id, "summer", native["id"].as_str().unwrap()] {
        for method in ["GET", "DELETE"] {
            let stats = kutt.ask(&format!("{method} /api/v2/links/{name}/stats"), ()).await.expect(200);
            assert_eq!((&stats["id"], &stats["visit_count"]), (&made["id"], &json!(7)));
            assert_eq!(stats["lastDay"]["views"].as_array().unwrap().len(), 24);
            assert_eq!(stats["lastWeek"]["views"], json!([0, 0, 0, 0, 0, 0, 7]));
            assert_eq!(stats["lastMonth"]["views"].as_array().unwrap().len(), 30);
            assert_eq!(
                (&stats["lastYear"]["views"][11], &stats["lastYear"]["total"]),
                (&json!(7), &json!(7))
            );
            assert_eq!(stats["lastYear"]["stats"]["country"], json!([{"name": "DE", "value": 7}]));
        }
    }
    let changed = kutt
        .ask(
            &format!("PATCH /api/v2/links/{id}"),
            json!({"target": "https://shop.test/q", "address": "autumn"}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&changed["link"], &changed["target"], &changed["visit_count"]),
        (&json!("https://go.test/autumn"), &json!("https://shop.test/q"), &json!(7))
    );
    assert_eq!(kutt.ask("GET /api/v2/links?limit=5&skip=0&all=False", ()).await.expect(200)["total"], 1);
    kutt.ask(&format!("DELETE /kutt/api/v2/links/{id}"), ()).await.expect(200);
    assert_eq!(kutt.ask("GET /api/v2/links", ()).await.expect(200)["data"], json!([]));
    assert_eq!(kutt.server.ask("GET /api/v2/health", &[], ()).await.body, "OK");
    assert_eq!(kutt.ask("GET /api/v2/users", ()).await.expect(200)["domains"][0]["address"], "go.test");
}

#[tokio::test]
async fn a_form_will_do_and_only_reuse_dedupes() {
    let kutt = Kutt::start().await;
    let make = async |form: &str, status: u16| -> Value {
        kutt.ask("POST /api/v2/links", form).await.expect(status)["link"].clone()
    };
    let one = make("target=https%3A%2F%2Fshop.test&reuse=false&post=p1", 201).await;
    assert_ne!(make("target=https%3A%2F%2Fshop.test", 201).await, one);
    let newest = make("target=https%3A%2F%2Fshop.test&post=p2", 201).await;
    assert_eq!(make("target=https%3A%2F%2Fshop.test&reuse=true", 200).await, newest);
    // Another post's link would credit that one.
    assert_ne!(make("target=https%3A%2F%2Fshop.test&reuse=true&post=p3", 201).await, newest);
}

#[tokio::test]
async fn mistakes_are_told_in_kutts_words() {
    let kutt = Kutt::start().await;
    kutt.ask("POST /api/v2/links", json!({"target": "https://shop.test", "customurl": "taken"}))
        .await
        .expect(201);
    let check = async |request: &str, body: Value, status: u16| {
        let error = kutt.ask(request, body).await.expect(status);
        assert!(error["error"].as_str().unwrap().len() > 10, "{error}");
    };
    check("POST /api/v2/links", json!({"target": "https://shop.test", "customurl": "taken"}), 400).await;
    check("POST /api/v2/links", json!({}), 400).await;
    check("POST /api/v2/links", json!({"target": "https://shop.test", "expire_in": "soon"}), 400).await;
    check("POST /api/v2/links", json!({"target": "https://shop.test", "password": "x"}), 400).await;
    check("PATCH /api/v2/links/none", json!({"target": "https://shop.test"}), 404).await;
    check("DELETE /api/v2/links/00000000-0000-8000-8000-000000000000", json!({}), 404).await;
    let refused = kutt.server.ask("GET /api/v2/links", &[("x-api-key", "um_wrong")], ()).await;
    assert!(refused.expect(401)["error"].is_string());

    let off = Server::start("[dialects]\nenabled = [\"dub\"]").await;
    assert_eq!(off.ask("GET /api/v2/health", &[], ()).await.status, 404);
}
