//! The worker: read, derive, match, attribute, commit.

pub mod classify;
