//! The dashboard as people see it: in a real browser, over a ledger made by hand.

mod browser;
mod busy;
#[path = "../reports/shop.rs"]
mod shop;

use std::sync::Arc;

use browser::Browser;
use http::{HeaderMap, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use shop::Shop;
use shop::Value::{N, T};
use utmost::api::{Api, Parts};
use utmost::cli::client::{Answer, Client};
use utmost::config::Config;
use utmost::links::cache::{LinkCache, LinkCacheMetrics, LinkSource};
use utmost::links::copies::Copies;
use utmost::log::{Log, LogConfig, LogMetrics};

const ADMIN_KEY: &str = "um_test_admin_key_0123456789";

/// Serves the dashboard over the shop's ledger; its base address.
async fn serve(shop: &Shop) -> String {
    let config = Arc::new(Config::from_layers(None, std::iter::empty()).unwrap());
    let source = LinkSource::Ledger(shop.ledger.clone());
    let copies = Copies::Embedded(LinkCache::new(source, 1 << 20, LinkCacheMetrics::default()));
    let public_url = "https://go.test".parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = LogConfig { data_dir: dir.path().to_owned(), ..LogConfig::default() };
    let api = Api::start(Parts {
        config,
        ledger: shop.ledger.clone(),
        log: Log::open(&log, LogMetrics::default()).await.unwrap(),
        copies,
        door_copies: None,
        public_url,
        admin_key: ADMIN_KEY.to_owned(),
        ring: Arc::new(utmost::domain::keys::KeyRing::generate(0)),
    })
    .await
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = utmost::dashboard::router(api);
    tokio::spawn(async move { serve_all(listener, router).await });
    base
}

async fn serve_all(listener: tokio::net::TcpListener, router: axum::Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn marketers_find_their_way_from_the_report_to_an_order() {
    let mut shop = busy::busy_shop().await;
    let base = serve(&shop).await;
    let browser = Browser::start().await;
    browser.resize(1280, 800).await;

    browser.open(&format!("{base}/app")).await;
    assert!(browser.url().await.ends_with("/app/sign-in"));
    browser.screenshot("sign-in").await;
    browser.write("#key", "um_a_key_that_nobody_has").await;
    browser.click("form.sign-in button").await;
    assert!(browser.text("[role=alert]").await.contains("not known"));
    // The refusal itself, as a 401, is what the browser notes.
    assert_eq!(browser.complaints().await.len(), 1);
    browser.write("#key", ADMIN_KEY).await;
    browser.click("form.sign-in button").await;
    assert!(browser.url().await.ends_with("/app"));

    // The same figures as the API's, by any model, with every row that the totals are made of.
    browser.open(&format!("{base}/app?period=all&model=linear")).await;
    let report = shop.report("by=post&model=linear").await.unwrap();
    let net = shop::rows(&report, &["net_revenue"]).pop().unwrap().replace("total: ", "€");
    assert_eq!(browser.text(".card .figure").await.replace(',', ""), net);
    let shown = browser.eval("document.querySelectorAll('.report tbody tr').length").await;
    assert_eq!(shown, report.rows.len());
    browser.screenshot("report").await;

    // Choosing in a list needs no button; sorting turns around at the second click.
    browser.eval("(() => { const list = document.querySelector('select[name=network]'); list.value = 'instagram'; list.dispatchEvent(new Event('change', {bubbles: true})); })()").await;
    let url = browser.url().await;
    assert!(
        url.contains("network=instagram") && url.contains("period=all") && url.contains("model=linear"),
        "{url}"
    );
    browser.click("thead a[href*='sort=cost']").await;
    assert_eq!(browser.eval("document.querySelector('[aria-sort]').ariaSort").await, "descending");
    browser.click("[aria-sort] a").await;
    assert_eq!(browser.eval("document.querySelector('[aria-sort]').ariaSort").await, "ascending");

    // From a post to one of its orders: each model's credits sum to the net.
    browser.open(&format!("{base}/app?period=90d&model=linear")).await;
    browser.click(".report tbody th a").await;
    assert!(browser.url().await.contains("/app/posts/"));
    browser.screenshot("post").await;
    browser.click(".orders tbody th a").await;
    let nets = browser.eval("[...document.querySelectorAll('tfoot td')].map(cell => cell.innerText)").await;
    assert_eq!(nets.as_array().unwrap().len(), 5);
    let net = browser.text(".card:nth-child(4) .figure").await;
    assert!(nets.as_array().unwrap().iter().all(|sum| *sum == net), "{nets} {net}");
    browser.screenshot("order").await;

    // From a number of the reconciliation to the orders behind it.
    browser.open(&format!("{base}/app?period=all")).await;
    browser.click(".sums a[href*='reason=no_match']").await;
    let (_, line) =
        report.reconciliation.unattributed.iter().find(|(reason, _)| *reason == "no_match").unwrap();
    let listed = browser.eval("document.querySelectorAll('.orders tbody tr').length").await;
    assert_eq!(listed, line.orders);
    browser.screenshot("orders").await;

    // What another model would say, as the API says it.
    browser.open(&format!("{base}/app/compare?period=all&by=network")).await;
    let compared = shop.compare("by=network").await.unwrap();
    let plain = |text: String| text.replace([',', '€', '+'], "").replace('−', "-");
    let told = compared.cell("total", "linear_change").unwrap().to_string();
    assert_eq!(plain(browser.text("tfoot td:nth-child(5)").await), told);
    assert_eq!(browser.text("thead th:nth-child(5)").await, "Linear");
    browser.open(&format!("{base}/app/customers?period=all")).await;
    let retained = shop.retention("").await.unwrap();
    let rows = browser.eval("document.querySelectorAll('.report tbody th').length").await;
    assert_eq!(rows, retained.rows.len());

    // A month is closed: frozen, it is the same as today.
    browser.open(&format!("{base}/app/snapshots")).await;
    browser.eval("document.querySelector('input[name=from]').value = '2020-01-01'").await;
    browser.click("form.choices button.main").await;
    assert!(browser.url().await.contains("/app/snapshots/"));
    let nets = browser
        .eval("[1, 2, 3].map(n => document.querySelector(`tfoot td:nth-of-type(${n})`).innerText)")
        .await;
    assert_eq!(nets[0], nets[1]);
    assert_ne!(nets[0], "€0.00");
    assert_eq!(nets[2], "€0.00");
    browser.screenshot("snapshot").await;
    browser.open(&format!("{base}/app/snapshots")).await;
    assert_eq!(browser.eval("document.querySelectorAll('.report tbody th a').length").await, 1);

    browser.click(".who button").await;
    assert!(browser.url().await.ends_with("/app/sign-in"));
    browser.open(&format!("{base}/app")).await;
    assert!(browser.url().await.ends_with("/app/sign-in"));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_every_screen_and_show_what_people_wrote_as_text() {
    let mut shop = busy::busy_shop().await;
    let hostile = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">";
    let link = shop.link(Some(hostile), Some("instagram"), Some(hostile)).await;
    shop.clicks(&busy::today(), link, 90_000, 0).await;
    shop.commit().await;
    let base = serve(&shop).await;
    let browser = Browser::start().await;
    browser.open(&format!("{base}/app/sign-in")).await;
    browser.write("#key", ADMIN_KEY).await;
    browser.click("form.sign-in button").await;
    let order = "/app/conversions/100";
    let pages = [
        "/app",
        "/app?by=network&period=all",
        "/app?by=network&period=90d&model=all&sort=markov",
        "/app?by=day&network=x&clock=click&model=markov",
        "/app?by=hour_of_week",
        "/app?by=day&period=90d",
        "/app?by=campaign&sort=clicks",
        "/app?from=2020-01-01&until=2020-01-31",
        "/app/posts/sale-48h?period=all",
        "/app/compare?period=all",
        "/app/compare?period=90d&by=network&baseline=linear",
        "/app/customers?period=all",
        "/app/customers?period=all&by=post",
        "/app/snapshots",
        "/app?by=published_hour_of_week&period=90d",
        "/app/conversions?period=90d",
        order,
        "/app/posts/%3Cscript%3E",
        "/app/nowhere",
    ];
    for (width, dark) in [(1280, false), (360, true)] {
        browser.resize(width, 800).await;
        browser.dark(dark).await;
        for path in pages {
            browser.open(&format!("{base}{path}")).await;
            assert_ne!(browser.eval("document.title").await, "taken", "{path}");
            let wider = browser.eval("document.documentElement.scrollWidth - window.innerWidth").await;
            assert!(wider.as_i64().unwrap() <= 0, "{path} is {wider} px wider than a screen of {width}");
            assert!(browser.eval("document.querySelectorAll('h1').length").await == 1, "{path}");
            let name = path.trim_start_matches("/app").split(['?', '%']).next().unwrap().replace('/', "-");
            browser.screenshot(&format!("{width}{name}-{}", path.len())).await;
        }
    }
    // The page that is nowhere answers 404, which the browser notes; nothing else is amiss.
    let complaints = browser.complaints().await;
    assert!(
        complaints.iter().all(|text| text.contains("/app/nowhere") && text.contains("404")),
        "{complaints:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_valid_session_sees_only_its_workspace() {
    let mut shop = Shop::open("Europe/Berlin", "EUR").await;
    shop.insert(
        "workspaces (id, name, timezone, currency, settings, created_ms)",
        &[T("other"), T("Another company"), T("UTC"), T("USD"), T("{}"), N(0)],
    )
    .await;
    for (id, workspace, key, scopes) in
        [("key_1", "other", "um_other_reports", "reports"), ("key_2", "other", "um_other_links", "links")]
    {
        let hash = hex::encode(Sha256::digest(key));
        shop.insert(
            "api_keys (id, workspace, name, hash, scopes, created_ms)",
            &[T(id), T(workspace), T("test"), T(&hash), T(scopes), N(0)],
        )
        .await;
    }
    shop.commit().await;
    let base = serve(&shop).await;
    let client = Client::new(base, String::new());
    let get = async |path: &str, cookie: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", cookie.parse().unwrap());
        client.send(Method::GET, path, headers, "").await.unwrap()
    };
    let sign_in = async |key: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        client.send(Method::POST, "/app/sign-in", headers, format!("key={key}")).await.unwrap()
    };
    let cookie_of = |answer: &Answer| answer.headers["set-cookie"].to_str().unwrap().to_owned();

    assert_eq!(sign_in("um_wrong").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(sign_in("um_other_links").await.status, StatusCode::UNAUTHORIZED);
    let signed_in = sign_in("um_other_reports").await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
    let cookie = cookie_of(&signed_in);
    for part in ["Path=/app", "HttpOnly", "SameSite=Strict", "Max-Age=604800"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let session = cookie.split(';').next().unwrap().to_owned();
    assert!(!session.contains("um_other_reports"), "the key itself is not in the cookie");

    let page = get("/app", &session).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert_eq!(page.headers["cache-control"], "private, no-store");
    assert!(String::from_utf8_lossy(&page.body).contains("in USD"));
    assert_eq!(get("/app?workspace=default", &session).await.status, StatusCode::FORBIDDEN);
    assert_eq!(get("/app/report.csv", &session).await.headers["content-type"], "text/csv; charset=utf-8");

    // Nothing but our own signature opens a page.
    let forged = session.replacen("key_1", "admin", 1);
    let longer = session.replacen("utmost_session=1", "utmost_session=9", 1);
    for cookie in ["", "utmost_session=x", "utmost_session=..", forged.as_str(), longer.as_str()] {
        let answer = get("/app", cookie).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{cookie}");
        assert_eq!(answer.headers["location"], "/app/sign-in");
    }
    // A platform key sees both, and chooses.
    let admin = cookie_of(&sign_in(ADMIN_KEY).await);
    let admin = admin.split(';').next().unwrap();
    assert!(String::from_utf8_lossy(&get("/app", admin).await.body).contains("Another company"));
    assert!(String::from_utf8_lossy(&get("/app?workspace=other", admin).await.body).contains("in USD"));

    // A revoked key ends its sessions.
    let mut tx = shop.ledger.begin().await.unwrap();
    sqlx::query("UPDATE api_keys SET revoked_ms = 1 WHERE id = 'key_1'").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(get("/app", &session).await.status, StatusCode::SEE_OTHER);
}
