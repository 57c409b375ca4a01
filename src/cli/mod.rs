//! The commands of `utmost`.

pub mod client;
pub mod model;
pub mod report;
