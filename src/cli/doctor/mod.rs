//! `utmost doctor`: what is wrong with an installation, or with what a source sends, and how to mend it. It looks
//! for itself and needs no running server; it changes nothing but to bring the ledger to this program's version.

mod installation;
mod source;

use std::io::Write;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::app;
use crate::config::Config;
use crate::ledger::Ledger;

/// Check the installation, or what a source sends, and say what to do
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at the last deliveries of this source instead
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Works, but not as well or as safely as it could.
    Warning,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    detail: String,
    /// The next step; none where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// What was found, in the order of looking.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Ok, detail: detail.into(), fix: None });
    }

    fn warn(&mut self, check: &'static str, detail: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Warning, detail: detail.into(), fix: Some(fix.into()) });
    }

    fn wrong(&mut self, check: &'static str, detail: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Wrong, detail: detail.into(), fix: Some(fix.into()) });
    }
}

/// Errs if something is wrong; a warning is no error.
pub async fn run(args: &DoctorArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    // A mistake in it would have ended the program before.
    findings.ok("configuration", "no mistakes");
    let ledger = open_ledger(config, &mut findings).await;
    match &args.source {
        Some(id) => {
            if let Some(ledger) = &ledger {
                source::check(id, ledger, &mut findings).await?;
            }
        }
        None => installation::check(config, ledger.as_ref(), &mut findings).await?,
    }
    if let Some(ledger) = ledger {
        ledger.close().await;
    }
    let Findings(findings) = findings;
    match args.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &findings)?;
            writeln!(out)?;
        }
        Format::Text => {
            for Finding { check, level, detail, fix } in &findings {
                let mark = match level {
                    Level::Ok => "ok     ",
                    Level::Warning => "warning",
                    Level::Wrong => "WRONG  ",
                };
                writeln!(out, "{mark}  {check}: {detail}")?;
                if let Some(fix) = fix {
                    writeln!(out, "         -> {fix}")?;
                }
            }
        }
    }
    match findings.iter().filter(|finding| finding.level == Level::Wrong).count() {
        0 => Ok(()),
        1 => bail!("1 thing is wrong"),
        count => bail!("{count} things are wrong"),
    }
}

/// An embedded ledger that is not there is not made.
async fn open_ledger(config: &Config, findings: &mut Findings) -> Option<Ledger> {
    if config.ledger.url.is_none() && !config.data_dir.join("ledger.db").exists() {
        findings.warn("ledger", "there is none yet", "the first `utmost serve` makes it");
        return None;
    }
    match app::open_ledger(config).await {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            findings.wrong(
                "ledger",
                format!("{error:#}"),
                "see that ledger.url is right and the server runs",
            );
            None
        }
    }
}
