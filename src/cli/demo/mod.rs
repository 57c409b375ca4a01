//! `utmost demo`: the whole way on one machine, through the real HTTP doors.
//!
//! Posts are created as a scheduler would, browsers and bots click, shops send signed webhooks, costs are
//! booked. Then the report is read like any other, printed, and the dashboard stays up.

mod shops;
mod story;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use http::{HeaderMap, Method};
use serde_json::json;

use super::client::Client;
use crate::app::App;
use crate::config::Config;
use crate::domain::time;
use crate::reports::{self, ReportRequest};
use shops::Account;
use story::{BOTS, BROWSERS, ORDERS, POSTS, Post, Shop, referrer};

/// Bound for the worker to catch up; it takes well under a second.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the table instead of serving the dashboard
    #[arg(long)]
    exit: bool,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

pub async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    // No file and no environment: a demo shows the defaults, in a folder of its own.
    let folder = tempfile_dir()?;
    let file = format!(
        "data_dir = {:?}\n[server]\nlisten = {:?}\n[workspace]\ncurrency = \"EUR\"\n[log]\nlevel = \"warn\"\n",
        folder.join("data").display().to_string(),
        args.listen
    );
    let config = Config::from_layers(Some(("demo", &file)), std::iter::empty())?;
    crate::telemetry::init(&config)?;
    let mut app = App::start(config).await?;
    let result = tell(&mut app, started, args.exit).await;
    app.stop().await;
    // The folder holds nothing that anybody would want back.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

async fn tell(app: &mut App, started: Instant, exit: bool) -> anyhow::Result<()> {
    let base = format!("http://{}", app.address);
    let client = Client::new(base.clone(), app.admin_key.clone());

    let links = schedule(&client).await?;
    println!("A scheduler created {} posts with {} tracked links.", POSTS.len(), links.len());
    let clicks = click(&client, &links).await?;
    println!(
        "{} clicks by browsers and {} by bots went through the redirect.",
        clicks.people, clicks.machines
    );
    // Shops date orders by the second: within it an order would seem to come before its clicks.
    tokio::time::sleep(Duration::from_millis(1000 - time::now_ms().rem_euclid(1000).unsigned_abs())).await;
    let orders = sell(&client, &clicks.tokens).await?;
    println!("{orders} orders and a refund arrived as signed Shopify, WooCommerce and Stripe webhooks.");
    book_costs(&client).await?;

    let request = ReportRequest::parse([("by", "post"), ("model", "position_based")])?;
    let report = settled(app, &request, &clicks, orders).await?;
    println!("\n{}", report.to_table());
    println!("Done in {:.1} s.", started.elapsed().as_secs_f64());
    if !exit {
        println!("\nDashboard: {base}/app\nKey:       {}\nStop with ctrl-C.", app.admin_key);
        app.until_signalled().await?;
    }
    Ok(())
}

/// Post id and network -> short URL.
type Links = HashMap<(&'static str, String), String>;

async fn schedule(client: &Client) -> anyhow::Result<Links> {
    let mut links = Links::new();
    for post in POSTS {
        let body = json!({
            "title": post.title, "kind": post.kind, "campaign": post.campaign,
            "destination": post.destination, "networks": post.networks,
            "published_at": time::rfc3339(time::now_ms()),
        });
        let answer = client.api(Method::PUT, &format!("/api/v1/posts/{}", post.id), Some(body)).await?;
        for link in answer["links"].as_array().context("a post answers its links")? {
            let network = link["network"].as_str().unwrap_or_default().to_owned();
            let short_url = link["short_url"].as_str().context("a link has its short_url")?;
            links.insert((post.id, network), short_url.to_owned());
        }
    }
    Ok(links)
}

struct Clicks {
    people: usize,
    machines: usize,
    /// The token that a post's n-th visitor took to the shop.
    tokens: HashMap<(&'static str, usize), String>,
}

async fn click(client: &Client, links: &Links) -> anyhow::Result<Clicks> {
    let mut clicks = Clicks { people: 0, machines: 0, tokens: HashMap::new() };
    let journeys: HashMap<(&str, usize), usize> = ORDERS
        .iter()
        .enumerate()
        .flat_map(|(buyer, order)| order.clicks.iter().map(move |click| (*click, buyer)))
        .collect();
    // A buyer is one browser: it keeps the cookie from one post to the next.
    let mut jar: HashMap<usize, String> = HashMap::new();
    for post in in_order_of_first_clicks() {
        for visitor in 0..post.clicks {
            let network = post.networks[visitor % post.networks.len()];
            let short_url = &links[&(post.id, network.to_owned())];
            let buyer = journeys.get(&(post.id, visitor));
            let cookie = buyer.and_then(|buyer| jar.get(buyer)).cloned();
            let agent = BROWSERS[(visitor + post.id.len()) % BROWSERS.len()];
            let (token, set_cookie) =
                follow(client, short_url, agent, referrer(network), cookie.as_deref()).await?;
            if let (Some(buyer), Some(set_cookie)) = (buyer, set_cookie) {
                jar.insert(*buyer, set_cookie);
            }
            clicks.tokens.insert((post.id, visitor), token);
            clicks.people += 1;
            if visitor % 9 == 0 {
                let bot = BOTS[(visitor / 9) % BOTS.len()];
                follow(client, short_url, bot, "", None).await?;
                clicks.machines += 1;
            }
        }
    }
    Ok(clicks)
}

/// Posts in the order in which the story's buyers met them, so that journeys run the way they are told.
fn in_order_of_first_clicks() -> Vec<&'static Post> {
    let mut posts: Vec<&Post> = POSTS.iter().collect();
    let earlier = |a: &Post, b: &Post| {
        ORDERS.iter().any(|order| {
            let place = |id: &str| order.clicks.iter().position(|(post, _)| *post == id);
            matches!((place(a.id), place(b.id)), (Some(a), Some(b)) if a < b)
        })
    };
    posts.sort_by_key(|post| POSTS.iter().filter(|other| earlier(other, post)).count());
    posts
}

/// One request of a short URL: the token in the Location, and the cookie if one was set.
async fn follow(
    client: &Client,
    short_url: &str,
    agent: &str,
    referrer: &str,
    cookie: Option<&str>,
) -> anyhow::Result<(String, Option<String>)> {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", agent.parse()?);
    if !referrer.is_empty() {
        headers.insert("referer", referrer.parse()?);
    }
    if let Some(cookie) = cookie {
        headers.insert("cookie", cookie.parse()?);
    }
    let answer = client.send(Method::GET, short_url, headers, Vec::new()).await?;
    ensure!(answer.status == 302, "{short_url} answered {}", answer.status);
    let location = url::Url::parse(answer.headers["location"].to_str()?)?;
    let token = location.query_pairs().find(|(name, _)| name == "um_click");
    let cookie = answer.headers.get("set-cookie").and_then(|value| value.to_str().ok());
    Ok((
        token.context("the destination carries a token")?.1.into_owned(),
        cookie.and_then(|cookie| cookie.split(';').next()).map(str::to_owned),
    ))
}

async fn sell(client: &Client, tokens: &HashMap<(&'static str, usize), String>) -> anyhow::Result<usize> {
    let mut accounts = Vec::new();
    for shop in Shop::ALL {
        accounts.push(Account::open(client, shop).await?);
    }
    for order in ORDERS {
        let account = accounts.iter().find(|account| account.shop == order.shop).context("a shop")?;
        let token = order.clicks.last().and_then(|click| tokens.get(click));
        account.send_order(client, order, token.map(String::as_str)).await?;
        // Platforms deliver at least once; the second time changes nothing.
        account.send_order(client, order, token.map(String::as_str)).await?;
        if let Some(amount) = order.refund {
            account.send_refund(client, order, amount).await?;
        }
    }
    Ok(ORDERS.len())
}

async fn book_costs(client: &Client) -> anyhow::Result<()> {
    let today =
        time::day_number(time::timestamp(time::now_ms()).to_zoned_datetime(jiff::tz::TimeZone::UTC).date());
    let (from, to) = (time::day_date(today).to_string(), time::day_date(today + 1).to_string());
    let book = async |scope: &str, target: &str, amount: &str, kind: &str| {
        let body = json!({
            scope: target, "amount": amount, "currency": "EUR", "from": from, "to": to, "kind": kind,
        });
        client.api(Method::POST, "/api/v1/costs", Some(body)).await
    };
    for post in POSTS {
        book("post", post.id, post.cost, "production").await?;
    }
    book("network", "instagram", "90.00", "ads").await?;
    book("campaign", "spring-drop", "45.00", "hours").await?;
    Ok(())
}

/// The report once the worker has taken in everything that was sent.
async fn settled(
    app: &App,
    request: &ReportRequest,
    clicks: &Clicks,
    orders: usize,
) -> anyhow::Result<reports::Report> {
    let end = Instant::now() + SETTLED_WITHIN;
    loop {
        let report = app.report(request).await?;
        let counted = report.totals.clicks.map_or(0, |clicks| clicks.recorded);
        // A problem of the report is that orders still wait, or that they do not reconcile.
        if report.reconciliation.received.orders == orders as i64
            && counted == (clicks.people + clicks.machines) as i64
            && report.problems.is_empty()
        {
            return Ok(report);
        }
        ensure!(Instant::now() < end, "the worker did not catch up within {SETTLED_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tempfile_dir() -> anyhow::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("utmost-demo-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}
