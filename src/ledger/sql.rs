//! Pieces of SQL text whose length depends on the number of values.

use std::fmt::Write as _;

use sqlx::AnyConnection;

/// The placeholders of `rows` rows of `columns` values, for a statement that has no others.
pub fn values(connection: &AnyConnection, rows: usize, columns: usize) -> String {
    match connection.backend_name() {
        "SQLite" => unnumbered(rows, columns),
        _ => numbered(rows, columns),
    }
}

/// `(?,?),(?,?)`. To SQLite `$1` is a name, and it looks each name up in a list of all of them: a thousand
/// rows with numbers take it a hundred times as long.
pub fn unnumbered(rows: usize, columns: usize) -> String {
    let row = format!("({})", ["?"].repeat(columns).join(","));
    vec![row; rows].join(",")
}

/// `($1,$2),($3,$4)`.
pub fn numbered(rows: usize, columns: usize) -> String {
    let row = |row| format!("({})", list_from(row * columns + 1, columns));
    (0..rows).map(row).collect::<Vec<_>>().join(",")
}

/// `$first,$first+1,...`, `count` of them: for `IN (...)` or one row.
pub fn list_from(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    for i in first..first + count {
        let comma = if i == first { "" } else { "," };
        let _ = write!(text, "{comma}${i}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(numbered(2, 3), "($1,$2,$3),($4,$5,$6)");
        assert_eq!(numbered(0, 3), "");
        assert_eq!(unnumbered(2, 3), "(?,?,?),(?,?,?)");
        assert_eq!(unnumbered(0, 3), "");
        assert_eq!(list_from(4, 2), "$4,$5");
    }
}
