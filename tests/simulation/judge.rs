//! Reads what the ledger came to and holds it against the reference.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use utmost::config::Attribution;
use utmost::ledger::Ledger;
use utmost::ledger::reports::Dimension;
use utmost::reports::{ReportRequest, attribution};

use crate::money::{decayed, shares, split, split_by};
use crate::outcome::{Change, Conversion, Fraction, MODELS, OrderKey, Outcome, TIME_DECAY, Touch};
use crate::rules::{Reference, Ties};
use crate::world::{Expected, Rules, Says, World};

/// Everything that has to be true of the ledger once all has arrived and all is evaluated.
pub async fn judge(world: &World, ledger: &Ledger, defaults: &Attribution) {
    let left: i64 = one(ledger, "SELECT COUNT(*) FROM conversions WHERE due > 0").await;
    assert_eq!(left, 0, "conversions that are still due");
    deliveries(world, ledger).await;
    let mut expected = Reference::new(world, &ties(world, ledger).await).outcome();
    let found = read(ledger).await;
    for (key, conversion) in &mut expected.conversions {
        let source = world.sources.iter().find(|source| source.id == key.0).expect("a source");
        let rules = &world.spaces[source.space].rules;
        if let (Some(conversion), Some(Some(found))) = (conversion, found.conversions.get(key))
            && conversion.touches.len() == found.touches.len()
        {
            complete(conversion, found, rules);
        }
    }
    compare(&expected, &found);
    dimensions(ledger).await;
    reconcile(world, ledger, defaults, &found).await;
}

fn compare(expected: &Outcome, found: &Outcome) {
    let keys: BTreeSet<&OrderKey> = expected.conversions.keys().chain(found.conversions.keys()).collect();
    for key in keys {
        let (expected, found) = (expected.conversions.get(key), found.conversions.get(key));
        assert!(expected == found, "order {key:?}: {}", difference(expected, found));
    }
    assert_eq!(expected.clicks, found.clicks, "clicks by workspace, link and day");
}

/// The lines in which two things are not the same.
pub fn difference(expected: impl std::fmt::Debug, found: impl std::fmt::Debug) -> String {
    let (expected, found) = (format!("{expected:#?}"), format!("{found:#?}"));
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let before = same(&mut expected.iter().zip(&found));
    let most = expected.len().min(found.len()) - before;
    let after = same(&mut expected.iter().rev().zip(found.iter().rev())).min(most);
    let from = before.saturating_sub(2);
    let part = |lines: &[&str]| lines[from..lines.len() - after].join("\n");
    format!("from line {from} expected\n{}\nfound\n{}", part(&expected), part(&found))
}

/// Fills in weights and credits, which follow from the touches and the changes.
fn complete(expected: &mut Conversion, found: &Conversion, rules: &Rules) {
    let times: Vec<i64> = expected.touches.iter().map(|touch| touch.at_ms).collect();
    for (model, weights) in MODELS.iter().zip(&mut expected.weights) {
        *weights = match shares(model, times.len(), rules) {
            _ if times.is_empty() => Vec::new(),
            Some(shares) => split(1_000_000_000, &shares),
            // The last digits of a power are the float's; that they are right can be seen.
            None => {
                let billionths = found.weights[TIME_DECAY].clone();
                let right = decayed(&times, expected.t_ms, rules);
                assert_eq!(billionths.iter().sum::<i64>(), 1_000_000_000, "{expected:#?}");
                assert_eq!(billionths.len(), right.len(), "{billionths:?} {expected:#?}");
                for (found, right) in billionths.iter().zip(right) {
                    assert!((*found as f64 - right).abs() < 2.0, "{billionths:?} {expected:#?}");
                }
                billionths
            }
        };
    }
    let mut before = 0;
    for change in &expected.changes {
        if times.is_empty() {
            break;
        }
        let after = before + change.amount_minor;
        expected.credits.push(std::array::from_fn(|model| {
            let weights = &expected.weights[model];
            match change.kind.as_str() {
                "fx" => split_by(change.amount_minor, weights),
                _ => {
                    let before = split_by(before, weights);
                    split_by(after, weights)
                        .iter()
                        .zip(before)
                        .map(|(after, before)| after - before)
                        .collect()
                }
            }
        }));
        if change.kind != "fx" {
            before = after;
        }
    }
}

async fn rows(ledger: &Ledger, text: &str) -> Vec<AnyRow> {
    sqlx::query(AssertSqlSafe(text.to_owned())).fetch_all(&ledger.read).await.expect("it reads")
}

async fn one(ledger: &Ledger, text: &str) -> i64 {
    rows(ledger, text).await[0].get(0)
}

/// The hash of each statement, as it is stored; and every statement has to be stored.
async fn ties(world: &World, ledger: &Ledger) -> Ties {
    let mut ties = Ties::new();
    for row in rows(ledger, "SELECT delivery, hash, says FROM facts").await {
        let (delivery, hash, says): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let says: serde_json::Value = serde_json::from_str(&says).expect("JSON");
        let delivery = world.deliveries.iter().find(|known| known.id == delivery).expect("a known delivery");
        let index = delivery.statements.iter().copied().find(|index| match &world.statements[*index].says {
            Says::Order(_) => says.get("order").is_some(),
            Says::Refund(refund) => says["refund"]["id"] == refund.id.as_str(),
            Says::Deleted => says.get("gone").is_some(),
        });
        ties.insert(index.expect("the delivery says so"), hash);
    }
    for delivery in world.deliveries.iter().filter(|delivery| delivery.expected == Expected::Accepted) {
        for index in &delivery.statements {
            assert!(ties.contains_key(index), "not stored: {:#?}", world.statements[*index]);
        }
    }
    ties
}

/// A delivery that said something new is accepted; one that did not is a duplicate.
async fn deliveries(world: &World, ledger: &Ledger) {
    let said = rows(ledger, "SELECT DISTINCT delivery FROM facts").await;
    let said: BTreeSet<String> = said.iter().map(|row| row.get(0)).collect();
    let stored = rows(ledger, "SELECT id, result FROM deliveries").await;
    let stored: BTreeMap<String, String> = stored.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(stored.len(), world.deliveries.len(), "deliveries");
    for delivery in &world.deliveries {
        let expected = match delivery.expected {
            Expected::Accepted if said.contains(&delivery.id) => "accepted",
            Expected::Accepted => "duplicate",
            Expected::Ignored => "ignored",
            Expected::Unverified => "unverified",
            Expected::Dead => "dead",
        };
        assert_eq!(stored.get(&delivery.id).map(String::as_str), Some(expected), "{delivery:?}");
    }
}

pub async fn read(ledger: &Ledger) -> Outcome {
    let mut outcome = Outcome::default();
    let text =
        "SELECT id, source, order_id, status, event, reason, match_method, runners_up, occurred_ms, t_ms,
      order_day, total_minor, tax_minor, shipping_minor, refunded_minor, currency, gross_minor, refunds_minor,
      net_minor, basis, rate, assigned_value_minor, customer, workspace FROM conversions";
    for row in rows(ledger, text).await {
        let id: i64 = row.get(0);
        let key: OrderKey = (row.get(1), row.get(2));
        let status: Option<String> = row.get(3);
        let conversion = match status {
            Some(status) => Some(conversion(ledger, id, status, &row).await),
            None => {
                for table in ["touches", "changes", "credits", "conversion_visitors"] {
                    let left = format!("SELECT COUNT(*) FROM {table} WHERE conversion = {id}");
                    assert_eq!(one(ledger, &left).await, 0, "{table} of {key:?}, which is no order");
                }
                None
            }
        };
        outcome.conversions.insert(key, conversion);
    }
    let text =
        "SELECT workspace, link, day, human, duplicate, bot, preview, prefetch, uniques FROM clicks_by_day";
    for row in rows(ledger, text).await {
        let day: i64 = row.get(2);
        let counts = outcome.clicks.entry((row.get(0), row.get(1), day as i32)).or_default();
        counts.human += row.get::<i64, _>(3);
        counts.duplicate += row.get::<i64, _>(4);
        counts.bot += row.get::<i64, _>(5);
        counts.preview += row.get::<i64, _>(6);
        counts.prefetch += row.get::<i64, _>(7);
        counts.uniques += row.get::<i64, _>(8);
    }
    outcome
}

async fn conversion(ledger: &Ledger, id: i64, status: String, row: &AnyRow) -> Conversion {
    let runners_up: String = row.get(7);
    let rate: Option<String> = row.get(20);
    let mut conversion = Conversion {
        event: row.get(4),
        status,
        reason: row.get(5),
        method: row.get(6),
        runners_up: serde_json::from_str(&runners_up).expect("JSON"),
        occurred_ms: row.get(8),
        t_ms: row.get(9),
        order_day: row.get::<i64, _>(10) as i32,
        total_minor: row.get(11),
        tax_minor: row.get(12),
        shipping_minor: row.get(13),
        refunded_minor: row.get(14),
        currency: row.get(15),
        gross_minor: row.get(16),
        refunds_minor: row.get(17),
        net_minor: row.get(18),
        basis: row.get(19),
        rate: rate.map(|rate| Fraction::decimal(&rate)),
        assigned_value_minor: row.get(21),
        customer: row.get(22),
        touches: Vec::new(),
        others: BTreeSet::new(),
        changes: Vec::new(),
        weights: Default::default(),
        credits: Vec::new(),
    };
    let text = format!(
        "SELECT kind, refund_id, amount_minor, at_ms, day FROM changes WHERE conversion = {id} ORDER BY change_no"
    );
    for row in rows(ledger, &text).await {
        conversion.changes.push(Change {
            kind: row.get(0),
            refund_id: row.get(1),
            amount_minor: row.get(2),
            at_ms: row.get(3),
            day: row.get::<i64, _>(4) as i32,
        });
    }
    let text = format!(
        "SELECT at_ms, via, link, revision, click, channel, device, counted FROM touches WHERE conversion = {id} ORDER BY n"
    );
    for row in rows(ledger, &text).await {
        if row.get::<i64, _>(7) == 0 {
            conversion.others.insert((row.get(4), row.get(2)));
            continue;
        }
        assert!(conversion.others.is_empty(), "touches that count come first");
        conversion.touches.push(Touch {
            at_ms: row.get(0),
            via: row.get(1),
            link: row.get(2),
            revision: row.get(3),
            click: row.get(4),
            channel: row.get(5),
            device: row.get(6),
            click_day: 0,
        });
    }
    credits(ledger, id, row, &mut conversion).await;
    conversion
}

async fn credits(ledger: &Ledger, id: i64, order: &AnyRow, conversion: &mut Conversion) {
    let models = MODELS.join(", ");
    let weights = MODELS.map(|model| format!("{model}_weight")).join(", ");
    let text = format!(
        "SELECT change_no, n, workspace, link, revision, kind, event, source, order_day, click_day, cash_day,
           is_last, {models}, {weights} FROM credits WHERE conversion = {id} ORDER BY change_no, n"
    );
    let touches = conversion.touches.len();
    for row in rows(ledger, &text).await {
        let (change_no, n): (i64, i64) = (row.get(0), row.get(1));
        let (change_no, n) = (change_no as usize, n as usize);
        if n == 0 {
            conversion.credits.push(Default::default());
        }
        let change = &conversion.changes[change_no];
        let touch = &mut conversion.touches[n];
        touch.click_day = row.get::<i64, _>(9) as i32;
        // What a credit repeats of its order, its change and its touch.
        assert_eq!(row.get::<String, _>(2), order.get::<String, _>(23));
        assert_eq!(row.get::<Option<i64>, _>(3), touch.link);
        assert_eq!(row.get::<Option<i64>, _>(4), touch.revision);
        assert_eq!(row.get::<String, _>(5), change.kind);
        assert_eq!(row.get::<String, _>(6), conversion.event);
        assert_eq!(row.get::<String, _>(7), order.get::<String, _>(1));
        assert_eq!(row.get::<i64, _>(8), i64::from(conversion.order_day));
        assert_eq!(row.get::<i64, _>(10), i64::from(change.day));
        assert_eq!(row.get::<i64, _>(11) == 1, n + 1 == touches);
        for model in 0..5 {
            let credits = &mut conversion.credits[change_no][model];
            assert_eq!(credits.len(), n, "credits of every touch");
            credits.push(row.get(12 + model));
            let weight: i64 = row.get(17 + model);
            match change_no {
                0 => conversion.weights[model].push(weight),
                _ => assert_eq!(weight, 0),
            }
        }
    }
}

/// Every way of counting clicks counts the same clicks.
async fn dimensions(ledger: &Ledger) {
    let text = "SELECT workspace, link, CAST(SUM(human) AS BIGINT), CAST(SUM(uniques) AS BIGINT),
      CAST(SUM(bot + preview + prefetch) AS BIGINT), CAST(SUM(human + duplicate + bot + preview + prefetch) AS BIGINT)
      FROM clicks_by_day GROUP BY workspace, link ORDER BY workspace, link";
    type Sums = (String, i64, i64, i64, i64, i64);
    let sums = |rows: Vec<AnyRow>| -> Vec<Sums> {
        let sum = |row: &AnyRow| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5));
        rows.iter().map(sum).collect()
    };
    let by_day = sums(rows(ledger, text).await);
    for dimension in ["country", "device", "referrer", "hour"] {
        let text = format!(
            "SELECT workspace, link, CAST(SUM(human) AS BIGINT), CAST(SUM(uniques) AS BIGINT),
               CAST(SUM(bots) AS BIGINT), CAST(SUM(recorded) AS BIGINT)
             FROM clicks_by_{dimension} GROUP BY workspace, link ORDER BY workspace, link"
        );
        assert_eq!(by_day, sums(rows(ledger, &text).await), "clicks by {dimension}");
    }
}

/// Received = attributed + unattributed + excluded, and reports by whatever key say the same.
async fn reconcile(world: &World, ledger: &Ledger, defaults: &Attribution, outcome: &Outcome) {
    for (n, space) in world.spaces.iter().enumerate() {
        let orders = || {
            let is_here = |key: &OrderKey| world.sources.iter().any(|s| s.id == key.0 && s.space == n);
            let here = outcome.conversions.iter().filter(move |(key, _)| is_here(key));
            here.filter_map(|(_, order)| order.as_ref().filter(|order| order.event == "purchase"))
        };
        let model = world.clicks.len() % 5;
        let of_ours = |order: &Conversion| -> i64 {
            let changes = order.credits.iter().zip(&order.changes).filter(|(_, change)| change.kind != "fx");
            let credits = changes.flat_map(|(credits, _)| credits[model].iter().zip(&order.touches));
            credits.filter(|(_, touch)| touch.link.is_some()).map(|(credit, _)| credit).sum()
        };
        let ours: i64 = orders().map(of_ours).sum();
        let net = |status: &str| -> i64 {
            let of_status = orders().filter(|order| order.status == status);
            of_status.filter_map(|order| order.net_minor).sum()
        };
        for by in [Dimension::Post, Dimension::Network, Dimension::Link, Dimension::Day] {
            let pairs = [("by", by.name()), ("model", MODELS[model])];
            let request = ReportRequest::parse(pairs).expect("a request");
            let report = attribution(ledger, space.id, &request, defaults).await.expect("a report");
            assert!(
                report.problems.iter().all(|problem| problem.code != "not_reconciled"),
                "{:?} {:?}",
                report.problems,
                report.reconciliation
            );
            assert_eq!(report.totals.net_minor(), ours, "attributed net by {}", by.name());
            let rows: i64 = report.rows.iter().map(|row| row.figures.net_minor()).sum();
            assert_eq!(rows, ours, "rows by {}", by.name());
            let reconciliation = report.reconciliation;
            assert_eq!(reconciliation.received.orders, orders().count() as i64);
            let statuses = ["attributed", "unattributed", "excluded"];
            let received: i64 = statuses.into_iter().map(net).sum();
            assert_eq!(reconciliation.received.amounts.net_minor(), received);
            let shared: i64 = net("attributed") - ours;
            assert_eq!(reconciliation.attributed.amounts.net_minor(), ours);
            let unattributed: i64 =
                reconciliation.unattributed.values().map(|line| line.amounts.net_minor()).sum();
            assert_eq!(unattributed, net("unattributed") + shared);
        }
    }
}
