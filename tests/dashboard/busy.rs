//! A shop with four months behind it: posts on several networks, orders of all kinds, costs.

use crate::shop::Value::{N, T};
use crate::shop::{Order, SALE, Shop};
use utmost::domain::time::{day_date, local_day, now_ms};

const POSTS: [(&str, &str, &str, &[&str]); 12] = [
    ("spring-lookbook", "Spring lookbook: linen, undyed", "lookbook", &["instagram", "pinterest"]),
    ("founder-story", "Why we dye with walnut shells", "story", &["linkedin", "threads"]),
    ("walnut-reel", "Sixty seconds in the dye house", "story", &["instagram", "tiktok"]),
    ("sale-48h", "48 hours: everything indigo", "sale", &["facebook", "instagram", "x"]),
    ("sizing-guide", "How our sizes run, measured on five people", "help", &["youtube"]),
    ("mending-club", "Join the mending club", "club", &["facebook", "bluesky"]),
    ("studio-tour", "Studio tour, with dog", "story", &["tiktok"]),
    ("giveaway", "Win a jacket", "sale", &["instagram"]),
    ("faq-thread", "Everything you asked about wool", "help", &["x", "mastodon"]),
    ("review-roundup", "What you said about the travel coat", "lookbook", &["facebook"]),
    ("winter-teaser", "Something warm is coming", "lookbook", &["instagram", "pinterest", "threads"]),
    (
        "forum-answer",
        "An answer in a knitting forum about moths, with far too long a title for any table to hold it in one line",
        "help",
        &["reddit"],
    ),
];

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as i64) % n
    }
}

/// Today's date in UTC.
pub fn today() -> String {
    day_date(local_day(now_ms(), &jiff::tz::TimeZone::UTC)).to_string()
}

pub async fn busy_shop() -> Shop {
    let mut shop = Shop::open("Europe/Berlin", "EUR").await;
    let mut dice = Dice(7);
    let today = local_day(now_ms(), &jiff::tz::TimeZone::UTC);
    let date = |day: i32| day_date(day).to_string();
    for (id, name) in [("src_1", "Shopify: atelier-noyer"), ("src_2", "Stripe")] {
        shop.insert(
            "sources (id, workspace, platform, name, role, settings, created_ms)",
            &[T(id), T("default"), T("shopify"), T(name), T("of_record"), T("{}"), N(0)],
        )
        .await;
    }
    let mut links: Vec<(i64, i32)> = Vec::new();
    for (i, (post, title, campaign, networks)) in (0i32..).zip(POSTS) {
        let published = today - 118 + i * 9 + dice.below(5) as i32;
        shop.insert(
            "posts (workspace, id, network, title, url, published_ms, campaign, tags, kind, created_ms, updated_ms)",
            &[
                T("default"),
                T(post),
                T(networks[0]),
                T(title),
                T(&format!("https://social.test/{post}")),
                N(i64::from(published) * 86_400_000 + 9 * 3_600_000),
                T(campaign),
                T("[\"organic\"]"),
                T(["video", "image", "text"][i as usize % 3]),
                N(0),
                N(0),
            ],
        )
        .await;
        for network in networks {
            let link = shop.link(Some(post), Some(network), Some(campaign)).await;
            links.push((link, published));
            let strength = 20 + dice.below(160);
            for day in published..=today {
                let age = i64::from(day - published);
                let human = strength * (40 - age).max(2) / 40 * (60 + dice.below(80)) / 100;
                if human > 0 {
                    shop.clicks(&date(day), link, human, human / 12).await;
                }
            }
        }
    }
    for _ in 0..640 {
        let day = today - dice.below(115) as i32;
        let count = [1, 1, 1, 2, 2, 3, 4][dice.below(7) as usize];
        let open: Vec<&(i64, i32)> = links.iter().filter(|(_, published)| *published <= day).collect();
        if open.is_empty() {
            continue;
        }
        let mut touches: Vec<(Option<i64>, String)> = (0..count)
            .map(|n| {
                // The later posts sell better, and some never do.
                let pick = dice.below(open.len() as i64).max(dice.below(open.len() as i64)) as usize;
                (
                    Some(open[pick].0),
                    date((day - (count - 1 - n) * (1 + dice.below(4) as i32)).max(today - 118)),
                )
            })
            .collect();
        touches.sort_by(|a, b| a.1.cmp(&b.1));
        if dice.below(9) == 0 {
            touches.push((None, date(day)));
        }
        let borrowed: Vec<(Option<i64>, &str)> =
            touches.iter().map(|(link, day)| (*link, day.as_str())).collect();
        let amount_minor = 1_900 + dice.below(14_000);
        let back_on = date((day + 6).min(today));
        let refunds = [(back_on.as_str(), if dice.below(3) == 0 { amount_minor } else { amount_minor / 3 })];
        let kind = dice.below(20);
        let ordered = date(day);
        // Some come back; one in nine orders names nobody.
        let customer = format!("customer-{}", amount_minor % 411);
        let named = [customer.as_str()];
        let order = Order {
            day: &ordered,
            amount_minor,
            source: ["src_1", "src_1", "src_2"][dice.below(3) as usize],
            customers: if amount_minor % 9 == 0 { &[] } else { &named },
            ..SALE
        };
        shop.order(match kind {
            0 | 1 => Order { status: "unattributed", reason: Some("no_match"), ..order },
            2 => Order {
                status: "unattributed",
                reason: Some("other_channel"),
                touches: &[(None, "2026-01-01")],
                ..order
            },
            3 => Order {
                status: "excluded",
                reason: Some(["test", "unpaid"][dice.below(2) as usize]),
                ..order
            },
            4 => Order { touches: &borrowed, refunds: &refunds, ..order },
            5 if dice.below(2) == 0 => Order { basis: "total", touches: &borrowed, ..order },
            _ => Order { touches: &borrowed, ..order },
        })
        .await;
    }
    let (from, to) = (date(today - 110), date(today + 20));
    for (scope, target, minor) in [
        ("post", "spring-lookbook", 65_000),
        ("post", "walnut-reel", 42_000),
        ("post", "giveaway", 260_000),
        ("post", "sizing-guide", 88_000),
        ("campaign", "sale", 74_000),
        ("network", "instagram", 120_000),
        ("network", "snapchat", 9_000),
        ("post", "studio-tour", 30_000),
    ] {
        shop.cost(scope, target, minor, "EUR", &from, &to).await;
    }
    shop.commit().await;
    shop
}
