//! Pure values: ids, money, time, UTM tags, the click token. No I/O, no clock of its own.

pub mod channel;
pub mod flaw;
pub mod ids;
pub mod keys;
pub mod money;
pub mod time;
pub mod token;
pub mod utm;
