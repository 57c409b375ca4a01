//! Single conversions behind the figures: lists, and one with all that is known about it.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Dimension, Key, Query, Slice, key};
use crate::attribution::models::Model;
use crate::ledger::{Ledger, LedgerError};

/// A conversion in a list. Amounts are minor units of the reporting currency; None: not converted.
#[derive(Debug, Clone)]
pub struct OrderLine {
    pub id: i64,
    pub source: String,
    /// The source's name, where it has one.
    pub source_name: Option<String>,
    pub order_id: String,
    pub event: String,
    pub status: String,
    pub reason: Option<String>,
    pub match_method: Option<String>,
    pub occurred_ms: i64,
    pub order_day: i64,
    pub gross_minor: Option<i64>,
    pub refunds_minor: Option<i64>,
    pub net_minor: Option<i64>,
    /// What the filters' links are credited with of it, by the model asked for.
    pub credited_minor: Option<i64>,
}

const LINE: &str =
    "v.id, v.source, s.name, v.order_id, v.event, v.status, v.reason, v.match_method, v.occurred_ms,
   v.order_day, v.gross_minor, v.refunds_minor, v.net_minor";

/// Which conversions a list holds.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    pub status: Option<String>,
    pub reason: Option<String>,
    /// Only what comes after this one in the list: (order day, id).
    pub after: Option<(i64, i64)>,
}

/// The conversions of the slice's days and event, the latest first. With link filters only those that
/// have a touch of such a link, with what these are credited by `model`.
pub async fn orders(
    ledger: &Ledger,
    slice: &Slice,
    model: Model,
    filter: &OrderFilter,
    limit: i64,
) -> Result<Vec<OrderLine>, LedgerError> {
    let by_link = slice.filters_links();
    let credited = if by_link {
        format!("CAST(SUM(g.{}) AS BIGINT)", model.as_str())
    } else {
        "CAST(NULL AS BIGINT)".to_owned()
    };
    let mut query = Query::new(&format!(
        "SELECT {LINE}, {credited} FROM conversions v LEFT JOIN sources s ON s.id = v.source"
    ));
    if by_link {
        query.push(
            " JOIN credits g ON g.conversion = v.id AND g.link IS NOT NULL AND g.kind <> 'fx'
              JOIN link_revisions r ON r.link = g.link AND r.revision = g.revision
              LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post",
        );
    }
    query.push(" WHERE v.workspace = ").text(&slice.workspace);
    query
        .push(" AND v.order_day >= ")
        .number(slice.from_day)
        .push(" AND v.order_day < ")
        .number(slice.to_day);
    query.push(" AND v.status IS NOT NULL AND v.event = ").text(&slice.event);
    if let Some(source) = slice.filter(Dimension::Source) {
        query.push(" AND v.source = ").key(source);
    }
    if let Some(status) = &filter.status {
        query.push(" AND v.status = ").text(status);
    }
    if let Some(reason) = &filter.reason {
        query.push(" AND v.reason = ").text(reason);
    }
    if let Some((day, id)) = filter.after {
        query.push(" AND (v.order_day < ").number(day);
        query.push(" OR v.order_day = ").number(day).push(" AND v.id < ").number(id).push(")");
    }
    query.and_link_filters(slice, "g.link");
    if by_link {
        query.push(&format!(" GROUP BY {LINE}"));
    }
    query.push(" ORDER BY v.order_day DESC, v.id DESC LIMIT ").number(limit);
    query.fetch(ledger).await?.iter().map(line).collect()
}

fn line(row: &AnyRow) -> Result<OrderLine, LedgerError> {
    Ok(OrderLine {
        id: row.try_get(0)?,
        source: row.try_get(1)?,
        source_name: row.try_get(2)?,
        order_id: row.try_get(3)?,
        event: row.try_get(4)?,
        status: row.try_get(5)?,
        reason: row.try_get(6)?,
        match_method: row.try_get(7)?,
        occurred_ms: row.try_get(8)?,
        order_day: row.try_get(9)?,
        gross_minor: row.try_get(10)?,
        refunds_minor: row.try_get(11)?,
        net_minor: row.try_get(12)?,
        credited_minor: row.try_get(13)?,
    })
}

/// A conversion with its journey and its credits.
#[derive(Debug, Clone)]
pub struct Order {
    pub line: OrderLine,
    pub t_ms: i64,
    pub received_ms: i64,
    /// JSON array of the other methods that would have matched.
    pub runners_up: Option<String>,
    /// Original amounts.
    pub currency: Option<String>,
    pub total_minor: Option<i64>,
    pub tax_minor: Option<i64>,
    pub shipping_minor: Option<i64>,
    pub basis: Option<String>,
    pub rate: Option<String>,
    pub assigned_value_minor: Option<i64>,
    pub renews: Option<String>,
    pub touches: Vec<OrderTouch>,
    pub changes: Vec<OrderChange>,
    pub deliveries: Vec<OrderDelivery>,
}

#[derive(Debug, Clone)]
pub struct OrderTouch {
    pub n: i64,
    pub at_ms: i64,
    pub via: String,
    pub link: Option<i64>,
    /// Domain and slug.
    pub short_url: Option<String>,
    pub post: Option<String>,
    pub title: Option<String>,
    pub network: Option<String>,
    /// Of a rival touch.
    pub channel: Option<String>,
    pub country: Option<String>,
    pub device: Option<String>,
    pub counted: bool,
    /// By model, in the order of [`Model::ALL`]: net credited (exchange differences left out), and the
    /// weight in billionths.
    pub credits: [(i64, i64); 5],
}

#[derive(Debug, Clone)]
pub struct OrderChange {
    pub kind: String,
    pub refund_id: Option<String>,
    pub amount_minor: i64,
    pub at_ms: i64,
}

#[derive(Debug, Clone)]
pub struct OrderDelivery {
    pub id: String,
    pub received_ms: i64,
    pub topic: Option<String>,
    pub result: String,
}

/// None where the workspace has no such conversion.
pub async fn order(ledger: &Ledger, workspace: &str, id: i64) -> Result<Option<Order>, LedgerError> {
    let mut query = Query::new(&format!(
        "SELECT {LINE}, CAST(NULL AS BIGINT), v.t_ms, v.received_ms, v.runners_up, v.currency, v.total_minor, v.tax_minor,
           v.shipping_minor, v.basis, v.rate, v.assigned_value_minor, v.renews
         FROM conversions v LEFT JOIN sources s ON s.id = v.source WHERE v.status IS NOT NULL AND v.workspace = "
    ));
    query.text(workspace).push(" AND v.id = ").number(id);
    let rows = query.fetch(ledger).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let line = line(row)?;
    Ok(Some(Order {
        t_ms: row.try_get(14)?,
        received_ms: row.try_get(15)?,
        runners_up: row.try_get(16)?,
        currency: row.try_get(17)?,
        total_minor: row.try_get(18)?,
        tax_minor: row.try_get(19)?,
        shipping_minor: row.try_get(20)?,
        basis: row.try_get(21)?,
        rate: row.try_get(22)?,
        assigned_value_minor: row.try_get(23)?,
        renews: row.try_get(24)?,
        touches: touches(ledger, id).await?,
        changes: changes(ledger, id).await?,
        deliveries: deliveries(ledger, &line).await?,
        line,
    }))
}

async fn touches(ledger: &Ledger, id: i64) -> Result<Vec<OrderTouch>, LedgerError> {
    let models = Model::ALL.map(|model| {
        let name = model.as_str();
        format!(", CAST(SUM({name}) AS BIGINT), CAST(SUM({name}_weight) AS BIGINT)")
    });
    let mut query = Query::new(&format!("SELECT n{} FROM credits WHERE kind <> 'fx'", models.concat()));
    query.push(" AND conversion = ").number(id).push(" GROUP BY n");
    let mut credits: BTreeMap<i64, [(i64, i64); 5]> = BTreeMap::new();
    for row in query.fetch(ledger).await? {
        let of_touch = credits.entry(row.try_get(0)?).or_default();
        for (i, credit) in of_touch.iter_mut().enumerate() {
            *credit = (row.try_get(1 + 2 * i)?, row.try_get(2 + 2 * i)?);
        }
    }
    let mut query = Query::new(
        "SELECT t.n, t.at_ms, t.via, t.link, l.domain || '/' || l.slug, r.post, p.title,
           COALESCE(r.network, p.network), t.channel, t.country, t.device, t.counted
         FROM touches t LEFT JOIN links l ON l.id = t.link
           LEFT JOIN link_revisions r ON r.link = t.link AND r.revision = t.revision
           LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post
         WHERE t.conversion = ",
    );
    query.number(id).push(" ORDER BY t.at_ms, t.n");
    let read = |row: &AnyRow| {
        let n = row.try_get(0)?;
        Ok(OrderTouch {
            n,
            at_ms: row.try_get(1)?,
            via: row.try_get(2)?,
            link: row.try_get(3)?,
            short_url: row.try_get(4)?,
            post: row.try_get(5)?,
            title: row.try_get(6)?,
            network: row.try_get(7)?,
            channel: row.try_get(8)?,
            country: row.try_get(9)?,
            device: row.try_get(10)?,
            counted: row.try_get::<i64, _>(11)? == 1,
            credits: credits.get(&n).copied().unwrap_or_default(),
        })
    };
    query.fetch(ledger).await?.iter().map(read).collect()
}

async fn changes(ledger: &Ledger, id: i64) -> Result<Vec<OrderChange>, LedgerError> {
    let mut query =
        Query::new("SELECT kind, refund_id, amount_minor, at_ms FROM changes WHERE conversion = ");
    query.number(id).push(" ORDER BY change_no");
    let read = |row: &AnyRow| {
        Ok(OrderChange {
            kind: row.try_get(0)?,
            refund_id: row.try_get(1)?,
            amount_minor: row.try_get(2)?,
            at_ms: row.try_get(3)?,
        })
    };
    query.fetch(ledger).await?.iter().map(read).collect()
}

async fn deliveries(ledger: &Ledger, line: &OrderLine) -> Result<Vec<OrderDelivery>, LedgerError> {
    let mut query = Query::new(
        "SELECT DISTINCT d.id, d.received_ms, d.topic, d.result FROM facts f JOIN deliveries d ON d.id = f.delivery
         WHERE f.source = ",
    );
    query
        .text(&line.source)
        .push(" AND f.order_id = ")
        .text(&line.order_id)
        .push(" ORDER BY d.received_ms, d.id");
    let read = |row: &AnyRow| {
        Ok(OrderDelivery {
            id: row.try_get(0)?,
            received_ms: row.try_get(1)?,
            topic: row.try_get(2)?,
            result: row.try_get(3)?,
        })
    };
    query.fetch(ledger).await?.iter().map(read).collect()
}

/// A post as the API keeps it.
#[derive(Debug, Clone)]
pub struct PostCard {
    pub title: Option<String>,
    pub network: Option<String>,
    pub campaign: Option<String>,
    pub kind: Option<String>,
    pub url: Option<String>,
    pub published_ms: Option<i64>,
}

/// None where only links or costs name the post.
pub async fn post(ledger: &Ledger, workspace: &str, id: &str) -> Result<Option<PostCard>, LedgerError> {
    let mut query =
        Query::new("SELECT title, network, campaign, kind, url, published_ms FROM posts WHERE workspace = ");
    query.text(workspace).push(" AND id = ").text(id);
    let read = |row: &AnyRow| {
        Ok(PostCard {
            title: row.try_get(0)?,
            network: row.try_get(1)?,
            campaign: row.try_get(2)?,
            kind: row.try_get(3)?,
            url: row.try_get(4)?,
            published_ms: row.try_get(5)?,
        })
    };
    query.fetch(ledger).await?.first().map(read).transpose()
}

/// The networks of posts: those of their links, or their own.
pub async fn networks_of_posts(
    ledger: &Ledger,
    workspace: &str,
    posts: &[Key],
) -> Result<BTreeMap<Key, Vec<String>>, LedgerError> {
    let mut networks: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    for posts in posts.chunks(1000).filter(|posts| !posts.is_empty()) {
        let mut query = Query::new(
            "SELECT DISTINCT r.post, COALESCE(r.network, p.network) FROM link_revisions r
             LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post WHERE r.workspace = ",
        );
        query.text(workspace).push(" AND r.post IN (");
        for (i, post) in posts.iter().enumerate() {
            query.push(if i == 0 { "" } else { "," }).key(post);
        }
        query.push(") ORDER BY 1, 2");
        for row in query.fetch(ledger).await? {
            if let Some(network) = row.try_get(1)? {
                networks.entry(key(&row, 0, Dimension::Post)?).or_default().push(network);
            }
        }
    }
    Ok(networks)
}

/// All networks that links or posts of the workspace name.
pub async fn networks(ledger: &Ledger, workspace: &str) -> Result<Vec<String>, LedgerError> {
    let mut query =
        Query::new("SELECT network FROM link_revisions WHERE network IS NOT NULL AND workspace = ");
    query.text(workspace);
    query.push(" UNION SELECT network FROM posts WHERE network IS NOT NULL AND workspace = ").text(workspace);
    query.push(" ORDER BY 1");
    let read = |row: &AnyRow| Ok(row.try_get(0)?);
    query.fetch(ledger).await?.iter().map(read).collect()
}
