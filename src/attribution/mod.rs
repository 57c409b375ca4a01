//! Who gets the credit: pure, no I/O. Order state, journeys, models, money.

pub mod journey;
pub mod order;
