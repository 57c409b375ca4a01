//! Dub, as Postiz and the `dub` packages speak it.

use serde_json::{Value, json};

use crate::server::{ADMIN_KEY, Answer, Sent, Server};

struct Dub {
    server: Server,
    key: String,
}

impl Dub {
    async fn start() -> Self {
        Self::with_config("").await
    }

    async fn with_config(toml: &str) -> Self {
        let server = Server::start(toml).await;
        let key = server.key(&["links", "conversions"]).await;
        Self { server, key }
    }

    async fn ask(&self, request: &str, body: impl Into<Sent>) -> Answer {
        self.ask_with(&self.key, request, body).await
    }

    async fn ask_with(&self, key: &str, request: &str, body: impl Into<Sent>) -> Answer {
        self.server.ask(request, &[("authorization", &format!("Bearer {key}"))], body).await
    }

    async fn make(&self, body: Value) -> Value {
        self.ask("POST /links", body).await.expect(200)
    }
}

/// What the SDKs refuse to do without, though most may be null.
const LINK_FIELDS: &str = "id domain key url externalId tenantId programId partnerId expiresAt expiredUrl \
    disabledAt password title description image video ios android geo tags folderId comments shortLink qrCode \
    utm_source utm_medium utm_campaign utm_term utm_content userId workspaceId lastClicked createdAt updatedAt \
    tagId projectId webhookIds";

#[tokio::test]
async fn a_scheduler_makes_a_link_and_reads_its_clicks() {
    let dub = Dub::start().await;
    // As Postiz sends it, told of another base URL and nothing else.
    let made =
        dub.make(json!({"url": "https://shop.test/p?a=1", "tenantId": "org-1", "domain": "dub.sh"})).await;
    let object = made.as_object().unwrap();
    for name in LINK_FIELDS.split_whitespace() {
        assert!(object.contains_key(name), "{name}");
    }
    let key = made["key"].as_str().unwrap();
    assert_eq!(made["shortLink"], format!("https://go.test/{key}"));
    assert_eq!((&made["domain"], &made["tenantId"]), (&json!("go.test"), &json!("org-1")));
    assert_eq!((&made["url"], &made["utm_medium"]), (&json!("https://shop.test/p?a=1"), &json!("social")));
    assert!(made["webhookIds"].is_array() && made["qrCode"].as_str().unwrap().contains("/dub/qr?url="));

    dub.server.clicks(key, 7, 2).await;
    dub.server.credit(key, "purchase", 1, 1999).await;
    dub.server.credit(key, "lead", 2, 0).await;
    for request in [
        format!("GET /links/info?domain=dub.sh&key={key}"),
        format!("GET /links/info?domain=go.test&key={key}"),
        format!("GET /links/info?domain=https://go.test/{key}"),
        format!("GET /links/info?linkId={}", made["id"].as_str().unwrap()),
        format!("GET /dub/links/info?domain=go.test/{key}"),
        format!("GET /links/{}", made["id"].as_str().unwrap()),
    ] {
        let info = dub.ask(&request, ()).await.expect(200);
        assert_eq!((&info["url"], &info["clicks"]), (&made["url"], &json!(7)), "{request}");
        assert_eq!(
            (&info["sales"], &info["saleAmount"], &info["leads"]),
            (&json!(1), &json!(1999), &json!(1))
        );
    }

    let of_tenant = dub.ask("GET /links?tenantId=org-1&page=1&pageSize=100", ()).await.expect(200);
    assert_eq!(of_tenant.as_array().unwrap().len(), 1);
    let of_other = dub.ask("GET /links?tenantId=org&page=1&pageSize=100", ()).await.expect(200);
    assert_eq!(of_other, json!([]));

    let query = format!("GET /analytics?event=composite&groupBy=count&domain=go.test&key={key}");
    let figures = dub.ask(&query, ()).await.expect(200);
    assert_eq!(figures, json!({"clicks": 7, "leads": 1, "sales": 1, "saleAmount": 1999}));
}

#[tokio::test]
async fn what_a_link_can_be_told_is_kept() {
    let dub = Dub::start().await;
    let made = dub
        .make(json!({"url": "shop.test/p", "key": "summer", "externalId": "post-1", "tagNames": ["a", "b"],
            "expiresAt": "2030-01-02", "title": "T", "comments": "mine", "utm_source": "instagram", "utm_content": "c",
            "trackConversion": true, "archived": true, "password": null, "ios": "", "geo": {}, "post": "p1",
            "image": null, "unheard": {"of": 1}}))
        .await;
    let expected = json!({"url": "https://shop.test/p", "key": "summer", "externalId": "post-1", "title": "T",
        "comments": "mine", "expiresAt": "2030-01-02T00:00:00Z", "utm_source": "instagram", "utm_content": "c",
        "trackConversion": true, "archived": true});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    assert_eq!(made["tags"][1]["name"], "b");
    let native = dub.server.native("GET /api/v1/links/by-external-id/post-1", ()).await;
    assert_eq!(
        (&native["post"], &native["network"], &native["archived_at"]),
        (&json!("p1"), &json!("instagram"), &Value::Null)
    );
    // A link can be tied to a post later too.
    dub.server.native("PUT /api/v1/links/by-external-id/post-1", json!({"post": "p2"})).await;

    let changed = dub
        .ask(
            "PATCH /links/ext_post-1",
            json!({"title": null, "archived": false, "utm_content": null, "comments": null}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&changed["title"], &changed["archived"], &changed["comments"]),
        (&Value::Null, &json!(false), &Value::Null)
    );
    assert_eq!(changed["utm_content"], changed["id"]);
    assert_eq!(dub.ask("GET /links/info?externalId=ext_post-1", ()).await.expect(200)["key"], "summer");

    let deleted = dub.ask("DELETE /links/ext_post-1", ()).await.expect(200);
    assert_eq!(deleted["id"], made["id"]);
    assert_eq!(
        dub.ask("GET /links/info?externalId=post-1", ()).await.expect(404)["error"]["code"],
        "not_found"
    );
    assert_eq!(dub.ask("GET /links", ()).await.expect(200), json!([]));
}

#[tokio::test]
async fn mistakes_are_told_in_dubs_words() {
    let dub = Dub::start().await;
    dub.make(json!({"url": "https://shop.test", "key": "taken", "externalId": "e"})).await;
    let check = async |request: &str, body: Value, status: u16, code: &str| {
        let error = dub.ask(request, body).await.expect(status)["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().len() > 10, "{error}");
    };
    check("POST /links", json!({"url": "https://shop.test", "key": "taken"}), 409, "conflict").await;
    check("POST /links", json!({"url": "https://shop.test", "externalId": "e"}), 409, "conflict").await;
    check("POST /links", json!({}), 422, "unprocessable_entity").await;
    check("POST /links", json!({"url": "https://go.test/taken"}), 422, "unprocessable_entity").await;
    check(
        "POST /links",
        json!({"url": "https://shop.test", "domain": "x.test"}),
        422,
        "unprocessable_entity",
    )
    .await;
    check("POST /links", json!({"url": "https://shop.test", "password": "x"}), 422, "unprocessable_entity")
        .await;
    check(
        "POST /links",
        json!({"url": "https://shop.test", "expiresAt": "soon"}),
        422,
        "unprocessable_entity",
    )
    .await;
    check("POST /links", json!([]), 400, "bad_request").await;
    check("PUT /links", json!({}), 405, "bad_request").await;
    check("PATCH /links/bulk", json!({"linkIds": ["x"]}), 422, "unprocessable_entity").await;
    check("GET /links/info", json!({}), 422, "unprocessable_entity").await;
    check("GET /links/info?domain=go.test&key=none", json!({}), 404, "not_found").await;
    check("GET /analytics?groupBy=moods", json!({}), 422, "unprocessable_entity").await;

    let answer = dub.ask_with("um_wrong", "GET /links", ()).await;
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    assert_eq!(answer.expect(401)["error"]["code"], "unauthorized");
    let reports = dub.server.key(&["reports"]).await;
    let refused = dub.ask_with(&reports, "POST /links", json!({"url": "https://shop.test"})).await;
    assert_eq!(refused.expect(403)["error"]["code"], "forbidden");
    dub.ask_with(&reports, "GET /links/count", ()).await.expect(200);
}

#[tokio::test]
async fn many_links_in_one_call() {
    let dub = Dub::start().await;
    let made = dub
        .ask(
            "POST /links/bulk",
            json!([
                {"url": "https://shop.test/1", "externalId": "1"},
                {"url": "nonsense:"},
                {"url": "https://shop.test/2", "expiresAt": "never"},
                {"url": "https://shop.test/3", "tagIds": "x,y"},
            ]),
        )
        .await
        .expect(200);
    assert_eq!(
        (&made[1]["code"], &made[1]["link"]["url"]),
        (&json!("unprocessable_entity"), &json!("nonsense:"))
    );
    assert_eq!(made[2]["code"], "unprocessable_entity");
    // By id, as lists are: links of one call have the same time.
    let mut ids: Vec<&str> = [&made[0], &made[3]].map(|link| link["id"].as_str().unwrap()).to_vec();
    ids.sort_unstable();

    assert_eq!(dub.ask("GET /links/count", ()).await.expect(200), json!(2));
    assert_eq!(dub.ask("GET /links/count?tagNames=y", ()).await.expect(200), json!(1));
    assert_eq!(dub.ask("GET /links/count?search=SHOP.test/1", ()).await.expect(200), json!(1));
    let pages = [1, 2, 3].map(|page| format!("GET /links?pageSize=1&page={page}&sortOrder=asc"));
    let mut seen = Vec::new();
    for page in pages {
        let links = dub.ask(&page, ()).await.expect(200);
        seen.extend(links.as_array().unwrap().iter().map(|link| link["id"].clone()));
    }
    assert_eq!(seen, ids);
    let after = dub.ask(&format!("GET /links?startingAfter={}", ids[1]), ()).await.expect(200);
    assert_eq!(after[0]["id"], ids[0]);

    let body = json!({"externalIds": ["1"], "linkIds": [ids[0], ids[1], "gone"], "data": {"folderId": "f"}});
    let changed = dub.ask("PATCH /links/bulk", body).await.expect(200);
    assert_eq!(changed.as_array().unwrap().len(), 2);
    assert_eq!(dub.ask("GET /links?folderId=f", ()).await.expect(200).as_array().unwrap().len(), 2);
    let deleted = dub.ask(&format!("DELETE /links/bulk?linkIds={},{}", ids[0], ids[1]), ()).await.expect(200);
    assert_eq!(deleted, json!({"deletedCount": 2}));
}

#[tokio::test]
async fn a_destination_makes_a_new_link_each_time_but_for_an_upsert() {
    let dub = Dub::start().await;
    let body = json!({"url": "https://shop.test/p"});
    let (one, two) = (dub.make(body.clone()).await, dub.make(body).await);
    assert_ne!(one["id"], two["id"]);
    let body = json!({"url": "https://shop.test/p", "title": "T"});
    let upserted = dub.ask("PUT /links/upsert", body).await.expect(200);
    assert_eq!((&upserted["id"], &upserted["title"]), (&two["id"], &json!("T")));
    let new = dub.ask("PUT /links/upsert", json!({"url": "https://shop.test/q"})).await.expect(200);
    assert_ne!(new["id"], two["id"]);
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first() {
    let dub = Dub::start().await;
    let bearer = format!("Bearer {}", dub.key);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let send = async |body: Value| dub.server.ask("POST /links", &headers, body).await;
    let first = send(json!({"url": "https://shop.test"})).await.expect(200);
    assert_eq!(send(json!({"url": "https://shop.test"})).await.expect(200), first);
    let other = send(json!({"url": "https://else.test"})).await.expect(422);
    assert_eq!(other["error"]["code"], "unprocessable_entity");
    assert_eq!(dub.ask("GET /links/count", ()).await.expect(200), json!(1));

    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k2")];
    let wrong = async || dub.server.ask("POST /links", &headers, json!({"url": "x:"})).await.expect(422);
    assert_eq!(wrong().await, wrong().await);
}

#[tokio::test]
async fn tenants_are_workspaces_for_a_platform_key() {
    let dub = Dub::with_config("[dialects.dub_tenants]\norg-1 = \"acme\"").await;
    dub.server.native("POST /api/v1/workspaces", json!({"id": "acme", "name": "Acme"})).await;
    let platform = async |request: &str, body: Sent| dub.ask_with(ADMIN_KEY, request, body).await;
    let body = json!({"url": "https://shop.test", "tenantId": "org-1"});
    let made = platform("POST /links", body.into()).await.expect(200);
    assert_eq!((&made["workspaceId"], &made["tenantId"]), (&json!("ws_acme"), &json!("org-1")));
    let bulk = json!([{"url": "https://a.test", "tenantId": "org-1"}, {"url": "https://b.test", "tenantId": "org-2"}]);
    let bulk = platform("POST /links/bulk", bulk.into()).await.expect(200);
    assert_eq!((&bulk[0]["workspaceId"], &bulk[1]["workspaceId"]), (&json!("ws_acme"), &json!("ws_default")));

    // Statistics are asked for without the tenant.
    let key = made["key"].as_str().unwrap();
    let info = platform(&format!("GET /links/info?domain=go.test&key={key}"), ().into()).await.expect(200);
    assert_eq!(info["id"], made["id"]);
    let list = platform("GET /links?tenantId=org-1", ().into()).await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let figures = platform("GET /analytics?event=composite&tenantId=org-1", ().into()).await.expect(200);
    assert_eq!(figures["clicks"], 0);
    platform("GET /analytics?event=composite&tenantId=org-2", ().into()).await.expect(422);

    // Another workspace's own key sees nothing of it.
    dub.ask(&format!("GET /links/info?domain=go.test&key={key}"), ()).await.expect(404);
    assert_eq!(dub.ask("GET /links?tenantId=org-1", ()).await.expect(200), json!([]));
    dub.ask(&format!("DELETE /links/{}", made["id"].as_str().unwrap()), ()).await.expect(404);
}

#[tokio::test]
async fn analytics_come_from_the_report() {
    let dub = Dub::start().await;
    let link = dub.make(json!({"url": "https://shop.test", "key": "a", "utm_source": "x"})).await;
    dub.make(json!({"url": "https://shop.test", "key": "b"})).await;
    dub.server.clicks("a", 5, 1).await;
    dub.server.clicks("b", 2, 0).await;
    dub.server.credit("a", "purchase", 1, 1000).await;
    dub.server.credit("a", "lead", 2, 0).await;
    let ask = async |query: &str| dub.ask(&format!("GET /analytics?{query}"), ()).await.expect(200);
    let all = json!({"clicks": 7, "leads": 1, "sales": 1, "saleAmount": 1000});
    assert_eq!(ask("event=composite").await, all);
    assert_eq!(ask("").await, json!({"clicks": 7}));
    assert_eq!(ask("event=sales&interval=all").await, json!({"sales": 1, "saleAmount": 1000}));
    assert_eq!(ask("event=clicks&start=2020-01-01&end=2020-02-01").await, json!({"clicks": 0}));
    assert_eq!(ask(&format!("linkId={}", link["id"].as_str().unwrap())).await, json!({"clicks": 5}));

    let days = ask("event=composite&groupBy=timeseries&interval=7d").await;
    let days = days.as_array().unwrap();
    assert_eq!(days.len(), 8);
    assert_eq!(
        (&days[7]["clicks"], &days[7]["sales"], &days[6]["clicks"]),
        (&json!(7), &json!(1), &json!(0))
    );
    let top = ask("event=composite&groupBy=top_links").await;
    assert_eq!((&top[0]["key"], &top[0]["leads"], &top[1]["clicks"]), (&json!("a"), &json!(1), &json!(2)));
    assert_eq!(
        ask("groupBy=countries").await,
        json!([{"country": "DE", "region": "*", "city": "*", "clicks": 7}])
    );
    assert_eq!(ask("groupBy=devices&domain=go.test&key=b").await, json!([{"device": "Mobile", "clicks": 2}]));
    assert_eq!(ask("groupBy=referers").await, json!([{"referer": "l.instagram.com", "clicks": 7}]));
    assert_eq!(ask("groupBy=utm_sources").await, json!([{"utm_source": "x", "clicks": 5}]));
}

#[tokio::test]
async fn a_disabled_dialect_is_not_there() {
    let dub = Dub::with_config("[dialects]\nenabled = []").await;
    assert_eq!(dub.ask("GET /links", ()).await.status, 404);
}

#[tokio::test]
async fn a_code_is_drawn_for_a_short_url() {
    let dub = Dub::start().await;
    let made = dub.make(json!({"url": "https://shop.test"})).await;
    let path = made["qrCode"].as_str().unwrap().strip_prefix("https://go.test").unwrap();
    let picture = dub.server.ask(&format!("GET {path}"), &[], ()).await;
    assert_eq!((picture.status, &picture.headers["content-type"]), (200, &"image/png".parse().unwrap()));
    assert!(picture.body.contains("IHDR"));
    dub.server.ask("GET /dub/qr", &[], ()).await.expect(422);
}

#[tokio::test]
async fn leads_and_sales_are_taken() {
    let dub = Dub::start().await;
    let lead = dub
        .ask(
            "POST /track/lead",
            json!({"clickId": "tok", "eventName": "Sign up", "customerExternalId": "c1", "customerEmail": "a@b.test",
                "customerName": null, "customerAvatar": null, "mode": "async"}),
        )
        .await
        .expect(200);
    assert_eq!((&lead["click"]["id"], &lead["link"]), (&json!("tok"), &Value::Null));
    assert_eq!(lead["customer"]["externalId"], "c1");
    let sale = json!({"customerExternalId": "c1", "amount": 1999, "currency": "eur", "invoiceId": "i1",
        "eventName": "Purchase", "paymentProcessor": "stripe", "leadEventName": null, "metadata": {"a": 1}});
    let answer = dub.ask("POST /track/sale", sale.clone()).await.expect(200);
    assert_eq!(
        answer["sale"],
        json!({"amount": 1999, "currency": "eur", "paymentProcessor": "stripe", "invoiceId": "i1",
            "metadata": {"a": 1}})
    );
    assert_eq!(answer["customer"]["externalId"], "c1");
    let check = async |path: &str, body: Value| {
        let error = dub.ask(&format!("POST /track/{path}"), body).await.expect(422)["error"].clone();
        assert_eq!(error["code"], "unprocessable_entity", "{error}");
    };
    check("sale", json!({"customerExternalId": "c1", "amount": 19.99})).await;
    check("sale", json!({"customerExternalId": "c1", "amount": -1})).await;
    check("sale", json!({"amount": 1})).await;
    check("sale", json!({"customerExternalId": "c1", "amount": 1, "currency": "EURO"})).await;
    check("lead", json!({"clickId": "tok", "customerExternalId": "c1"})).await;
    let links = dub.server.key(&["links"]).await;
    dub.ask_with(&links, "POST /track/sale", sale).await.expect(403);
}
