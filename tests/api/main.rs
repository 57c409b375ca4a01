//! The API's router in process, over a ledger in a temporary folder.

mod access;
mod costs;
mod links;
mod posts;
mod protocol;
mod server;
