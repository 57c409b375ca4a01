//! YOURLS, as n8n, WordPress plugins and the `yourls` package speak it.

use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::server::{Answer, Server};

struct Yourls {
    server: Server,
    key: String,
}

impl Yourls {
    async fn start() -> Self {
        let server = Server::start("").await;
        let key = server.key(&["links"]).await;
        Self { server, key }
    }

    /// A GET, signed by the key.
    async fn get(&self, query: &str) -> Answer {
        let path = format!("GET /yourls-api.php?signature={}&{query}", self.key);
        self.server.ask(&path, &[], ()).await
    }

    async fn json(&self, query: &str, status: u16) -> Value {
        self.get(&format!("format=json&{query}")).await.expect(status)
    }
}

#[tokio::test]
async fn a_link_is_made_expanded_and_counted() {
    let yourls = Yourls::start().await;
    let made = yourls
        .json("action=shorturl&url=https%3A%2F%2Fshop.test%2Fp%3Fa%3D1&keyword=summer&title=Sale", 200)
        .await;
    assert_eq!((&made["status"], &made["statusCode"]), (&json!("success"), &json!("200")));
    assert_eq!((&made["shorturl"], &made["title"]), (&json!("https://go.test/summer"), &json!("Sale")));
    let url = &made["url"];
    assert_eq!(
        (&url["keyword"], &url["url"], &url["title"]),
        (&json!("summer"), &json!("https://shop.test/p?a=1"), &json!("Sale"))
    );
    assert_eq!(url["date"].as_str().unwrap().len(), "2026-11-23 18:00:00".len());

    yourls.server.clicks("summer", 7, 2).await;
    for short in ["summer", "https%3A%2F%2Fgo.test%2Fsummer", "go.test/summer/"] {
        let expanded = yourls.json(&format!("action=expand&shorturl={short}"), 200).await;
        assert_eq!(
            (&expanded["longurl"], &expanded["keyword"]),
            (&json!("https://shop.test/p?a=1"), &json!("summer"))
        );
        let stats = yourls.json(&format!("action=url-stats&shorturl={short}"), 200).await;
        assert_eq!((&stats["link"]["clicks"], &stats["message"]), (&json!("7"), &json!("success")));
        assert_eq!(stats["link"]["timestamp"], url["date"]);
    }
    yourls.json("action=shorturl&url=shop.test/q&keyword=other", 200).await;
    let top = yourls.json("action=stats&filter=top&limit=2", 200).await;
    assert_eq!(
        (&top["links"]["link_1"]["clicks"], &top["links"]["link_2"]["url"]),
        (&json!("7"), &json!("http://shop.test/q"))
    );
    assert_eq!(top["stats"], json!({"total_links": "2", "total_clicks": "7"}));
    let last = yourls.json("action=stats&filter=bottom&limit=1&start=1", 200).await;
    assert_eq!(last["links"]["link_1"]["title"], "Sale");
    assert_eq!(yourls.json("action=db-stats", 200).await["db-stats"]["total_links"], "2");
    assert!(yourls.json("action=version", 200).await["version"].is_string());
}

#[tokio::test]
async fn every_format_is_written() {
    let yourls = Yourls::start().await;
    let shorten = |more: &str| format!("action=shorturl&url=https://shop.test/%3Fa=1%26b=2{more}");
    let simple = yourls.get(&shorten("&keyword=one&format=simple")).await;
    assert_eq!((simple.status, simple.body.as_str()), (200, "https://go.test/one"));
    assert_eq!(
        yourls.get("action=expand&shorturl=one&format=simple").await.body,
        "https://shop.test/?a=1&b=2"
    );

    let xml = yourls.get(&shorten("&keyword=two")).await;
    assert_eq!(xml.headers["content-type"], "application/xml");
    assert!(xml.body.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<result>"), "{}", xml.body);
    assert!(
        xml.body.contains("<url><date>") && xml.body.contains("<url>https://shop.test/?a=1&amp;b=2</url>")
    );
    assert!(xml.body.contains("<shorturl>https://go.test/two</shorturl>"));

    let jsonp = yourls.get("action=db-stats&format=jsonp&callback=on.stats").await;
    assert_eq!(jsonp.headers["content-type"], "application/javascript");
    assert!(jsonp.body.starts_with("on.stats({") && jsonp.body.ends_with("})"), "{}", jsonp.body);

    // What a client might post as it is.
    let failed = yourls.get("action=shorturl&url=&format=simple").await;
    assert_eq!((failed.status, failed.body.as_str()), (400, ""));
}

#[tokio::test]
async fn a_key_is_accepted_in_every_way() {
    let yourls = Yourls::start().await;
    let (server, key) = (&yourls.server, &yourls.key);
    let query = "action=db-stats&format=json";
    let bearer = format!("Bearer {key}");
    server.ask(&format!("GET /yourls-api.php?{query}&signature={key}"), &[], ()).await.expect(200);
    server.ask(&format!("GET /yourls-api.php?{query}&username=me&password={key}"), &[], ()).await.expect(200);
    server.ask(&format!("GET /yourls-api.php?{query}"), &[("authorization", &bearer)], ()).await.expect(200);
    let form = format!("{query}&signature={key}");
    server.ask("POST /yourls-api.php", &[], form.as_str()).await.expect(200);
    server.ask(&format!("POST /yourls-api.php?{query}"), &[], json!({"signature": key})).await.expect(200);

    // As PHP's curl sends an array of fields.
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body =
        [part("signature", key), part("action", "db-stats"), part("format", "json"), "--b--\r\n".into()];
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    server.ask("POST /yourls-api.php", &headers, crate::server::Sent::Raw(body.concat())).await.expect(200);

    let (_, token) = server.key_and_token(&["links"]).await;
    let now_s = utmost::domain::time::now_ms() / 1000;
    for (hash, signature) in [
        ("", hex::encode(Md5::digest(format!("{now_s}{token}")))),
        ("&hash=md5", hex::encode(Md5::digest(format!("{token}{now_s}")))),
        ("&hash=sha256", hex::encode(Sha256::digest(format!("{now_s}{token}")))),
    ] {
        let path = format!("GET /yourls-api.php?{query}&timestamp={now_s}&signature={signature}{hash}");
        server.ask(&path, &[], ()).await.expect(200);
        let wrong = path.replace(&format!("timestamp={now_s}"), &format!("timestamp={}", now_s - 1));
        server.ask(&wrong, &[], ()).await.expect(403);
    }

    for query in ["", "&signature=um_wrong", "&username=me&password=wrong"] {
        let path = format!("GET /yourls-api.php?action=db-stats&format=json{query}");
        let refused = server.ask(&path, &[], ()).await.expect(403);
        assert_eq!((&refused["errorCode"], refused["message"].is_string()), (&json!("403"), true));
    }
    let xml = server.ask("GET /yourls-api.php?action=db-stats", &[], ()).await;
    assert_eq!((xml.status, xml.body.contains("<errorCode>403</errorCode>")), (403, true));
}

#[tokio::test]
async fn mistakes_are_told_in_yourls_words() {
    let yourls = Yourls::start().await;
    yourls.json("action=shorturl&url=https://shop.test&keyword=taken", 200).await;
    let check = async |query: &str, status: u16, code: &str| {
        let failed = yourls.json(query, status).await;
        assert_eq!((&failed["status"], &failed["code"]), (&json!("fail"), &json!(code)), "{failed}");
        assert_eq!(failed["errorCode"], status.to_string());
    };
    check("action=shorturl&url=https://shop.test&keyword=taken", 400, "error:keyword").await;
    check("action=shorturl&url=https://shop.test&keyword=api", 400, "error:keyword").await;
    check("action=shorturl&url=https://shop.test&keyword=a%20b", 400, "error:keyword").await;
    check("action=shorturl", 400, "error:nourl").await;
    check("action=shorturl&url=javascript:alert(1)", 400, "error:nourl").await;
    check("action=shorturl&url=https://go.test/taken", 400, "error:noloop").await;
    let unknown = yourls.json("action=expand&shorturl=none", 404).await;
    assert_eq!(unknown["message"], "Error: short URL not found");
    let unknown = yourls.json("action=dance", 400).await;
    assert_eq!(unknown["message"], "Unknown or missing \"action\" parameter");
}

#[tokio::test]
async fn a_destination_makes_a_new_link_each_time() {
    let yourls = Yourls::start().await;
    let one = yourls.json("action=shorturl&url=https://shop.test&post=p1", 200).await;
    let two = yourls.json("action=shorturl&url=https://shop.test&post=p2", 200).await;
    assert_ne!(one["shorturl"], two["shorturl"]);
    let of_post = yourls.server.native("GET /api/v1/links?post=p2", ()).await;
    assert_eq!(of_post["data"][0]["short_url"], two["shorturl"]);
}
