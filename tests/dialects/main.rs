//! The dialects of other shorteners, asked in process as their clients ask.

mod bitly;
mod dub;
mod kutt;
mod server;
mod shlink;
mod yourls;
