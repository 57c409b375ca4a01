//! The worker: read, derive, match, attribute, commit.

pub mod classify;
pub mod journeys;
pub mod rollup;
