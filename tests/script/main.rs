//! The script in a real browser on pages of a real (small) shop.

mod browser;
mod shop;
#[path = "../support/mod.rs"]
mod support;
mod whole_way;

use std::time::Duration;

use browser::Browser;
use serde_json::{Value, json};
use shop::Shop;
use support::eventually;

const FORM: &str = r#"<form data-utmost method="post" action="/order"><input name="email" value="a@shop.test">
    <button id="buy">Buy</button></form>
    <form id="search" method="post" action="/search"><input name="q"></form>"#;
const WITHIN: Duration = Duration::from_secs(10);

/// A text that looks like a token.
fn token(n: usize) -> String {
    format!("{n:0>63}A")
}

async fn open() -> (Browser, Shop) {
    (Browser::start().await, Shop::open().await)
}

/// The tokens that the cookie and local storage hold; they must say the same.
async fn kept(browser: &Browser) -> Vec<String> {
    let storage = browser.run("return localStorage.getItem('um_click')").await;
    let cookie = browser.cookie("um_click").await["value"].clone();
    assert_eq!(cookie, storage);
    let text = storage.as_str().unwrap_or_default();
    text.split('~').filter(|t| !t.is_empty()).map(|t| t.split('.').next().unwrap().to_owned()).collect()
}

async fn field(browser: &Browser, form: &str) -> Value {
    browser.run(&format!("return (document.querySelector('{form} [name=um_click]') || {{}}).value")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_are_kept_and_go_with_forms() {
    let (browser, shop) = open().await;
    shop.page("/", "", "", FORM);
    browser.open(&shop.url("/")).await;
    assert_eq!(kept(&browser).await, Vec::<String>::new());
    assert_eq!(field(&browser, "form").await, Value::Null);

    let (one, two) = (token(1), token(2));
    browser.open(&shop.url(&format!("/?a=b&um_click={one}#top"))).await;
    assert_eq!(kept(&browser).await, [one.as_str()]);
    let cookie = browser.cookie("um_click").await;
    let days = (cookie["expiry"].as_i64().unwrap() - now_s()) as f64 / 86_400.0;
    assert!((99.9..=100.0).contains(&days), "{days} days");
    assert_eq!((&cookie["path"], &cookie["sameSite"]), (&json!("/"), &json!("Lax")));

    for junk in ["undefined", &"x".repeat(81), &format!("{one}%3Cb%3E"), ""] {
        browser.open(&shop.url(&format!("/?um_click={junk}"))).await;
        assert_eq!(kept(&browser).await, [one.as_str()], "{junk}");
    }
    browser.open(&shop.url(&format!("/?um_click={two}"))).await;
    browser.open(&shop.url(&format!("/?um_click={one}"))).await;
    browser.open(&shop.url("/")).await;
    assert_eq!(kept(&browser).await, [one.as_str(), two.as_str()]);
    assert_eq!(field(&browser, "form").await, format!("{one},{two}"));
    assert_eq!(field(&browser, "#search").await, Value::Null);

    browser.click("#buy").await;
    eventually(WITHIN, || !shop.forms().is_empty());
    assert_eq!(shop.forms()[0]["um_click"], format!("{one},{two}"));

    // A form that comes into the page later, and one that has a field of its own.
    browser.open(&shop.url("/")).await;
    browser
        .run(
            "document.body.innerHTML = '<form data-utmost method=post action=/late>\
             <input type=hidden name=um_click><button id=late>Buy</button></form>'",
        )
        .await;
    browser.click("#late").await;
    eventually(WITHIN, || shop.forms().len() == 2);
    assert_eq!(shop.forms()[1]["um_click"], format!("{one},{two}"));
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lookback_and_the_number_of_clicks_are_bounded() {
    let (browser, shop) = open().await;
    shop.page("/", "", "data-days=\"30\" data-param=\"ref\"", FORM);
    browser.open(&shop.url(&format!("/?um_click={}", token(1)))).await;
    assert_eq!(kept(&browser).await, Vec::<String>::new(), "data-param names another parameter");

    let day_s = 86_400;
    let seed = |days: i64, n: usize| format!("{}.{}", token(n), now_s() - days * day_s);
    let text = [seed(31, 1), seed(29, 2), "junk.5".into(), seed(28, 3)].join("~");
    browser.run(&format!("document.cookie = 'um_click={text}; path=/'")).await;
    browser.open(&shop.url("/")).await;
    assert_eq!(kept(&browser).await, [token(2), token(3)]);

    // Either of the two places may be emptied.
    browser.run("localStorage.clear()").await;
    browser.open(&shop.url("/")).await;
    assert_eq!(kept(&browser).await, [token(2), token(3)]);
    browser.run("document.cookie = 'um_click=; path=/; max-age=0'").await;
    browser.open(&shop.url("/")).await;
    assert_eq!(kept(&browser).await, [token(2), token(3)]);

    for n in 4..=14 {
        browser.open(&shop.url(&format!("/?ref={}", token(n)))).await;
    }
    assert_eq!(kept(&browser).await, (5..=14).map(token).collect::<Vec<_>>());
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_links_name_the_last_click() {
    let (browser, shop) = open().await;
    let links = r##"<a id=a href="https://buy.stripe.com/test_1">a</a>
        <a id=b href="https://buy.stripe.com/test_1?prefilled_email=a%40b.test#x">b</a>
        <a id=c href="https://buy.stripe.com/test_1?client_reference_id=mine">c</a>
        <a id=d href="https://pay.shop.test/1" data-utmost="stripe">d</a>
        <a id=e href="https://elsewhere.test/https://buy.stripe.com/">e</a>"##;
    shop.page("/", "", "", links);
    browser.open(&shop.url(&format!("/?um_click={}", token(1)))).await;
    let query = format!("/?um_click={}", token(2));
    browser.open(&shop.url(&query)).await;
    let hrefs = "return [].map.call(document.querySelectorAll('a'), function (a) { return a.href })";
    let reference = format!("client_reference_id={}", token(2));
    let expected = json!([
        format!("https://buy.stripe.com/test_1?{reference}"),
        format!("https://buy.stripe.com/test_1?prefilled_email=a%40b.test&{reference}#x"),
        "https://buy.stripe.com/test_1?client_reference_id=mine",
        format!("https://pay.shop.test/1?{reference}"),
        "https://elsewhere.test/https://buy.stripe.com/",
    ]);
    assert_eq!(browser.run(hrefs).await, expected);
    browser.run("document.dispatchEvent(new Event('click'))").await;
    assert_eq!(browser.run(hrefs).await, expected, "a link is marked once");

    browser.run("utmost('consent', false)").await;
    assert!(!browser.run(hrefs).await.to_string().contains(&reference));
    assert_eq!(kept(&browser).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn shopify_carts_take_the_clicks_along() {
    let (browser, shop) = open().await;
    let shopify = "<script>window.Shopify = {routes: {root: '/de/'}}</script>";
    shop.page("/", shopify, "", "");
    browser.open(&shop.url("/")).await;
    browser.open(&shop.url(&format!("/?um_click={}", token(1)))).await;
    eventually(WITHIN, || shop.cart_updates().len() == 1);
    let update =
        |tokens: &str| ("/de/cart/update.js".to_owned(), json!({"attributes": {"um_click": tokens}}));
    assert_eq!(shop.cart_updates(), [update(&token(1))]);

    // The same again is no news; a second click is, and so is a new cart.
    browser.open(&shop.url("/")).await;
    browser.open(&shop.url(&format!("/?um_click={}", token(2)))).await;
    let both = format!("{},{}", token(1), token(2));
    eventually(WITHIN, || shop.cart_updates().len() == 2);
    assert_eq!(shop.cart_updates()[1], update(&both));
    shop.empty_cart();
    browser.open(&shop.url("/")).await;
    eventually(WITHIN, || shop.cart_updates().len() == 3);
    assert_eq!(shop.cart_updates()[2], update(&both));

    browser.run("utmost('consent', false)").await;
    eventually(WITHIN, || shop.cart_attributes() == json!({"um_click": ""}));

    // Without the global, a tag says what the shop is.
    shop.page("/plain", "", "data-platform=\"shopify\"", "");
    browser.open(&shop.url(&format!("/plain?um_click={}", token(3)))).await;
    eventually(WITHIN, || shop.cart_attributes() == json!({"um_click": token(3)}));
    assert_eq!(shop.cart_updates().last().unwrap().0, "/cart/update.js");
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn woocommerce_checkouts_get_a_field() {
    let (browser, shop) = open().await;
    let checkout = r#"<form name="checkout" method="post" class="checkout woocommerce-checkout" action="/checkout/">
        <button id="place_order">Place order</button></form>"#;
    shop.page("/", "", "", "");
    shop.page("/checkout/", "", "", checkout);
    browser.open(&shop.url(&format!("/?um_click={}", token(1)))).await;
    browser.open(&shop.url("/checkout/")).await;
    browser.click("#place_order").await;
    eventually(WITHIN, || !shop.forms().is_empty());
    assert_eq!(shop.forms()[0]["um_click"], token(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_privacy_is_not_remembered() {
    let (browser, shop) = open().await;
    let asks = [
        "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})",
        "Object.defineProperty(navigator, 'doNotTrack', {value: '1'})",
    ];
    for (n, ask) in asks.into_iter().enumerate() {
        let shopify = "<script>window.Shopify = {}</script>";
        let path = format!("/{n}");
        shop.page("/", shopify, "", FORM);
        shop.page(&path, &format!("<script>{ask}</script>{shopify}"), "", FORM);
        browser.open(&shop.url(&format!("/?um_click={}", token(1)))).await;
        eventually(WITHIN, || shop.cart_attributes() == json!({"um_click": token(1)}));

        browser.open(&shop.url(&format!("{path}?um_click={}", token(2)))).await;
        assert_eq!(kept(&browser).await, Vec::<String>::new());
        assert_eq!(browser.run("return sessionStorage.length").await, 0);
        assert_eq!(field(&browser, "form").await, token(2), "this page's own click goes along");
        eventually(WITHIN, || shop.cart_attributes() == json!({"um_click": ""}));
        browser.open(&shop.url(&path)).await;
        assert_eq!(field(&browser, "form").await, Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_consent_is_required_nothing_happens_before_it() {
    let (browser, shop) = open().await;
    shop.page("/", "<script>window.Shopify = {}</script>", "data-consent=\"required\"", FORM);
    let landing = shop.url(&format!("/?um_click={}", token(1)));
    let nothing_yet = async || {
        assert_eq!(kept(&browser).await, Vec::<String>::new());
        assert_eq!(browser.run("return sessionStorage.length").await, 0);
        assert_eq!(field(&browser, "form").await, Value::Null);
        assert_eq!(shop.cart_updates(), []);
    };
    browser.open(&landing).await;
    nothing_yet().await;
    browser.run("utmost('consent', false)").await;
    nothing_yet().await;
    browser.run("utmost('consent', true)").await;
    assert_eq!(kept(&browser).await, [token(1)]);
    assert_eq!(field(&browser, "form").await, token(1));
    eventually(WITHIN, || shop.cart_attributes() == json!({"um_click": token(1)}));

    // The page says on every page; what is kept waits for it, and goes when it is withdrawn.
    browser.open(&shop.url("/")).await;
    assert_eq!(field(&browser, "form").await, Value::Null);
    assert_eq!(kept(&browser).await, [token(1)]);
    browser.run("utmost('consent', true)").await;
    assert_eq!(field(&browser, "form").await, token(1));
    browser.run("utmost('consent', false)").await;
    assert_eq!(field(&browser, "form").await, "");
    assert_eq!(kept(&browser).await, Vec::<String>::new());
    assert_eq!(browser.run("return sessionStorage.length").await, 0);
    eventually(WITHIN, || shop.cart_attributes() == json!({"um_click": ""}));
    assert_eq!(browser.console().await, Vec::<String>::new());
}

/// Shopify's interface as its documentation describes it
/// (<https://shopify.dev/docs/api/customer-privacy>).
const SHOPIFY_PRIVACY: &str = r#"<script>
    window.Shopify = {loadFeatures: function (features, done) {
        window.asked = features[0].name + ' ' + features[0].version;
        setTimeout(function () {
            Shopify.customerPrivacy = {analyticsProcessingAllowed: function () { return window.allowed; }};
            done();
        });
    }};
    window.allowed = /allowed/.test(location.search);
    function banner(allowed) {
        var detail = {analyticsAllowed: allowed, marketingAllowed: false};
        document.dispatchEvent(new CustomEvent('visitorConsentCollected', {detail: detail}));
    }</script>"#;

#[tokio::test(flavor = "multi_thread")]
async fn shopify_says_whether_there_is_consent() {
    let (browser, shop) = open().await;
    shop.page("/", SHOPIFY_PRIVACY, "data-consent=\"required\"", FORM);
    browser.open(&shop.url(&format!("/?um_click={}", token(1)))).await;
    assert_eq!(browser.run("return window.asked").await, "consent-tracking-api 0.1");
    assert_eq!(kept(&browser).await, Vec::<String>::new());
    browser.run("banner(true)").await;
    assert_eq!(kept(&browser).await, [token(1)]);
    browser.run("banner(false)").await;
    assert_eq!(kept(&browser).await, Vec::<String>::new());

    // Where no consent is needed, or it was given before, the interface says so when it has loaded.
    browser.open(&shop.url(&format!("/?allowed&um_click={}", token(2)))).await;
    browser.until("return localStorage.getItem('um_click') !== null").await;
    assert_eq!(kept(&browser).await, [token(2)]);
    browser.open(&shop.url("/")).await;
    browser.until("return localStorage.getItem('um_click') === null").await;
    assert_eq!(kept(&browser).await, Vec::<String>::new(), "it was withdrawn meanwhile");
}

/// The WP Consent API as its plugin defines it (<https://wordpress.org/plugins/wp-consent-api/>).
const WP_CONSENT: &str = r#"<script>
    window.consents = {};
    function wp_has_consent(category) { return consents[category] === 'allow'; }
    function banner(category, value) {
        consents[category] = value;
        var detail = [];
        detail[category] = value;
        document.dispatchEvent(new CustomEvent('wp_listen_for_consent_change', {detail: detail}));
    }
    function define() {
        window.wp_consent_type = 'optin';
        document.dispatchEvent(new CustomEvent('wp_consent_type_defined'));
    }</script>"#;

#[tokio::test(flavor = "multi_thread")]
async fn wordpress_says_whether_there_is_consent() {
    let (browser, shop) = open().await;
    shop.page("/", WP_CONSENT, "data-consent=\"required\"", FORM);
    browser.open(&shop.url(&format!("/?um_click={}", token(1)))).await;
    for step in ["define()", "banner('marketing', 'allow')"] {
        browser.run(step).await;
        assert_eq!(kept(&browser).await, Vec::<String>::new(), "{step}");
    }
    browser.run("banner('statistics', 'allow')").await;
    assert_eq!(kept(&browser).await, [token(1)]);
    assert_eq!(field(&browser, "form").await, token(1));
    browser.run("banner('statistics', 'deny')").await;
    assert_eq!(kept(&browser).await, Vec::<String>::new());
    // Once the page itself says, nobody else is asked.
    browser.run("utmost('consent', true); banner('statistics', 'deny')").await;
    assert_eq!(kept(&browser).await, [token(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reports_which_clicks_led_to_an_order() {
    let (browser, shop) = open().await;
    let queue =
        "<script>window.utmost = window.utmost || function () {(utmost.q = utmost.q || []).push(arguments)};";
    let before = format!("{queue} utmost('clicks', function (tokens) {{ window.clicks = tokens }})</script>");
    shop.page("/", &before, "defer", "");
    let ordered = format!("{queue} utmost('conversion', {{id: '1001', event: 'purchase'}})</script>");
    // A second tag, as a theme and a plugin may both have one, changes nothing.
    let twice =
        format!("<script src=\"{}/js/utmost.js\" defer data-key=\"um_public\"></script>", shop.utmost);
    shop.page("/thanks", &ordered, "data-key=\"um_public\" defer", &twice);

    // Who came by no link of ours is not reported.
    browser.open(&shop.url("/thanks")).await;
    browser.open(&shop.url("/?utm_source=elsewhere")).await;
    assert_eq!(browser.run("return window.clicks").await, json!([]));
    assert_eq!(browser.run("return sessionStorage.length").await, 0);

    let landing = shop.url(&format!("/?utm_source=x&um_click={}", token(1)));
    browser.open(&format!("{landing}#reviews")).await;
    assert_eq!(browser.run("return window.clicks").await, json!([token(1)]));
    browser.open(&shop.url("/thanks?utm=x")).await;
    eventually(WITHIN, || !shop.events().is_empty());
    let event = |id: &str, key: &str| {
        json!({"key": key, "event": "purchase", "id": id, "click_ids": [token(1)],
            "landing_url": landing, "referrer": ""})
    };
    let sent = shop.events();
    assert_eq!((sent.len(), &sent[0].body), (1, &event("1001", "um_public")));
    assert_eq!(
        (sent[0].path.as_str(), sent[0].content_type.as_str()),
        ("/api/v1/events", "text/plain;charset=UTF-8")
    );

    // Without a beacon it is fetched; the call may name the key.
    browser
        .run(
            "navigator.sendBeacon = undefined;\
             utmost('conversion', {id: '1002', event: 'purchase', key: 'um_other'})",
        )
        .await;
    eventually(WITHIN, || shop.events().len() == 2);
    assert_eq!(shop.events()[1].body, event("1002", "um_other"));

    // A report waits for consent.
    shop.page("/strict", &ordered, "data-key=\"um_public\" data-consent=\"required\"", "");
    browser.open(&shop.url("/strict")).await;
    browser.run("utmost('conversion', {id: '1003', event: 'purchase'}); utmost('consent', true)").await;
    eventually(WITHIN, || shop.events().len() == 4);
    let ids: Vec<Value> = shop.events().iter().map(|event| event.body["id"].clone()).collect();
    assert_eq!(ids, ["1001", "1002", "1001", "1003"]);
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_policy_lets_it_work() {
    let (browser, shop) = open().await;
    let (utmost, integrity) = (&shop.utmost, utmost::script::integrity());
    let policy = |scripts: &str| {
        format!(
            "default-src 'none'; script-src {scripts}; connect-src 'self' {utmost}; form-action 'self'; \
             style-src 'none'; require-trusted-types-for 'script'"
        )
    };
    let tag = |attributes: &str| {
        format!("<!doctype html><script src=\"{utmost}/js/utmost.js\" {attributes}></script>{FORM}")
    };
    let pinned = format!("integrity=\"{integrity}\" crossorigin=\"anonymous\"");
    let query = format!("?um_click={}", token(1));
    shop.page_with_policy("/nonce", tag("nonce=\"r4nd0m\""), policy("'nonce-r4nd0m'"));
    shop.page_with_policy("/hash", tag(&pinned), policy(&format!("'{integrity}'")));
    for path in ["/nonce", "/hash"] {
        browser.open(&shop.url(&format!("{path}{query}"))).await;
        assert_eq!(field(&browser, "form").await, token(1), "{path}");
        assert_eq!(kept(&browser).await, [token(1)]);
        browser.run("utmost('conversion', {key: 'um_x', id: '1'})").await;
        assert_eq!(browser.console().await, Vec::<String>::new(), "{path}");
        browser.run("utmost('consent', false)").await;
    }
    // The check of this check: without nonce or hash the policy keeps it out.
    shop.page_with_policy("/other", tag(""), policy("'nonce-r4nd0m'"));
    browser.open(&shop.url(&format!("/other{query}"))).await;
    assert_eq!(field(&browser, "form").await, Value::Null);
    assert!(!browser.console().await.is_empty());
}

fn now_s() -> i64 {
    utmost::domain::time::now_ms() / 1000
}
