//! utmost: short links whose clicks are recorded before the visitor is sent on, joined with shops'
//! webhooks into revenue, cost and ROI per post.
//!
//! ```text
//! scheduler --POST /api/v1/links--> links ------------------.
//! visitor   --GET /{slug}--> redirect --click--> event log   |  (302 only after the log has it)
//! shop      --POST /hooks/{source}--> intake --raw body--> event log   (200 only after the log has it)
//!                                     worker: read, derive, match, attribute, commit
//!                                        |-> journeys (visitor -> touches, expire)
//!                                        '-> ledger   (rollups, conversions, touches, credits)
//! marketer  --GET /api/v1/reports/attribution--> reports <-- ledger, costs
//! ```
//!
//! Modules in reading order: `domain` and `attribution` are pure; the others do the work.

pub mod api;
pub mod app;
pub mod attribution;
pub mod cli;
pub mod config;
pub mod dashboard;
pub mod domain;
pub mod fetch;
pub mod hot;
pub mod intake;
pub mod ledger;
pub mod links;
pub mod log;
pub mod redirect;
pub mod reports;
pub mod script;
pub mod telemetry;
pub mod webhooks;
pub mod worker;
