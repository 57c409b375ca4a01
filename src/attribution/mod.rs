//! Who gets the credit: pure, no I/O. Order state, journeys, models, money.
//!
//! The same input gives the same bits on every platform, so that two workers can never disagree about a
//! cent. `models` weighs the touches of one journey and `credit` turns weights into minor units;
//! `markov` and `shapley` look at all `paths` of a period. docs/MODELS.md has formulas and edge cases.

pub mod credit;
pub mod journey;
pub mod markov;
pub mod models;
pub mod null_journeys;
pub mod order;
pub mod paths;
pub mod shapley;
