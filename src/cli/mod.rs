//! The commands of `utmost`.

pub mod client;
pub mod demo;
pub mod doctor;
mod dry_run;
pub mod links;
pub mod model;
pub mod orders;
pub mod rates;
mod refusals;
pub mod replay;
pub mod report;
mod rows;
pub mod serve;
