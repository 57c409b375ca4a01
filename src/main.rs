//! Arguments in, a command out.

use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use utmost::cli;
use utmost::config::Config;

/// Redirects allocate little and often; the worker allocates much. Both cost less than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "utmost", version, about = "Short links that prove what social posts earn")]
struct Arguments {
    /// Configuration file [default: ./utmost.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve redirects, the API, webhooks and the dashboard
    Serve,
    /// Show the whole way on this machine: posts, clicks, orders, the report, the dashboard
    Demo(cli::demo::DemoArgs),
    /// Make, list, import and export short links
    Links(cli::links::LinksArgs),
    /// Bring in orders from before
    Import(cli::orders::ImportArgs),
    /// Check the installation, or what a source sends, and say what to do
    Doctor(cli::doctor::DoctorArgs),
    /// Report what posts brought in and cost
    Report(cli::report::ReportArgs),
    /// Feed kept webhooks to the worker again, such as those that it could not interpret
    Replay(cli::replay::ReplayArgs),
    /// Store exchange rates from a file, such as the European Central Bank's
    Rates(cli::rates::RatesArgs),
    /// Attribute the paths of a CSV file by any model
    Model(cli::model::ModelArgs),
    /// Ask a running utmost whether it is ready; for health checks
    Health,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has gone, as in `utmost report ... | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "utmost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if let Command::Model(args) = &arguments.command {
        return cli::model::run(args, &mut out);
    }
    if let Command::Demo(args) = &arguments.command {
        return runtime(0)?.block_on(cli::demo::run(args));
    }
    let config = Config::load(arguments.config.as_deref())?;
    utmost::telemetry::init(&config)?;
    let runtime = runtime(config.server.threads)?;
    match &arguments.command {
        Command::Serve => runtime.block_on(cli::serve::run(config)),
        Command::Report(args) => runtime.block_on(async {
            let ledger = utmost::app::open_ledger(&config).await?;
            let result = cli::report::run(args, &ledger, &config.attribution, &mut out).await;
            ledger.close().await;
            result
        }),
        Command::Replay(args) if args.dry_run => runtime.block_on(async {
            let ledger = utmost::app::open_ledger(&config).await?;
            let result = args.rules.run(&ledger, &config.attribution, &mut out).await;
            ledger.close().await;
            result
        }),
        Command::Import(args) => runtime.block_on(cli::orders::run(args, &config, &mut out)),
        Command::Doctor(args) => runtime.block_on(cli::doctor::run(args, &config, &mut out)),
        Command::Links(args) => runtime.block_on(cli::links::run(args, &config, &mut out)),
        Command::Replay(args) => runtime.block_on(cli::replay::run(args, &config, &mut out)),
        Command::Rates(args) => runtime.block_on(cli::rates::run(args, &config, &mut out)),
        Command::Health => runtime.block_on(cli::serve::health(&config)),
        Command::Demo(_) | Command::Model(_) => Ok(()),
    }
}

/// `threads` 0: one per core that this process may run on.
fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    // A single thread needs no queues to steal from and wakes nobody.
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
