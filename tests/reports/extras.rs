//! The columns that only some workspaces have.

use crate::shop::Value::{N, None as Null, T};
use crate::shop::{Order, SALE, Shop, WORKSPACE, day, rows};
use crate::{IN_NOVEMBER, november};

async fn set(shop: &mut Shop, sql: &str) {
    shop.commit().await;
    let mut tx = shop.ledger.begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn goods_are_shared_out_as_the_sale_and_converted_at_its_rate() {
    let mut shop = november().await;
    let profit = ["net_revenue", "cost_of_goods", "profit"];
    let report = shop.report(&format!("{IN_NOVEMBER}&by=post&model=linear")).await.unwrap();
    // Nobody states any: nothing is known.
    assert_eq!(rows(&report, &profit)[0], "a: 108.33 null null");
    // Three touches of an order of 30.00, whose goods cost 10.00 dollars at 0.85.
    let (a, b) = (1001, 1003);
    let touches = [(Some(a), "2026-11-01"), (Some(b), "2026-11-05"), (Some(b), "2026-11-06")];
    let order = Order {
        amount_minor: 3_000,
        touches: &touches,
        cost_of_goods_minor: Some(1_000),
        currency: "USD",
        rate: Some("0.85"),
        ..SALE
    };
    let id = shop.order(order.clone()).await;
    let report = shop.report(&format!("{IN_NOVEMBER}&by=post&model=linear")).await.unwrap();
    assert_eq!(
        rows(&report, &profit),
        ["a: 118.33 2.83 115.50", "b: 86.67 5.67 81.00", "-: 15.01 null null", "total: 220.01 8.50 211.51"]
    );
    let missing = report.problems.iter().find(|problem| problem.code == "cost_of_goods_missing").unwrap();
    assert!(missing.detail.ends_with(": 2.5"), "{}", missing.detail);
    // What was cancelled was never sent.
    shop.evaluate(id, &Order { is_cancelled: true, ..order }, 2).await;
    let report = shop.report(&format!("{IN_NOVEMBER}&by=post&model=linear")).await.unwrap();
    assert_eq!(rows(&report, &["cost_of_goods"])[0], "a: null");
}

#[tokio::test]
async fn clicks_are_worth_what_their_network_charges() {
    let mut shop = november().await;
    let report = shop.report(&format!("{IN_NOVEMBER}&by=post")).await.unwrap();
    assert_eq!(rows(&report, &["click_value"])[0], "a: null");
    set(
        &mut shop,
        r#"UPDATE workspaces SET settings = '{"click_prices":{"instagram":"0.855","TikTok":"0.5"}}'"#,
    )
    .await;
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(&format!("{IN_NOVEMBER}&{query}")).await.unwrap();
        assert_eq!(rows(&report, &["clicks", "click_value"]), expected, "{query}");
    };
    // 40 clicks on instagram; 20 of a and 40 of b on tiktok.
    check("by=post", &["a: 60 44.20", "b: 40 20.00", "-: 5 0.00", "total: 105 64.20"]).await;
    check("by=network", &["tiktok: 60 30.00", "instagram: 40 34.20", "x: 5 0.00", "total: 105 64.20"]).await;
    check(
        "by=week&network=instagram",
        &["2026-10-26: 30 25.65", "2026-11-02: 10 8.55", "2026-11-09: 0 0.00", "total: 40 34.20"],
    )
    .await;
    check("by=country&post=b", &["DE: 40 20.00", "total: 40 20.00"]).await;
    check("by=source", &["shop: null null", "total: null null"]).await;
}

#[tokio::test]
async fn what_networks_report_stands_beside_what_posts_earn() {
    let mut shop = november().await;
    for (post, date, reach, likes) in [
        ("a", "2026-11-01", 1000, Some(7)),
        ("a", "2026-11-30", 500, None),
        ("a", "2026-12-01", 9, Some(9)),
        ("b", "2026-11-05", 100, Some(1)),
    ] {
        shop.insert(
            "post_metrics (workspace, post, day, reach, likes, shares)",
            &[T(WORKSPACE), T(post), N(day(date)), N(reach), likes.map_or(Null, N), N(2)],
        )
        .await;
    }
    let mut check = async |query: &str, expected: &[&str]| {
        let report = shop.report(&format!("{IN_NOVEMBER}&{query}")).await.unwrap();
        assert_eq!(rows(&report, &["reach", "engagement"]), expected, "{query}");
    };
    check("by=post", &["a: 1500 11", "b: 100 3", "-: null null", "total: 1600 14"]).await;
    check("by=network", &["tiktok: 100 3", "instagram: 1500 11", "x: null null", "total: 1600 14"]).await;
    check("by=kind", &["video: 1600 14", "-: null null", "total: 1600 14"]).await;
    check("by=month&post=a", &["2026-11-01: 1500 11", "total: 1500 11"]).await;
    // Neither countries nor links have any.
    check("by=country", &["DE: null null", "total: null null"]).await;
}

#[tokio::test]
async fn posts_stand_by_the_hour_in_which_they_were_published() {
    let mut shop = november().await;
    // Monday, 2 November, 23:30 UTC is Tuesday 00:30 in Berlin.
    let at_ms = day("2026-11-02") * 86_400_000 + 23 * 3_600_000 + 1_800_000;
    set(&mut shop, &format!("UPDATE posts SET published_ms = {at_ms}")).await;
    let columns = ["clicks", "net_revenue", "assisted_conversions"];
    let report = shop.report(&format!("{IN_NOVEMBER}&by=published_hour_of_week&model=linear")).await.unwrap();
    assert_eq!(rows(&report, &columns), ["24: 100 175.00 null", "-: 5 15.01 null", "total: 105 190.01 null"]);
    let refused = shop.report("by=published_hour_of_week&model=markov").await.unwrap_err();
    assert!(refused.to_string().starts_with("by:"), "{refused}");
}
