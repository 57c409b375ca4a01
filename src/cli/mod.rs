//! The commands of `utmost`.

pub mod client;
pub mod demo;
mod dry_run;
pub mod model;
pub mod rates;
pub mod replay;
pub mod report;
pub mod serve;
