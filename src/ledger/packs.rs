//! Conversions as reports read them: those of an event and an order day lie in one row, a pack, since a row for
//! each costs SQL more than reading a hundred of them.
//!
//! An evaluation writes its own conversion alone and notes in `unpacked` that the pack does not know of it yet.
//! Readers put both together, so that reports show what was committed; the worker does the same now and then for
//! good. All of it follows from the other tables.

mod record;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Store, Tx, sql};
pub use record::{Change, ChangeKind, Conversion, Customer, Goods, Link, Status, Touch};

/// A pack is written anew once a sixteenth of its conversions has changed.
const CHANGED_SHARE: i64 = 16;
/// Packs in one transaction.
const PACKS_PER_TRANSACTION: i64 = 20;

/// Where a pack belongs: its event and the day of its orders.
type Place = (String, i64);
/// Conversions of a pack that it does not know as they are; None: no longer in it.
type Changed = BTreeMap<i64, Option<Vec<u8>>>;

/// Which packs a reader wants.
#[derive(Debug, Clone, Copy)]
pub enum Span {
    /// Orders of these days, the last one exclusive.
    Orders(i64, i64),
    /// Orders of which anything happened on these days.
    Anything(i64, i64),
}

/// Conversions that are read at once; a day with more is read whole.
const READ_MAX: i64 = 20_000;

/// Reads packs some at a time, however many there are, from one state of the ledger. It holds a connection meanwhile
/// and must wait for nothing that needs another.
pub struct Reading {
    tx: Tx,
    workspace: String,
    event: String,
    valued: bool,
    span: Span,
    /// Order days that are still to be read, each span half-open.
    pieces: VecDeque<(i64, i64)>,
}

impl Reading {
    /// Of an event's conversions, with those of `valued` other events that have an assigned value.
    pub async fn begin(
        ledger: &Ledger,
        workspace: &str,
        event: &str,
        span: Span,
        valued: bool,
    ) -> Result<Self, LedgerError> {
        let mut tx = ledger.read.begin().await?;
        if ledger.store == Store::Postgres {
            sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
        }
        let mut reading = Self {
            tx,
            workspace: workspace.to_owned(),
            event: event.to_owned(),
            valued,
            span,
            pieces: VecDeque::new(),
        };
        let mut sizes: BTreeMap<i64, i64> = BTreeMap::new();
        let text = format!(
            "SELECT order_day, size FROM packs WHERE {} UNION ALL
             SELECT order_day, COUNT(*) FROM unpacked WHERE {} GROUP BY order_day",
            reading.of_packs(),
            reading.of_unpacked()
        );
        for row in reading.fetch(text).await? {
            *sizes.entry(row.try_get(0)?).or_default() += row.try_get::<i64, _>(1)?;
        }
        let mut size = READ_MAX;
        for (day, more) in sizes {
            size += more;
            match reading.pieces.back_mut() {
                Some(piece) if size <= READ_MAX => piece.1 = day + 1,
                _ => {
                    reading.pieces.push_back((day, day + 1));
                    size = more;
                }
            }
        }
        Ok(reading)
    }

    /// The next ones, in the order of order days; None: all are read.
    pub async fn next(&mut self) -> Result<Option<Packs>, LedgerError> {
        let Some((from_day, to_day)) = self.pieces.pop_front() else { return Ok(None) };
        let piece = format!("order_day >= {from_day} AND order_day < {to_day}");
        let text = format!(
            "SELECT event, order_day, CAST(NULL AS BIGINT), conversions FROM packs WHERE {} AND {piece}
             UNION ALL
             SELECT u.event, u.order_day, u.conversion, v.packed FROM
               (SELECT event, order_day, conversion FROM unpacked WHERE {} AND {piece}) AS u
             LEFT JOIN conversions v ON v.id = u.conversion AND v.event = u.event AND v.order_day = u.order_day",
            self.of_packs(),
            self.of_unpacked()
        );
        let mut places: BTreeMap<Place, (Vec<u8>, Changed)> = BTreeMap::new();
        for row in self.fetch(text).await? {
            let (pack, changed) = places.entry((row.try_get(0)?, row.try_get(1)?)).or_default();
            match row.try_get::<Option<i64>, _>(2)? {
                None => *pack = row.try_get(3)?,
                Some(conversion) => _ = changed.insert(conversion, row.try_get(3)?),
            }
        }
        let whole = |((event, _), (pack, changed)): (Place, (Vec<u8>, Changed))| match changed.is_empty() {
            true => Ok((event, pack)),
            false => Ok((event, merged(&pack, &changed)?)),
        };
        Ok(Some(Packs(places.into_iter().map(whole).collect::<Result<_, LedgerError>>()?)))
    }

    fn of_packs(&self) -> String {
        let others = if self.valued { " OR valued = 1" } else { "" };
        let days = match self.span {
            Span::Orders(..) => "order_day >= $3 AND order_day < $4",
            Span::Anything(..) => "last_day >= $3 AND first_day < $4",
        };
        format!("workspace = $1 AND (event = $2{others}) AND {days}")
    }

    fn of_unpacked(&self) -> String {
        let others = if self.valued { " OR 1 = 1" } else { "" };
        let days = match self.span {
            Span::Orders(..) => "order_day >= $3 AND order_day < $4",
            // What an unpacked conversion reaches is known once it is read.
            Span::Anything(..) => "1 = 1",
        };
        format!("workspace = $1 AND (event = $2{others}) AND {days}")
    }

    async fn fetch(&mut self, text: String) -> Result<Vec<AnyRow>, LedgerError> {
        let (Span::Orders(from_day, to_day) | Span::Anything(from_day, to_day)) = self.span;
        let query = sqlx::query(AssertSqlSafe(text)).bind(self.workspace.as_str()).bind(self.event.as_str());
        Ok(query.bind(from_day).bind(to_day).fetch_all(&mut *self.tx).await?)
    }
}

/// Packs in the order of events and days.
#[derive(Debug, Default)]
pub struct Packs(Vec<(String, Vec<u8>)>);

impl Packs {
    /// Each conversion with its event; within a day in the order of their ids.
    pub fn each<'a>(
        &'a self,
        mut visit: impl FnMut(&'a str, Conversion<'a>) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        for (event, pack) in &self.0 {
            for record in records(pack) {
                visit(event, record::read(record?)?)?;
            }
        }
        Ok(())
    }

    /// Adds the links of all touches.
    pub fn add_links(&self, links: &mut BTreeSet<i64>) -> Result<(), LedgerError> {
        for (_, pack) in &self.0 {
            for record in records(pack) {
                links.extend(record::head(record?)?.links.iter().flatten().map(|(link, _)| *link));
            }
        }
        Ok(())
    }
}

/// The conversions of a pack, each with its length before it.
fn records(pack: &[u8]) -> impl Iterator<Item = Result<&[u8], LedgerError>> {
    items(pack, "a pack of conversions")
}

/// What stands in bytes one after the other, up to their end or to what cannot be read. `of` says what they are.
pub(super) fn items<'a, T: Deserialize<'a>>(
    mut bytes: &'a [u8],
    of: &'static str,
) -> impl Iterator<Item = Result<T, LedgerError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let read = postcard::take_from_bytes(bytes);
        bytes = read.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(read.map(|(item, _)| item).map_err(|error| LedgerError::Damaged(format!("{of}: {error}"))))
    })
}

/// A pack with what has changed, in the order of ids.
fn merged(pack: &[u8], changed: &Changed) -> Result<Vec<u8>, LedgerError> {
    let mut kept: Vec<(i64, &[u8])> = Vec::new();
    for record in records(pack) {
        let record = record?;
        let id = record::head(record)?.id;
        if !changed.contains_key(&id) {
            kept.push((id, record));
        }
    }
    kept.extend(changed.iter().filter_map(|(id, record)| Some((*id, record.as_deref()?))));
    kept.sort_unstable_by_key(|(id, _)| *id);
    Ok(pack_of(kept.into_iter().map(|(_, record)| record)))
}

/// A pack of conversions, in the order given.
pub fn pack_of<'a>(records: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let add = |pack, record| postcard::to_extend(record, pack).expect("bytes can be written");
    records.fold(Vec::new(), add)
}

/// Notes that a conversion has changed: where it stood in packs, and where it stands now.
pub(super) async fn note(
    tx: &mut Tx,
    workspace: &str,
    conversion: i64,
    places: &BTreeSet<(&str, i64)>,
) -> Result<(), LedgerError> {
    for (event, order_day) in places {
        sqlx::query(
            "INSERT INTO unpacked (workspace, event, order_day, conversion) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(workspace)
        .bind(*event)
        .bind(*order_day)
        .bind(conversion)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Brings up to date the packs of which a good part has changed, or all.
pub async fn pack(ledger: &Ledger, all: bool) -> Result<(), LedgerError> {
    let share = if all { i64::from(i32::MAX) } else { CHANGED_SHARE };
    let text = format!(
        "SELECT u.workspace, u.event, u.order_day FROM unpacked u LEFT JOIN packs p
           ON p.workspace = u.workspace AND p.event = u.event AND p.order_day = u.order_day
         GROUP BY u.workspace, u.event, u.order_day HAVING COUNT(*) * $1 >= COALESCE(MAX(p.size), 0)
         LIMIT {PACKS_PER_TRANSACTION}"
    );
    loop {
        let query = sqlx::query(AssertSqlSafe(text.as_str())).bind(share);
        let places = query.fetch_all(&ledger.read).await?;
        if places.is_empty() {
            return Ok(());
        }
        // Beside evaluations, a note might be taken away that was made a moment later.
        let mut tx = ledger.begin_alone().await?;
        for place in places {
            let (workspace, event): (String, String) = (place.try_get(0)?, place.try_get(1)?);
            pack_place(&mut tx, &workspace, &event, place.try_get(2)?).await?;
        }
        tx.commit().await?;
    }
}

async fn pack_place(tx: &mut Tx, workspace: &str, event: &str, order_day: i64) -> Result<(), LedgerError> {
    let rows = sqlx::query(
        "SELECT u.conversion, v.packed FROM unpacked u
         LEFT JOIN conversions v ON v.id = u.conversion AND v.event = u.event AND v.order_day = u.order_day
         WHERE u.workspace = $1 AND u.event = $2 AND u.order_day = $3",
    );
    let rows = rows.bind(workspace).bind(event).bind(order_day).fetch_all(&mut **tx).await?;
    let read = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
    let changed: Changed = rows.iter().map(read).collect::<Result<_, LedgerError>>()?;
    let place = "workspace = $1 AND event = $2 AND order_day = $3";
    let text = format!("SELECT conversions FROM packs WHERE {place}");
    let row = sqlx::query(AssertSqlSafe(text)).bind(workspace).bind(event).bind(order_day);
    let pack: Vec<u8> = match row.fetch_optional(&mut **tx).await? {
        Some(row) => row.try_get(0)?,
        None => Vec::new(),
    };
    let pack = merged(&pack, &changed)?;
    let emptied = if pack.is_empty() { ["unpacked", "packs"].as_slice() } else { &["unpacked"] };
    for table in emptied {
        let text = format!("DELETE FROM {table} WHERE {place}");
        sqlx::query(AssertSqlSafe(text))
            .bind(workspace)
            .bind(event)
            .bind(order_day)
            .execute(&mut **tx)
            .await?;
    }
    if !pack.is_empty() {
        put(tx, workspace, event, order_day, &pack).await?;
    }
    Ok(())
}

/// Writes a pack in the place of the one before.
pub async fn put(
    tx: &mut Tx,
    workspace: &str,
    event: &str,
    order_day: i64,
    pack: &[u8],
) -> Result<(), LedgerError> {
    let (mut first, mut last, mut size, mut valued) = (order_day, order_day, 0, 0);
    for record in records(pack) {
        let conversion = record::read(record?)?;
        let days = conversion.days();
        (first, last) = (first.min(days.0), last.max(days.1));
        size += 1;
        valued |= i64::from(conversion.assigned_value_minor.is_some());
    }
    sqlx::query(
        "INSERT INTO packs (workspace, event, order_day, first_day, last_day, size, valued, conversions)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (workspace, event, order_day) DO UPDATE SET
           first_day = excluded.first_day, last_day = excluded.last_day, size = excluded.size,
           valued = excluded.valued, conversions = excluded.conversions",
    )
    .bind(workspace)
    .bind(event)
    .bind(order_day)
    .bind(first)
    .bind(last)
    .bind(size)
    .bind(valued)
    .bind(pack)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A customer's hash from its hex.
pub fn customer(hex: &str) -> Result<Customer, LedgerError> {
    let mut customer = Customer::default();
    hex::decode_to_slice(hex, &mut customer)
        .map_err(|error| LedgerError::Damaged(format!("the hash of a customer: {error}")))?;
    Ok(customer)
}

/// Puts another hash in the place of a customer's, in the packed conversions of these ids and their packs.
pub(super) async fn rename_customer(
    tx: &mut Tx,
    conversions: &[i64],
    customer: Customer,
    name: Customer,
) -> Result<(), LedgerError> {
    for ids in conversions.chunks(500) {
        let text = format!(
            "SELECT id, workspace, event, order_day, packed FROM conversions WHERE packed IS NOT NULL AND id IN ({})",
            sql::list_from(1, ids.len())
        );
        let query = ids.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, id| query.bind(*id));
        for row in query.fetch_all(&mut **tx).await? {
            let (id, workspace, event): (i64, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let (order_day, bytes): (i64, Vec<u8>) = (row.try_get(3)?, row.try_get(4)?);
            let mut conversion = record::read(&bytes)?;
            conversion.customers.iter_mut().filter(|hash| **hash == customer).for_each(|hash| *hash = name);
            sqlx::query("UPDATE conversions SET packed = $2 WHERE id = $1")
                .bind(id)
                .bind(conversion.to_bytes())
                .execute(&mut **tx)
                .await?;
            note(tx, &workspace, id, &BTreeSet::from([(event.as_str(), order_day)])).await?;
            pack_place(tx, &workspace, &event, order_day).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion(id: i64) -> Conversion<'static> {
        let touch =
            Touch { channel: "", at_ms: 5, day: 90, country: "DE", device: "mobile", weights: Some([1; 5]) };
        Conversion {
            id,
            links: vec![Some((7, 1)), None],
            order_day: 100,
            source: "src_1",
            status: Status::Attributed,
            reason: None,
            basis: Some("ex_tax"),
            occurred_ms: Some(1),
            t_ms: 2,
            gross_minor: 300,
            net_minor: 100,
            assigned_value_minor: None,
            goods: Some(Goods { cost_minor: 5, currency: "EUR", rate: None }),
            customers: vec![[1; 16]],
            touches: vec![touch, Touch { channel: "email", weights: None, ..touch }],
            changes: vec![Change {
                kind: ChangeKind::Revenue,
                amount_minor: 300,
                at_ms: 1,
                day: 105,
                credits: vec![Some([100, 300, 150, 150, 150]), None],
            }],
        }
    }

    #[test]
    fn a_conversion_reads_back_as_it_was() {
        let written = conversion(9);
        let bytes = written.to_bytes();
        assert_eq!(record::read(&bytes).unwrap(), written);
        let head = record::head(&bytes).unwrap();
        assert_eq!((head.id, head.links), (9, written.links.clone()));
        assert_eq!(written.days(), (90, 105));
        assert_eq!(written.changes[0].shares().last(), Some([300; 5]));
        assert_eq!(written.touches[1].weights(), [1_000_000_000; 5]);
        assert!(record::read(&bytes[..bytes.len() - 1]).is_err());
        let lame = Conversion { touches: Vec::new(), ..conversion(9) }.to_bytes();
        assert!(record::read(&lame).is_err(), "links without touches");
    }

    #[test]
    fn what_has_changed_replaces_leaves_and_joins() {
        let bytes = |id| conversion(id).to_bytes();
        let pack = pack_of([bytes(1), bytes(3), bytes(5)].iter().map(Vec::as_slice));
        let anew = Conversion { net_minor: 7, ..conversion(3) }.to_bytes();
        let changed = Changed::from([(1, None), (3, Some(anew)), (4, Some(bytes(4))), (9, None)]);
        let packs = Packs(vec![("purchase".to_owned(), merged(&pack, &changed).unwrap())]);
        let mut found = Vec::new();
        packs
            .each(|event, conversion| {
                found.push((event.to_owned(), conversion.id, conversion.net_minor));
                Ok(())
            })
            .unwrap();
        let expected = [(3, 7), (4, 100), (5, 100)];
        assert_eq!(found, expected.map(|(id, net)| ("purchase".to_owned(), id, net)));
        let mut links = BTreeSet::new();
        packs.add_links(&mut links).unwrap();
        assert_eq!(links, BTreeSet::from([7]));
        assert!(merged(&pack[..pack.len() - 1], &changed).is_err());
    }
}
