//! Texts of clicks, of which the same few come again and again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// A text of a record: borrowed where the record is written, shared with other records where it is read.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

/// The texts of the clicks that are read in one go.
#[derive(Default)]
pub(super) struct Texts {
    pub agents: Known,
    pub referrers: Known,
}

/// By what is stored, what it says.
#[derive(Default)]
pub(super) struct Known(HashMap<Box<[u8]>, Arc<str>, RandomState>);

impl Known {
    pub fn get(&mut self, stored: &[u8], read: impl FnOnce() -> Arc<str>) -> Text<'static> {
        if let Some(text) = self.0.get(stored) {
            return Text::Shared(Arc::clone(text));
        }
        let text = read();
        self.0.insert(stored.into(), Arc::clone(&text));
        Text::Shared(text)
    }
}
