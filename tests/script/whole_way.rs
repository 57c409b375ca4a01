//! From the click on a short link to the credited order, by a real browser through the real program.

use http::Method;
use serde_json::{Value, json};
use utmost::cli::client::Client;

use crate::browser::Browser;
use crate::shop::Shop;
use crate::support::{Server, eventually, settled};
use crate::{FORM, WITHIN, field, kept};

async fn post(client: &Client, path: &str, body: Value) -> Value {
    client.api(Method::POST, path, Some(body)).await.unwrap()
}

async fn link(client: &Client, url: &str, post_id: &str) -> String {
    let link = post(client, "/api/v1/links", json!({"url": url, "post": post_id})).await;
    link["short_url"].as_str().unwrap().to_owned()
}

/// What a browser reports says which clicks led to an order; whatever money it names is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_finds_its_click_by_what_the_page_reports() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let client = server.client();
    let shop = Shop::open_with(&server.base).await;
    let key = post(&client, "/api/v1/keys", json!({"name": "pages", "scopes": ["publishable"]})).await;
    shop.page("/hat", "", "", "");
    shop.page("/thanks", "", &format!("data-key={}", key["key"]), "");
    let link = link(&client, &shop.url("/hat"), "p1").await;

    let browser = Browser::start().await;
    browser.open(&link).await;
    assert_eq!(kept(&browser).await.len(), 1, "{}", browser.run("return location.href").await);
    browser.open(&shop.url("/thanks")).await;
    for id in ["1001", "2001"] {
        let report = format!("utmost('conversion', {{id: '{id}', amount: '9999.00', currency: 'USD'}})");
        browser.run(&report).await;
        let path = format!("/api/v1/deliveries?order_id={id}");
        settled(&client, &path, |list| list["data"][0]["result"] == "accepted").await;
    }
    post(&client, "/api/v1/conversions", json!({"id": "1001", "amount": "50.00", "currency": "USD"})).await;
    let attributed = |page: &Value| page["data"][0]["status"] == "attributed";
    let all = settled(&client, "/api/v1/conversions", attributed).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 1, "no order came of 2001");
    let order = client.api(Method::GET, "/api/v1/conversions/1001", None).await.unwrap();
    assert_eq!((&order["amount"], &order["net_revenue"]), (&json!("50.00"), &json!("50.00")));
    assert_eq!(order["match"]["method"], "click_token");
    assert_eq!(order["touches"][0]["post"], "p1");
}

/// In strict mode short links set no cookie and tokens name no visitor. Who consents in the shop is one visitor
/// of two clicks there; of who does not, nothing goes with the order.
#[tokio::test(flavor = "multi_thread")]
async fn in_strict_mode_consent_alone_connects_two_clicks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("UTMOST_PRIVACY__MODE", "strict")]);
    let client = server.client();
    let shop = Shop::open_with(&server.base).await;
    shop.page("/", "", "data-consent=\"required\"", FORM);
    let links = [link(&client, &shop.url("/"), "p1").await, link(&client, &shop.url("/"), "p2").await];

    for (n, consents) in [true, false].into_iter().enumerate() {
        let browser = Browser::start().await;
        for link in &links {
            browser.open(link).await;
            assert_eq!(field(&browser, "form").await, Value::Null);
            browser.run(&format!("utmost('consent', {consents})")).await;
        }
        browser.open(&server.base).await;
        assert_eq!(browser.run("return document.cookie").await, "", "none on the short domain");
        browser.open(&shop.url("/")).await;
        browser.run(&format!("utmost('consent', {consents})")).await;
        assert_eq!(kept(&browser).await.len(), if consents { 2 } else { 0 });
        browser.click("#buy").await;
        eventually(WITHIN, || shop.forms().len() == n + 1);
        let form = shop.forms().pop().unwrap();
        let tokens: Vec<&str> =
            form.get("um_click").map(|text| text.split(',').collect()).unwrap_or_default();
        let id = format!("o-{n}");
        let order = json!({"id": id, "amount": "50.00", "currency": "USD", "click_ids": tokens});
        post(&client, "/api/v1/conversions", order).await;
        let path = format!("/api/v1/conversions/{id}");
        let list =
            format!("/api/v1/conversions?status={}", if consents { "attributed" } else { "unattributed" });
        settled(&client, &list, |list| list["data"].as_array().unwrap().iter().any(|it| it["id"] == id))
            .await;
        let order = client.api(Method::GET, &path, None).await.unwrap();
        let touches: Vec<&Value> =
            order["touches"].as_array().unwrap().iter().map(|touch| &touch["post"]).collect();
        let expected: &[&str] = if consents { &["p1", "p2"] } else { &[] };
        assert_eq!(touches, expected);
    }
}
