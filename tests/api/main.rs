//! The API's router in process, over a ledger in a temporary folder.

mod access;
mod conversions;
mod costs;
mod currencies;
mod customers;
mod events;
mod example;
mod guides;
mod lifecycle;
mod links;
mod matching;
mod openapi;
mod platforms;
mod posts;
mod protocol;
mod reports;
mod rules;
mod server;
mod sources;
mod stats;
