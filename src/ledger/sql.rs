//! Pieces of SQL text whose length depends on the number of values.

use std::fmt::Write as _;

/// `($1,$2),($3,$4)` for `rows` rows of `columns` values.
pub fn values(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        text.push_str(&list_from(row * columns + 1, columns));
        text.push(')');
    }
    text
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
        assert_eq!(values(2, 3), "($1,$2,$3),($4,$5,$6)");
        assert_eq!(values(0, 3), "");
        assert_eq!(list_from(4, 2), "$4,$5");
    }
}
