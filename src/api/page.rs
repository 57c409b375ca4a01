//! Lists come in pages: `{data, next_cursor}`. A cursor is opaque: it holds the place after which to go on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Answer, Problem};

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// How many rows to read and from where.
#[derive(Debug)]
pub struct Window {
    pub limit: usize,
    /// The key of the last row seen, in as many parts as the list's order has.
    pub after: Option<Vec<String>>,
}

impl Window {
    /// `parts` is the number of parts of the list's key.
    pub fn new(limit: Option<u32>, cursor: Option<&str>, parts: usize) -> Answer<Self> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::invalid("limit", format!("limit must be from 1 to {LIMIT_MAX}")));
        }
        let after = match cursor.filter(|cursor| !cursor.is_empty()) {
            None => None,
            Some(cursor) => Some(
                decode(cursor)
                    .filter(|key| key.len() == parts && !key.iter().any(|part| part.contains('\0')))
                    .ok_or_else(|| Problem::invalid("cursor", "give a next_cursor of this list"))?,
            ),
        };
        Ok(Self { limit: limit as usize, after })
    }

    /// For the ledger: one row more than asked for tells whether there is a next page.
    pub fn fetch(&self) -> i64 {
        self.limit as i64 + 1
    }

    /// A part of the cursor as text; empty, so before everything, without one.
    pub fn after_text(&self, part: usize) -> &str {
        self.after.as_ref().map_or("", |key| &key[part])
    }

    /// A part of the cursor as a number, where the list's key has such.
    pub fn after_number(&self, part: usize) -> Answer<Option<i64>> {
        self.after
            .as_ref()
            .map(|key| key[part].parse())
            .transpose()
            .map_err(|_| Problem::invalid("cursor", "give a next_cursor of this list"))
    }

    /// The page of `rows`, of which one more than the limit was read; `key` gives a row's place.
    pub fn page<R, T>(
        &self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> Vec<String>,
        show: impl FnMut(R) -> T,
    ) -> Page<T> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| encode(&key(row)));
        Page { data: rows.into_iter().map(show).collect(), next_cursor }
    }
}

fn encode(key: &[String]) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

fn decode(cursor: &str) -> Option<Vec<String>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_on_and_end() {
        let key = |row: &i32| vec![row.to_string()];
        let first = Window::new(Some(2), None, 1).unwrap().page(vec![1, 2, 3], key, |row| row);
        assert_eq!(first.data, [1, 2]);
        let next = Window::new(Some(2), first.next_cursor.as_deref(), 1).unwrap();
        assert_eq!(next.after_number(0).unwrap(), Some(2));
        assert!(next.page(vec![3], key, |row| row).next_cursor.is_none());
    }

    #[test]
    fn wrong_windows_are_refused() {
        for (limit, cursor) in [(Some(0), None), (Some(1001), None), (None, Some("x")), (None, Some("W10"))] {
            assert!(Window::new(limit, cursor, 1).is_err(), "{limit:?} {cursor:?}");
        }
    }
}
