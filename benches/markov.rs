//! How long exact Markov attribution takes: `cargo bench --bench markov`.
//!
//! The paths are made by a fixed seed: 1 to 8 keys, a few of them popular (their share falls off like
//! 1/rank), as posts are.

use std::collections::HashSet;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use utmost::attribution::markov::markov;
use utmost::attribution::paths::{Path, Transform};

fn main() {
    for (paths, keys, order) in [
        (100_000, 10, 1),
        (100_000, 100, 1),
        (100_000, 1_000, 1),
        (100_000, 2_000, 1),
        (100_000, 4_000, 1),
        (100_000, 10, 2),
        (100_000, 30, 2),
        (100_000, 60, 2),
        (100_000, 10, 3),
        (100_000, 16, 3),
        (10_000, 100, 2),
        (10_000, 1_000, 3),
    ] {
        let made = Transform::Exposure.apply(make_paths(paths, keys));
        let used: HashSet<&str> = made.iter().flat_map(|p| &p.keys).map(String::as_str).collect();
        let started = Instant::now();
        let result = markov(&made, order);
        let seconds = started.elapsed().as_secs_f64();
        let outcome = result.map_or_else(|e| e.to_string(), |credits| format!("{} credited", credits.len()));
        println!("order {order}  {paths:>7} paths  {:>5} keys  {seconds:>8.3} s  {outcome}", used.len());
    }
}

fn make_paths(paths: usize, keys: usize) -> Vec<Path> {
    let mut random = StdRng::seed_from_u64(1);
    let mut path = || {
        let length = random.random_range(1..=8);
        let keys = (0..length).map(|_| {
            // The inverse of the distribution function of 1/rank.
            let rank = (keys as f64 + 1.0).powf(random.random::<f64>());
            format!("post-{}", rank as usize)
        });
        let keys = keys.collect();
        let conversions = f64::from(random.random_range(0..3u8));
        let nulls = f64::from(random.random_range(1..30u8));
        Path { keys, conversions, value: 25.0 * conversions, nulls }
    };
    (0..paths).map(|_| path()).collect()
}
