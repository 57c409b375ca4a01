//! How long reports take over a year of a busy workspace:
//! `cargo bench --bench reports [-- [--json] [--statements] [--orders N] [--rounds N] [--only TEXT] [FILE]]`.
//!
//! The ledger is made by a fixed seed: 2,000 posts with two links each, 10 million clicks spread evenly
//! over links and days (so that nearly every link has clicks on every day, which is the hardest case for
//! counts by day), the journeys that did not convert, 100,000 orders of 60,000 customers with one to four
//! touches, and costs of all kinds. With FILE it is kept there and used again. Each report is asked for several
//! times: `--only` those whose line has the text. `--statements` says what each SQL statement took.

mod fixture;

use std::path::{Path, PathBuf};
use std::time::Instant;

use utmost::config::{Attribution, Config};
use utmost::ledger::{Ledger, Synchronous, click_packs};
use utmost::reports::{CompareRequest, ReportRequest, RetentionRequest, attribution, compare, retention};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ORDERS: i64 = 100_000;

/// The report and its parameters; a year unless they say otherwise.
const REPORTS: [(&str, &str); 52] = [
    ("attribution", "by=post"),
    ("attribution", "by=post&model=linear"),
    ("attribution", "by=post&model=all"),
    ("attribution", "by=post&clock=click"),
    ("attribution", "by=post&clock=cash"),
    ("attribution", "by=link"),
    ("attribution", "by=network"),
    ("attribution", "by=campaign"),
    ("attribution", "by=kind"),
    ("attribution", "by=tag"),
    ("attribution", "by=utm_source"),
    ("attribution", "by=utm_medium"),
    ("attribution", "by=utm_content"),
    ("attribution", "by=source"),
    ("attribution", "by=country"),
    ("attribution", "by=device"),
    ("attribution", "by=day"),
    ("attribution", "by=week"),
    ("attribution", "by=month"),
    ("attribution", "by=hour_of_week"),
    ("attribution", "by=hour_of_week&clock=click"),
    ("attribution", "by=published_hour_of_week"),
    ("attribution", "by=day&clock=click"),
    ("attribution", "by=day&clock=cash"),
    ("attribution", "by=day&network=instagram"),
    ("attribution", "by=month&network=instagram"),
    ("attribution", "by=day&post=post-00042"),
    ("attribution", "by=link&post=post-00042"),
    ("attribution", "by=country&post=post-00042"),
    ("attribution", "by=hour_of_week&post=post-00042"),
    ("attribution", "by=hour_of_week&network=instagram"),
    ("attribution", "by=country&network=instagram"),
    ("attribution", "by=post&campaign=c7"),
    ("attribution", "by=post&network=instagram"),
    ("attribution", "by=post&kind=video"),
    ("attribution", "by=post&tag=t3"),
    ("attribution", "by=post&source=src_woo"),
    ("attribution", "by=post&country=DE"),
    ("attribution", "by=network&device=mobile"),
    ("attribution", "by=day&country=DE"),
    ("attribution", "by=post&from=2026-06-01&to=2026-07-01"),
    ("attribution", "by=post&country=DE&from=2026-06-01&to=2026-07-01"),
    ("attribution", "by=network&from=2026-06-11&to=2026-07-11"),
    ("attribution", "by=network&model=markov"),
    ("attribution", "by=network&model=shapley"),
    ("attribution", "by=network&model=all"),
    ("attribution", "by=campaign&model=markov"),
    ("attribution", "by=post&model=shapley"),
    ("compare", "by=network&models=first_touch,linear"),
    ("compare", "by=post&models=first_touch,linear"),
    ("retention", ""),
    ("retention", "by=post"),
];

struct Arguments {
    json: bool,
    statements: bool,
    orders: i64,
    rounds: usize,
    only: Option<String>,
    file: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Self {
        let mut read =
            Self { json: false, statements: false, orders: ORDERS, rounds: 15, only: None, file: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
            match argument.as_str() {
                "--json" => read.json = true,
                "--statements" => read.statements = true,
                "--orders" => read.orders = value().parse().expect("--orders N"),
                "--rounds" => read.rounds = value().parse().expect("--rounds N"),
                "--only" => read.only = Some(value()),
                // `cargo bench` adds a flag of its own.
                "--bench" => {}
                file => read.file = Some(PathBuf::from(file)),
            }
        }
        read
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    if arguments.statements {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter("sqlx::query=debug")
            .with_writer(std::io::stderr)
            .init();
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = arguments.file.unwrap_or_else(|| dir.path().join("ledger.db"));
    let is_new = !path.exists();
    let ledger = Ledger::open_sqlite(Path::new(&path), Synchronous::Normal).await.expect("the ledger opens");
    if is_new {
        let started = Instant::now();
        let mut tx = ledger.begin().await.expect("a transaction");
        let clicks = fixture::fill(&mut tx, arguments.orders).await;
        tx.commit().await.expect("it commits");
        click_packs::pack(&ledger, fixture::LIVE_DAY).await.expect("it packs");
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("made {} of {clicks} clicks in {seconds:.0} s", path.display());
    }
    let settings = Config::from_layers(None, std::iter::empty()).expect("the defaults hold").attribution;
    if !arguments.json {
        println!(
            "{:<55} {:>9} {:>9} {:>9} {:>9} {:>7}",
            "report (a year unless it says otherwise)", "p50 ms", "p99 ms", "least ms", "cpu ms", "rows"
        );
    }
    for (report, query) in REPORTS {
        let name = format!("{report} {query}");
        if arguments.only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let mut pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if !query.contains("from=") {
            pairs.extend([("from", "2026-01-01"), ("to", "2027-01-01")]);
        }
        let (mut times, mut cpu_times) = (Vec::new(), Vec::new());
        let mut rows = 0;
        for _ in 0..arguments.rounds {
            let (started, cpu_before) = (Instant::now(), cpu_ms());
            rows = ask(&ledger, report, &pairs, &settings).await;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            cpu_times.push(cpu_ms() - cpu_before);
        }
        times.sort_by(f64::total_cmp);
        cpu_times.sort_by(f64::total_cmp);
        // Of so few the 99th of a hundred is the slowest.
        let (least, p50, p99) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        let cpu = cpu_times[cpu_times.len() / 2];
        if arguments.json {
            let measured = serde_json::json!({"report": name, "p50_ms": p50, "p99_ms": p99, "least_ms": least,
                "cpu_ms": cpu, "rows": rows});
            println!("{measured}");
        } else {
            println!("{name:<55} {p50:>9.1} {p99:>9.1} {least:>9.1} {cpu:>9.1} {rows:>7}");
        }
    }
}

/// Processor time of all threads that are there now: what others do on the machine changes it little.
fn cpu_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = tasks.filter_map(|task| {
        let of_task = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        of_task.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e6
}

/// A report as the API makes it, JSON included; answers its number of rows.
async fn ask(ledger: &Ledger, report: &str, pairs: &[(&str, &str)], settings: &Attribution) -> usize {
    let pairs = pairs.iter().copied();
    let sheet = match report {
        "attribution" => {
            let request = ReportRequest::parse(pairs).expect("a request");
            let report = attribution(ledger, "default", &request, settings).await.expect("a report");
            serde_json::to_vec(&report).expect("JSON");
            return report.rows.len();
        }
        "compare" => {
            let request = CompareRequest::parse(pairs).expect("a request");
            compare(ledger, "default", &request, settings).await
        }
        _ => {
            let request = RetentionRequest::parse(pairs).expect("a request");
            retention(ledger, "default", &request, settings).await
        }
    }
    .expect("a report");
    serde_json::to_vec(&sheet).expect("JSON");
    sheet.rows.len()
}
