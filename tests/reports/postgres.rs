//! One SQL text for both ledgers: they answer alike.

use utmost::ledger::Ledger;
use utmost::reports::{difference, freeze};

use crate::shop::Value::{N, T};
use crate::shop::{Order, SALE, Shop, WORKSPACE, day, settings, told};
use crate::support::postgres::Postgres;
use crate::{IN_NOVEMBER, november_in};

/// November with everything that reports know of.
async fn whole(shop: Shop) -> Shop {
    let mut shop = november_in(shop).await;
    let (a, b) = (1001, 1003);
    for (amount_minor, customers, touches) in [
        (
            3_000,
            ["ann", "ann-by-mail"].as_slice(),
            [(Some(a), "2026-11-01"), (Some(b), "2026-11-06")].as_slice(),
        ),
        (2_000, &["ann"], [(Some(b), "2026-11-07")].as_slice()),
        (1_000, &["bob"], [].as_slice()),
    ] {
        let (status, reason) =
            if touches.is_empty() { ("unattributed", Some("no_match")) } else { ("attributed", None) };
        let order = Order {
            amount_minor,
            touches,
            status,
            reason,
            customers,
            cost_of_goods_minor: Some(700),
            ..SALE
        };
        shop.order(order).await;
    }
    shop.order(Order { amount_minor: 5, status: "excluded", reason: Some("missing_rate"), ..SALE }).await;
    shop.cost("network", "tiktok", 501, "EUR", "2026-11-01", "2026-11-06").await;
    shop.insert(
        "post_metrics (workspace, post, day, reach, likes)",
        &[T(WORKSPACE), T("a"), N(day("2026-11-01")), N(1000), N(7)],
    )
    .await;
    shop.commit().await;
    let mut tx = shop.ledger.begin().await.unwrap();
    let prices = r#"UPDATE workspaces SET settings = '{"click_prices":{"instagram":"0.855"}}'"#;
    sqlx::query(prices).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    shop
}

#[tokio::test]
async fn both_ledgers_answer_alike() {
    let server = Postgres::start();
    let ledger = Ledger::open_postgres(&server.url("postgres")).await.unwrap();
    let mut postgres = whole(Shop::open_in(ledger, "Europe/Berlin", "EUR").await).await;
    let mut sqlite = whole(Shop::open("Europe/Berlin", "EUR").await).await;
    for by in [
        "post",
        "network",
        "campaign",
        "link",
        "utm_source",
        "tag",
        "kind",
        "source",
        "country",
        "device",
        "day",
        "week",
        "month",
        "hour_of_week",
        "published_hour_of_week",
    ] {
        for more in ["model=linear", "model=time_decay&clock=click", "clock=cash&source=shop", "model=all"] {
            let query = format!("{IN_NOVEMBER}&by={by}&{more}");
            let answered = told(postgres.report(&query).await.unwrap());
            assert_eq!(answered, told(sqlite.report(&query).await.unwrap()), "{query}");
        }
    }
    for query in [IN_NOVEMBER, "by=network&models=markov"] {
        let answered = told(postgres.compare(query).await.unwrap());
        assert_eq!(answered, told(sqlite.compare(query).await.unwrap()), "{query}");
    }
    for by in ["all", "post"] {
        let query = format!("{IN_NOVEMBER}&by={by}");
        let answered = told(postgres.retention(&query).await.unwrap());
        assert_eq!(answered, told(sqlite.retention(&query).await.unwrap()), "{query}");
        assert_eq!(answered["rows"].as_array().unwrap().len(), 2, "{answered:#}");
    }
    let pairs = [("by", "post"), ("from", "2026-10-01"), ("to", "2026-11-20")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut answers = Vec::new();
    for shop in [&postgres, &sqlite] {
        let frozen = freeze(&shop.ledger, WORKSPACE, "then", &pairs, &settings()).await.unwrap();
        let kept = utmost::ledger::snapshots::list(&shop.ledger, WORKSPACE, None, 10).await.unwrap();
        assert_eq!((kept.len(), &kept[0].id, kept[0].report.as_str()), (1, &frozen.id, ""));
        answers.push(told(difference(&shop.ledger, &frozen, &settings()).await.unwrap()));
    }
    assert_eq!(answers[0], answers[1]);
    postgres.ledger.close().await;
}
