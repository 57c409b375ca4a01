//! The dialects of other shorteners, asked in process as their clients ask.

mod dub;
mod server;
mod yourls;
