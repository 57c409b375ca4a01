//! What is wrong with a request, field by field, so that all of it shows at once.

use serde::Serialize;

const TAGS_MAX: usize = 50;

/// One mistake: the field as the caller wrote it (`utm.source`, `items[3].url`), and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flaw {
    pub field: String,
    pub detail: String,
}

impl Flaw {
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

/// Gathers mistakes while a request is checked.
#[derive(Debug, Default)]
pub struct Flaws(Vec<Flaw>);

impl Flaws {
    pub fn add(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Flaw::new(field, detail));
    }

    /// The value, or None and a note of what is wrong with it.
    pub fn note<T, E: ToString>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// A text of at most `max` characters without control characters, trimmed; empty is none.
    pub fn text(&mut self, field: &str, given: Option<String>, max: usize) -> Option<String> {
        let given = given?;
        let trimmed = given.trim();
        if trimmed.chars().count() > max {
            self.add(field, format!("{field} must have at most {max} characters"));
        } else if trimmed.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            self.add(field, format!("{field} must not hold control characters"));
        }
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    /// An id that a caller chose: 1 to 200 characters, none of them a control character; trimmed.
    pub fn id(&mut self, field: &str, given: &str) -> String {
        let given = given.trim();
        if given.is_empty() || given.chars().count() > 200 || given.chars().any(char::is_control) {
            self.add(field, format!("{field} must have 1 to 200 characters"));
        }
        given.to_owned()
    }

    /// Tags: at most 50 texts of at most 100 characters, each once.
    pub fn tags(&mut self, field: &str, given: Vec<String>) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        for tag in given {
            let tag = self.text(field, Some(tag), 100);
            tags.extend(tag.filter(|tag| !tags.contains(tag)));
        }
        if tags.len() > TAGS_MAX {
            self.add(field, format!("give at most {TAGS_MAX} {field}"));
        }
        tags
    }

    /// Errs with all that was gathered, if anything was.
    pub fn check(self) -> Result<(), Vec<Flaw>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_bounded() {
        let check = |given: &str, expected: Option<&str>, wrong: bool| {
            let mut flaws = Flaws::default();
            assert_eq!(flaws.text("title", Some(given.to_owned()), 3).as_deref(), expected);
            assert_eq!(flaws.check().is_err(), wrong, "{given:?}");
        };
        check(" ab ", Some("ab"), false);
        check("  ", None, false);
        check("äöü", Some("äöü"), false);
        check("abcd", Some("abcd"), true);
        check("a\0", Some("a\0"), true);
    }
}
