//! `utmost replay --dry-run`: what other attribution rules would change, straight from the ledger.

use std::io::Write;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::attribution::models::Model;
use crate::config::{Attribution, WorkspaceSettings};
use crate::domain::flaw::Flaws;
use crate::domain::money::format_minor;
use crate::ledger::{Ledger, workspaces};
use crate::worker::evaluate::dry_run::{DryRun, Holder, Share, Shift, try_out};

#[derive(Debug, Args)]
pub struct DryRunArgs {
    /// A rule as in a workspace's settings, such as lookback_days=30; for one kind of event
    /// lead.lookback_days=30. May be given more than once; what is not named stays as it is set
    #[arg(long = "set", value_name = "RULE=VALUE", requires = "dry_run")]
    rules: Vec<String>,
    #[arg(long, default_value = "default", requires = "dry_run")]
    workspace: String,
    /// The event whose conversions count
    #[arg(long, default_value = "purchase", requires = "dry_run")]
    event: String,
    /// Only this model: first_touch, last_touch, linear, time_decay or position_based [default: all]
    #[arg(long, requires = "dry_run")]
    model: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "dry_run")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

/// One holder under one model.
struct Line {
    holder: Holder,
    model: Model,
    shift: Shift,
}

impl DryRunArgs {
    /// Errors: an unknown workspace or model, rules with mistakes (each named), the ledger's.
    pub async fn run(
        &self,
        ledger: &Ledger,
        defaults: &Attribution,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let workspace = workspaces::get(ledger, &self.workspace).await?;
        let workspace = workspace.with_context(|| format!("--workspace: there is no {}", self.workspace))?;
        let model = self.model.as_ref().map(|name| model(name)).transpose()?;
        let mut settings: Value = serde_json::from_str(&workspace.settings)?;
        for rule in &self.rules {
            set(&mut settings, rule)?;
        }
        let others: WorkspaceSettings = serde_path_to_error::deserialize(settings)
            .map_err(|error| anyhow::anyhow!("--set {}: {}", error.path(), error.inner()))?;
        let mut flaws = Flaws::default();
        others.check(defaults, &mut flaws);
        if let Err(flaws) = flaws.check() {
            let details: Vec<String> = flaws.into_iter().map(|flaw| flaw.detail).collect();
            bail!("--set: {}", details.join("; "));
        }
        let run = try_out(ledger, defaults, &workspace, &others, &self.event).await?;
        let lines = lines(&run, model);
        match self.format {
            Format::Table => table(&run, &lines, model, out)?,
            Format::Csv => out.write_all(&csv(&run, &lines)?)?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, &document(&run, &lines, &others))?;
                writeln!(out)?;
            }
        }
        Ok(())
    }
}

fn model(name: &str) -> anyhow::Result<Model> {
    let known = Model::ALL.iter().find(|model| model.as_str() == name);
    let names = || Model::ALL.map(Model::as_str).join(", ");
    known.copied().with_context(|| format!("--model: {name:?} is none of {}", names()))
}

/// Puts one `name=value` or `event.name=value` into settings as JSON.
fn set(settings: &mut Value, rule: &str) -> anyhow::Result<()> {
    let (name, text) = rule.split_once('=').with_context(|| format!("--set {rule}: expected RULE=VALUE"))?;
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) if text.contains(',') => {
            let parts: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
            json!(parts.with_context(|| format!("--set {rule}: expected numbers between commas"))?)
        }
        Err(_) => json!(text),
    };
    let path: Vec<&str> = match name.split_once('.') {
        // The values of leads and other actions are by event themselves, and text.
        Some(("assigned_values", event)) => {
            settings["assigned_values"][event] = json!(text);
            return Ok(());
        }
        Some((event, name)) => vec!["events", event, name],
        None => vec![name],
    };
    let mut place = settings;
    for name in path {
        place = &mut place[name];
    }
    *place = value;
    Ok(())
}

/// Posts first, those that change most first; the models in their order.
fn lines(run: &DryRun, model: Option<Model>) -> Vec<Line> {
    let is_shown = |of: &Model| model.is_none_or(|model| model == *of);
    let mut lines: Vec<Line> = Vec::new();
    for (holder, shifts) in &run.shifts {
        for (of, shift) in Model::ALL.into_iter().zip(shifts).filter(|(of, _)| is_shown(of)) {
            lines.push(Line { holder: holder.clone(), model: of, shift: *shift });
        }
    }
    let is_other = |holder: &Holder| matches!(holder, Holder::Unattributed | Holder::Excluded);
    lines.sort_by_key(|line| {
        let place = Model::ALL.iter().position(|model| *model == line.model);
        (place, is_other(&line.holder), -(change(&line.shift).abs()), line.holder.clone())
    });
    lines
}

fn change(shift: &Shift) -> i64 {
    shift.after.net_minor - shift.before.net_minor
}

fn name(holder: &Holder) -> &str {
    match holder {
        Holder::Post(post) => post,
        Holder::NoPost => "(no post)",
        Holder::Unattributed => "(unattributed)",
        Holder::Excluded => "(excluded)",
    }
}

fn conversions(share: Share) -> String {
    format!("{:.4}", share.weight as f64 / 1e9)
}

const COLUMNS: [&str; 7] =
    ["post", "model", "conversions_before", "conversions_after", "net_before", "net_after", "net_change"];

fn cells(run: &DryRun, name: &str, model: Model, shift: &Shift) -> [String; 7] {
    let money = |minor| format_minor(minor, run.currency);
    [
        name.to_owned(),
        model.as_str().to_owned(),
        conversions(shift.before),
        conversions(shift.after),
        money(shift.before.net_minor),
        money(shift.after.net_minor),
        money(change(shift)),
    ]
}

/// What posts have together, and what moves between holders in all.
fn attributed(lines: &[Line], model: Model) -> (Shift, i64) {
    let mut sum = Shift::default();
    let mut moved = 0;
    for line in lines.iter().filter(|line| line.model == model) {
        moved += change(&line.shift).abs();
        if matches!(line.holder, Holder::Post(_) | Holder::NoPost) {
            for (sum, share) in [(&mut sum.before, line.shift.before), (&mut sum.after, line.shift.after)] {
                sum.net_minor += share.net_minor;
                sum.weight += share.weight;
            }
        }
    }
    (sum, moved)
}

fn table(run: &DryRun, lines: &[Line], model: Option<Model>, out: &mut dyn Write) -> std::io::Result<()> {
    let titles = ["post", "model", "conv. before", "after", "net before", "after", "change"];
    let mut rows: Vec<[String; 7]> = vec![titles.map(str::to_owned)];
    let mut moved_in_all = Vec::new();
    for of in Model::ALL.into_iter().filter(|of| model.is_none_or(|model| model == *of)) {
        let of_model = lines.iter().filter(|line| line.model == of && line.shift.before != line.shift.after);
        rows.extend(of_model.map(|line| cells(run, name(&line.holder), of, &line.shift)));
        let (sum, moved) = attributed(lines, of);
        rows.push(cells(run, "attributed in all", of, &sum));
        moved_in_all.push(format!("{} {}", of.as_str(), format_minor(moved, run.currency)));
    }
    let widths: [usize; 7] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let mut line =
            format!("{:<width$}  {:<second$}", row[0], row[1], width = widths[0], second = widths[1]);
        for (cell, width) in row[2..].iter().zip(&widths[2..]) {
            line += &format!("  {cell:>width$}");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "{} of {} conversions would change. Changes up and down add up to {}.",
        run.changed,
        run.conversions,
        moved_in_all.join(", ")
    )?;
    if run.pending > 0 {
        writeln!(
            out,
            "{} still wait to be evaluated; reports do not show them yet as they stand here.",
            run.pending
        )?;
    }
    writeln!(out, "Amounts in {}. Nothing was written.", run.currency)
}

/// All lines, also of holders for whom nothing changes.
fn csv(run: &DryRun, lines: &[Line]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for line in lines {
        writer.write_record(cells(run, name(&line.holder), line.model, &line.shift))?;
    }
    Ok(writer.into_inner().map_err(|error| error.into_error())?)
}

fn document(run: &DryRun, lines: &[Line], others: &WorkspaceSettings) -> Value {
    let rows = lines.iter().map(|line| {
        let mut row = serde_json::Map::new();
        row.insert(
            "holder".into(),
            json!(match line.holder {
                Holder::Post(_) => "post",
                Holder::NoPost => "no_post",
                Holder::Unattributed => "unattributed",
                Holder::Excluded => "excluded",
            }),
        );
        let cells = cells(run, name(&line.holder), line.model, &line.shift);
        row.extend(COLUMNS.iter().zip(cells).map(|(column, cell)| ((*column).to_owned(), json!(cell))));
        if !matches!(line.holder, Holder::Post(_)) {
            row["post"] = Value::Null;
        }
        Value::Object(row)
    });
    json!({
        "settings": others,
        "currency": run.currency.to_string(),
        "conversions": run.conversions,
        "changed": run.changed,
        "pending": run.pending,
        "rows": rows.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_put_into_settings() {
        let check = |rules: &[&str], expected: Value| {
            let mut settings = json!({"lookback_days": 90, "events": {"lead": {"half_life_days": 2.0}}});
            for rule in rules {
                set(&mut settings, rule).unwrap();
            }
            assert_eq!(settings, expected, "{rules:?}");
        };
        let lead = json!({"half_life_days": 2.0});
        check(&["lookback_days=30"], json!({"lookback_days": 30, "events": {"lead": lead}}));
        check(
            &["lead.lookback_days=7", "position_shares=0.3,0.4,0.3", "rival_touches=ignore"],
            json!({"lookback_days": 90, "position_shares": [0.3, 0.4, 0.3], "rival_touches": "ignore",
                "events": {"lead": {"half_life_days": 2.0, "lookback_days": 7}}}),
        );
        check(
            &["assigned_values.lead=5"],
            json!({"lookback_days": 90, "assigned_values": {"lead": "5"}, "events": {"lead": lead}}),
        );
        assert!(set(&mut json!({}), "lookback_days").is_err());
    }
}
