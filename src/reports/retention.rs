//! Customers that social brought against all others: what they order, how often they come back, and how
//! long they took. docs/REPORTS.md defines the columns.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use serde_json::json;

use super::columns::{decimal, ratio};
use super::frame::{Frame, revenue_basis};
use super::{Bound, Cell, Problem, ReportError, ReportRequest, Sheet, SheetRow};
use crate::config::Attribution;
use crate::domain::money::{Currency, format_minor};
use crate::domain::time::{day_date, local_day, now_ms, rfc3339};
use crate::ledger::packs::Customer;
use crate::ledger::reports::{self as sums, Dimension, Key, Purchase};
use crate::ledger::{Ledger, LedgerError};

/// Revenue per customer is told after so many days.
const AFTER_DAYS: [i64; 4] = [30, 60, 90, 365];

/// What fits a table for the eye.
const SHOWN: [(&str, &str); 11] = [
    ("new_customers", "new"),
    ("returning_customers", "returning"),
    ("orders_per_customer", "orders each"),
    ("repeat_rate", "repeat"),
    ("average_order_value", "per order"),
    ("revenue_per_customer", "per customer"),
    ("revenue_per_customer_30_days", "30 days"),
    ("revenue_per_customer_60_days", "60 days"),
    ("revenue_per_customer_90_days", "90 days"),
    ("revenue_per_customer_365_days", "365 days"),
    ("median_days_to_close", "days to close"),
];

/// Who is compared, and when they bought for the first time.
#[derive(Debug, Clone, Default)]
pub struct RetentionRequest {
    /// None: social as a whole against the others.
    by: Option<Dimension>,
    from: Option<Bound>,
    to: Option<Bound>,
}

impl RetentionRequest {
    /// `by` (all, network, post, campaign or kind), `from` and `to`. An empty value is as none.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ReportError> {
        let mut days = Vec::new();
        let mut by = "all";
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            match name {
                "by" => by = value,
                "from" | "to" => days.push((name, value)),
                _ => return Err(ReportError::invalid(name, "is no parameter of this report")),
            }
        }
        let ReportRequest { from, to, .. } = ReportRequest::parse(days)?;
        Self::over(by, from, to)
    }

    /// `by` is all, network, post, campaign or kind; the days are those of first purchases.
    pub fn over(by: &str, from: Option<Bound>, to: Option<Bound>) -> Result<Self, ReportError> {
        let known = [Dimension::Network, Dimension::Post, Dimension::Campaign, Dimension::Kind];
        let found = known.into_iter().find(|dimension| dimension.name() == by);
        match (found, by) {
            (None, "all") | (Some(_), _) => Ok(Self { by: found, from, to }),
            _ => {
                let detail = format!("{by:?} is none of all, network, post, campaign, kind");
                Err(ReportError::invalid("by", detail))
            }
        }
    }
}

/// What is known of the customers of one row.
#[derive(Debug, Default)]
struct Cohort {
    customers: i64,
    orders: i64,
    repeating: i64,
    gross_minor: i64,
    net_minor: i64,
    /// For each of [`AFTER_DAYS`]: customers who bought that long ago, and their net until then.
    after: [(i64, i64); 4],
    /// From the first click to the first order.
    days_to_close: Vec<i64>,
    /// Who bought again in the period.
    returning: BTreeSet<usize>,
}

/// Whose customers a row holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Brought {
    By(Key),
    Others,
}

pub async fn retention(
    ledger: &Ledger,
    workspace: &str,
    request: &RetentionRequest,
    defaults: &Attribution,
) -> Result<Sheet, ReportError> {
    let frame = Frame::open(ledger, workspace, "purchase", defaults).await?;
    let as_of_ms = now_ms();
    let today = i64::from(local_day(as_of_ms, &frame.zone));
    let used = sums::days(ledger, workspace).await?;
    let days = ReportRequest { from: request.from, to: request.to, ..ReportRequest::default() };
    let slice = days.slice(workspace, &frame.zone, used, as_of_ms)?;

    let keys = async {
        match request.by {
            Some(by) => sums::link_keys(ledger, workspace, by).await,
            None => Ok(BTreeMap::new()),
        }
    };
    let (purchases, keys) = tokio::try_join!(sums::purchases(ledger, workspace, today + 1), keys)?;
    let anonymous: i64 =
        purchases.anonymous.range(slice.from_day..slice.to_day).map(|(_, count)| count).sum();
    let brought = |purchase: &Purchase| match (purchase.touched, request.by) {
        (None, _) => Brought::Others,
        (Some(_), None) => Brought::By(Key::Text("social".to_owned())),
        (Some(touched), Some(_)) => Brought::By(keys.get(&touched.last_link).cloned().unwrap_or(Key::None)),
    };
    let histories = histories(purchases.known, purchases.same);
    let rows = cohorts(&histories, (slice.from_day, slice.to_day), today, brought);

    let mut problems = Vec::new();
    if anonymous > 0 {
        let detail =
            format!("orders of the period whose customer nothing identifies are left out: {anonymous}");
        problems.push(Problem { code: "unknown_customer", detail });
    }
    let date = |day: i64| day_date(i32::try_from(day).unwrap_or(i32::MAX)).to_string();
    Ok(Sheet {
        head: vec![
            ("by", json!(request.by.map_or("all", Dimension::name))),
            ("from", json!(date(slice.from_day))),
            ("to", json!(date(slice.to_day))),
            ("timezone", json!(frame.timezone())),
            ("currency", json!(frame.currency.code())),
            ("revenue_basis", json!(revenue_basis(&frame.settings))),
            ("as_of", json!(rfc3339(as_of_ms))),
            ("settings_hash", json!(frame.settings_hash)),
        ],
        columns: columns(),
        shown: SHOWN.map(|(column, title)| (column.to_owned(), title.to_owned())).to_vec(),
        totals: None,
        rows: sheet_rows(ledger, workspace, request.by, rows, frame.currency).await?,
        foot: Vec::new(),
        problems,
    })
}

/// Each customer's purchases, in order. Hashes that an order names together are one customer.
fn histories(purchases: Vec<Purchase>, pairs: Vec<(Customer, Customer)>) -> Vec<Vec<Purchase>> {
    let mut numbers: HashMap<Customer, usize, RandomState> = HashMap::default();
    // The customer that stands for a hash, by number; a chain ends in one that stands for itself.
    let mut same: Vec<usize> = Vec::new();
    let mut number = |hash: Customer, same: &mut Vec<usize>| {
        *numbers.entry(hash).or_insert_with(|| {
            same.push(same.len());
            same.len() - 1
        })
    };
    fn find(same: &mut [usize], mut customer: usize) -> usize {
        while same[customer] != customer {
            same[customer] = same[same[customer]];
            customer = same[customer];
        }
        customer
    }
    for (a, b) in pairs {
        let (a, b) = (number(a, &mut same), number(b, &mut same));
        let (a, b) = (find(&mut same, a), find(&mut same, b));
        same[a.max(b)] = a.min(b);
    }
    let mut histories: Vec<Vec<Purchase>> = Vec::new();
    for purchase in purchases {
        let customer = number(purchase.customer, &mut same);
        let customer = find(&mut same, customer);
        if histories.len() <= customer {
            histories.resize_with(customer + 1, Vec::new);
        }
        histories[customer].push(purchase);
    }
    histories.retain(|history| !history.is_empty());
    for history in &mut histories {
        history.sort_unstable_by_key(|purchase| (purchase.t_ms, purchase.id));
    }
    histories
}

fn cohorts(
    histories: &[Vec<Purchase>],
    (from_day, to_day): (i64, i64),
    today: i64,
    brought: impl Fn(&Purchase) -> Brought,
) -> BTreeMap<Brought, Cohort> {
    let in_period = |purchase: &Purchase| (from_day..to_day).contains(&purchase.order_day);
    let mut rows: BTreeMap<Brought, Cohort> = BTreeMap::new();
    for (customer, history) in histories.iter().enumerate() {
        let Some((first, later)) = history.split_first() else { continue };
        for purchase in later.iter().filter(|purchase| in_period(purchase)) {
            rows.entry(brought(purchase)).or_default().returning.insert(customer);
        }
        if !in_period(first) {
            continue;
        }
        let row = rows.entry(brought(first)).or_default();
        row.customers += 1;
        row.orders += history.len() as i64;
        row.repeating += i64::from(!later.is_empty());
        row.gross_minor += history.iter().map(|purchase| purchase.gross_minor).sum::<i64>();
        row.net_minor += history.iter().map(|purchase| purchase.net_minor).sum::<i64>();
        for (days, (customers, net_minor)) in AFTER_DAYS.into_iter().zip(&mut row.after) {
            let end = first.order_day + days;
            if end <= today {
                let until_then = history.iter().filter(|purchase| purchase.order_day < end);
                *customers += 1;
                *net_minor += until_then.map(|purchase| purchase.net_minor).sum::<i64>();
            }
        }
        if let Some(touched) = first.touched {
            row.days_to_close.push((first.order_day - touched.first_day).max(0));
        }
    }
    rows
}

fn columns() -> Vec<String> {
    let fixed = [
        "new_customers",
        "returning_customers",
        "orders",
        "orders_per_customer",
        "repeat_rate",
        "average_order_value",
        "net_revenue",
        "revenue_per_customer",
    ];
    let after = AFTER_DAYS.iter().flat_map(|days| {
        [format!("revenue_per_customer_{days}_days"), format!("customers_after_{days}_days")]
    });
    let closing = ["median_days_to_close", "mean_days_to_close"].map(str::to_owned);
    fixed.map(str::to_owned).into_iter().chain(after).chain(closing).collect()
}

impl Cohort {
    fn cells(&mut self, currency: Currency) -> Vec<Cell> {
        let money = |minor: i64| Cell::Money(format_minor(minor, currency));
        // Numbers in hundredths or ten-thousandths, money in minor units: rounded once, half to even.
        let number =
            |units: Option<i128>, scale| units.map_or(Cell::Null, |n| Cell::Number(decimal(n, scale)));
        let per = |minor: i64, count: i64| {
            ratio(minor.into(), count.into())
                .map_or(Cell::Null, |n| Cell::Money(decimal(n, currency.exponent())))
        };
        let mut cells = vec![
            Cell::Count(self.customers),
            Cell::Count(self.returning.len() as i64),
            Cell::Count(self.orders),
            number(ratio(i128::from(self.orders) * 100, self.customers.into()), 2),
            number(ratio(i128::from(self.repeating) * 10_000, self.customers.into()), 4),
            per(self.gross_minor, self.orders),
            money(self.net_minor),
            per(self.net_minor, self.customers),
        ];
        for (customers, net_minor) in self.after {
            cells.extend([per(net_minor, customers), Cell::Count(customers)]);
        }
        let days = &mut self.days_to_close;
        days.sort_unstable();
        // The mean of the two in the middle, which are one where their number is odd.
        let middle = (!days.is_empty()).then(|| days[(days.len() - 1) / 2] + days[days.len() / 2]);
        cells.push(number(middle.map(|sum| i128::from(sum) * 50), 2));
        cells.push(number(ratio(i128::from(days.iter().sum::<i64>()) * 100, days.len() as i128), 2));
        cells
    }
}

/// By net revenue, the largest first; the others come last.
async fn sheet_rows(
    ledger: &Ledger,
    workspace: &str,
    by: Option<Dimension>,
    rows: BTreeMap<Brought, Cohort>,
    currency: Currency,
) -> Result<Vec<SheetRow>, LedgerError> {
    let keys: Vec<Key> = rows
        .keys()
        .filter_map(|brought| match brought {
            Brought::By(key) => Some(key.clone()),
            Brought::Others => None,
        })
        .collect();
    let labels: BTreeMap<Key, String> = match by {
        Some(by) => sums::labels(ledger, workspace, by, &keys).await?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let mut rows: Vec<(Brought, Cohort)> = rows.into_iter().collect();
    rows.sort_by_key(|(brought, cohort)| (*brought == Brought::Others, std::cmp::Reverse(cohort.net_minor)));
    let row = |(brought, mut cohort): (Brought, Cohort)| {
        let (name, label) = match &brought {
            Brought::By(Key::Text(text)) => {
                (Some(text.clone()), labels.get(&Key::Text(text.clone())).cloned())
            }
            Brought::By(_) => (None, None),
            Brought::Others => (Some("others".to_owned()), None),
        };
        SheetRow { name, label, cells: cohort.cells(currency) }
    };
    Ok(rows.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purchase(customer: u8, id: i64, order_day: i64, net_minor: i64) -> Purchase {
        Purchase {
            customer: [customer; 16],
            id,
            t_ms: order_day * 86_400_000,
            order_day,
            gross_minor: net_minor,
            net_minor,
            touched: None,
        }
    }

    #[test]
    fn hashes_that_orders_name_together_are_one_customer() {
        let purchases = vec![purchase(b'a', 1, 5, 1), purchase(b'b', 2, 3, 1), purchase(b'c', 3, 4, 1)];
        let pair = |a: u8, b: u8| ([a; 16], [b; 16]);
        let all = histories(purchases, vec![pair(b'x', b'a'), pair(b'y', b'x'), pair(b'y', b'b')]);
        let ids: Vec<Vec<i64>> =
            all.iter().map(|history| history.iter().map(|purchase| purchase.id).collect()).collect();
        assert_eq!(ids, [vec![2, 1], vec![3]]);
    }

    #[test]
    fn only_customers_who_are_old_enough_count_after_days() {
        let histories = [
            vec![purchase(b'a', 1, 0, 100), purchase(b'a', 2, 29, 50), purchase(b'a', 3, 30, 25)],
            vec![purchase(b'b', 4, 75, 10)],
        ];
        let check = |today, expected: [(i64, i64); 4]| {
            let rows = cohorts(&histories, (0, 200), today, |_| Brought::Others);
            assert_eq!(rows[&Brought::Others].after, expected, "{today}");
        };
        check(29, [(0, 0); 4]);
        check(30, [(1, 150), (0, 0), (0, 0), (0, 0)]);
        check(90, [(1, 150), (1, 175), (1, 175), (0, 0)]);
        check(105, [(2, 160), (1, 175), (1, 175), (0, 0)]);
    }
}
