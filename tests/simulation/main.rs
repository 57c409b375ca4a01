//! A seeded simulation of the worker: random shops, visitors, orders, refunds, crashes, repetitions and
//! clocks that differ, against a plain reference of the rules.
//!
//! `scripts/simulate --seeds N` runs more seeds than `cargo test` does, `scripts/simulate --seed S` one, with
//! `--on redis|postgres|both` on other stores than SQLite.

mod bodies;
mod generate;
mod journeys;
mod judge;
mod money;
mod orders;
mod outcome;
mod random;
mod rules;
mod schedule;
mod stage;
mod state;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use schedule::{Step, schedule};
use stage::{Stage, Stores};
use support::Redis;
use support::postgres::Postgres;

/// Seeds that every run of the tests tries, on SQLite alone and on each combination with a server.
const SEEDS: u64 = 40;
const SEEDS_ON_SERVERS: u64 = 6;

#[test]
fn any_history_comes_to_what_the_rules_say() {
    if is_asked_for("sqlite") {
        run(&Stores::default(), SEEDS);
    }
}

#[test]
fn so_it_does_on_every_combination_of_stores() {
    let (redis, postgres) = (Redis::start(&["--appendonly", "no"]), Postgres::start());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let template = runtime.block_on(stage::make_template(&postgres.url("postgres")));
    let (redis, postgres) = (Some(redis.url()), Some(template));
    if is_asked_for("redis") {
        run(&Stores { redis: redis.clone(), postgres: None }, SEEDS_ON_SERVERS);
    }
    if is_asked_for("postgres") {
        run(&Stores { redis: None, postgres: postgres.clone() }, SEEDS_ON_SERVERS);
    }
    if is_asked_for("both") {
        run(&Stores { redis, postgres }, SEEDS_ON_SERVERS);
    }
}

/// `scripts/simulate` asks for one combination of stores, `cargo test` for all.
fn is_asked_for(stores: &str) -> bool {
    std::env::var("UTMOST_STORES").is_ok_and(|asked| asked == stores)
        || std::env::var_os("UTMOST_STORES").is_none()
}

/// Runs seeds on all cores; the first ones that fail are named.
fn run(stores: &Stores, default_seeds: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (from, count) = match (number("UTMOST_SEED"), number("UTMOST_SEEDS")) {
        (Some(seed), _) => (seed, 1),
        (None, Some(count)) => (0, count),
        (None, None) => (0, default_seeds),
    };
    let next = AtomicU64::new(from);
    let failed: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || failed.lock().expect("no panic holds it").len() >= 20 {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| simulate(stores, seed))).is_err() {
                        println!("seed {seed} failed: scripts/simulate --seed {seed}");
                        failed.lock().expect("no panic holds it").push(seed);
                    }
                }
            });
        }
    });
    println!("{count} seeds from {from} in {:.1} s on {stores:?}", started.elapsed().as_secs_f64());
    let failed = failed.into_inner().expect("no panic holds it");
    assert!(failed.is_empty(), "seeds that failed: {failed:?}; scripts/simulate --seed {}", failed[0]);
}

fn simulate(stores: &Stores, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(play(stores, seed));
}

async fn play(stores: &Stores, seed: u64) {
    let world = generate::world(seed);
    let steps = schedule(&world, seed, stores.redis.is_some());
    if std::env::var_os("UTMOST_SEED").is_some() {
        println!("{world:#?}\n{steps:#?}");
    }
    let mut stage = Stage::open(&world, stores, format!("{}{seed}", stores.prefix())).await;
    for step in &steps {
        match step {
            Step::Tell(items) => stage.tell(items).await,
            Step::TellAndDrain(items) => {
                let (drained, ()) = tokio::join!(stage.drain(), stage.tell(items));
                drained.expect("it drains");
            }
            Step::Drain => stage.drain().await.expect("it drains"),
            Step::Crash(polls) => {
                stage.crash(*polls).await;
            }
            Step::Restart => stage.reopen().await,
            Step::Contend => stage.contend().await,
            Step::Trim => stage.trim().await,
            Step::SetRules => stage.set_rules().await,
            Step::SetRulesAndDrain => {
                let (drained, ()) = tokio::join!(stage.drain(), stage.set_rules());
                drained.expect("it drains");
            }
        }
    }
    stage.drain().await.expect("it drains");
    let defaults = stage::defaults(&world);
    judge::judge(&world, &stage.worker.ledger, &defaults).await;

    let before = judge::read(&stage.worker.ledger).await;
    stage.mark_all_due().await;
    stage.drain().await.expect("it drains");
    let after = judge::read(&stage.worker.ledger).await;
    assert!(before == after, "evaluated anew: {}", judge::difference(&before, &after));
    stage.expire_journeys().await;
    stage.mark_all_due().await;
    stage.drain().await.expect("it drains");
    let after = judge::read(&stage.worker.ledger).await;
    assert!(before == after, "without journeys: {}", judge::difference(&before, &after));
    stage.reopen().await;
    stage.close().await;
}
