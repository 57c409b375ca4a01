//! The API's router in process, over a ledger in a temporary folder.

mod access;
mod conversions;
mod costs;
mod customers;
mod events;
mod links;
mod posts;
mod protocol;
mod rules;
mod server;
mod sources;
