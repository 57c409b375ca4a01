//! Faults, really made: what a client was told has happened is there afterwards, once.

#[path = "../support/mod.rs"]
mod support;

mod full_disk;
mod kill;
mod load;
mod redis_away;
mod replay;
mod servers;
mod stop;
mod worker;
