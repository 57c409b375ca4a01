//! Webhooks: verify, keep raw, interpret later.

pub mod fact;
