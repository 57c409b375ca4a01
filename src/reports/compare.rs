//! The models against one of them: what each row gains or loses.

use serde_json::{Value, json};

use super::columns::{decimal, ratio};
use super::{
    Cell, MODEL_NAMES, Report, ReportError, ReportModel, ReportRequest, Sheet, SheetRow, attribution,
};
use crate::config::Attribution;
use crate::ledger::Ledger;
use crate::ledger::reports::{Credits, Dimension};

/// An attribution report under every model, the models to show, and the one that they are compared with.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    report: ReportRequest,
    /// None: all that have an answer.
    models: Option<Vec<String>>,
    baseline: String,
}

impl CompareRequest {
    /// `report` under every model, whichever it names; `models` None: all that have an answer.
    pub fn over(
        report: ReportRequest,
        models: Option<Vec<String>>,
        baseline: &str,
    ) -> Result<Self, ReportError> {
        let baseline = known("baseline", baseline)?;
        let named = || models.iter().flatten().chain([&baseline]);
        let of_period = named().any(|name| matches!(name.as_str(), "markov" | "shapley"));
        if of_period {
            super::period::check(&report)?;
        }
        let (order, transform) = report.model.of_period().unwrap_or((1, super::period::DEFAULT_TRANSFORM));
        let of_period = of_period || models.is_none();
        let model = ReportModel::All { order, transform, of_period };
        Ok(Self { report: ReportRequest { model, ..report }, models, baseline })
    }

    pub fn by(&self) -> Dimension {
        self.report.by
    }

    /// The parameters of the attribution report but `model`, and `models` (by commas) and `baseline`
    /// (last_touch if absent). An empty value is as none.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ReportError> {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let value = |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        if value("model").is_some() {
            return Err(ReportError::invalid(
                "model",
                "is no parameter of this report: `models`, `baseline`",
            ));
        }
        let baseline = value("baseline").unwrap_or("last_touch");
        let models = value("models").filter(|text| *text != "all").map(|text| {
            text.split(',').map(|name| known("models", name.trim())).collect::<Result<Vec<_>, _>>()
        });
        let others = pairs.iter().filter(|(name, _)| !matches!(*name, "models" | "baseline")).copied();
        let report = ReportRequest::parse(others.chain([("model", "all")]))?;
        Self::over(report, models.transpose()?, baseline)
    }
}

fn known(field: &str, name: &str) -> Result<String, ReportError> {
    let names = || MODEL_NAMES.into_iter().filter(|name| *name != "all");
    match names().any(|known| known == name) {
        true => Ok(name.to_owned()),
        false => {
            let detail = format!("{name:?} is none of {}", names().collect::<Vec<_>>().join(", "));
            Err(ReportError::invalid(field, detail))
        }
    }
}

/// How much each row gains or loses under each model against the baseline.
pub async fn compare(
    ledger: &Ledger,
    workspace: &str,
    request: &CompareRequest,
    defaults: &Attribution,
) -> Result<Sheet, ReportError> {
    let report = attribution(ledger, workspace, &request.report, defaults).await?;
    let place = |name: &str| {
        let missing = || ReportError::invalid("models", format!("{name} has no answer for this report"));
        report.models.iter().position(|model| *model == name).ok_or_else(missing)
    };
    let baseline = place(&request.baseline)?;
    let compared: Vec<usize> = match &request.models {
        Some(names) => names.iter().map(|name| place(name)).collect::<Result<_, _>>()?,
        None => (0..report.models.len()).collect(),
    };
    let compared: Vec<usize> = compared.into_iter().filter(|model| *model != baseline).collect();

    let mut columns = vec!["conversions".to_owned(), "net_revenue".to_owned()];
    for model in &compared {
        let named = ["conversions", "net_revenue", "change", "change_percent"];
        columns.extend(named.map(|column| format!("{}_{column}", report.models[*model])));
    }
    let cells = |by_model: &[Credits]| {
        let base = by_model[baseline];
        let mut cells = vec![conversions(base), Cell::Money(report.money(base.net_minor()))];
        for model in &compared {
            let credits = by_model[*model];
            let change = credits.net_minor() - base.net_minor();
            let percent = ratio(i128::from(change) * 10_000, i128::from(base.net_minor()).abs());
            cells.extend([
                conversions(credits),
                Cell::Money(report.money(credits.net_minor())),
                Cell::Money(report.money(change)),
                percent.map_or(Cell::Null, |percent| Cell::Number(decimal(percent, 2))),
            ]);
        }
        cells
    };
    let mut rows: Vec<_> = report.rows.iter().collect();
    if !report.by.is_time() {
        rows.sort_by_key(|row| std::cmp::Reverse(row.by_model[baseline].net_minor()));
    }
    let row = |row: &super::Row| SheetRow {
        name: row.name.clone(),
        label: row.label.clone(),
        cells: cells(&row.by_model),
    };
    let mut titled = vec![("net_revenue".to_owned(), request.baseline.clone())];
    for name in compared.iter().map(|model| report.models[*model]) {
        titled.push((format!("{name}_change"), name.to_owned()));
        titled.push((format!("{name}_change_percent"), "%".to_owned()));
    }
    let shown: Vec<&str> = compared.iter().map(|model| report.models[*model]).collect();
    Ok(Sheet {
        head: head(&report, &request.baseline, &shown),
        rows: rows.into_iter().map(row).collect(),
        totals: Some(cells(&report.totals_by_model)),
        columns,
        shown: titled,
        foot: Vec::new(),
        problems: report.problems,
    })
}

fn conversions(credits: Credits) -> Cell {
    // Billionths to ten-thousandths.
    ratio(i128::from(credits.weight), 100_000).map_or(Cell::Null, |n| Cell::Number(decimal(n, 4)))
}

fn head(report: &Report, baseline: &str, models: &[&str]) -> Vec<(&'static str, Value)> {
    let filters: serde_json::Map<String, Value> =
        report.filters.iter().map(|(d, value)| (d.name().to_owned(), json!(value))).collect();
    let mut head =
        vec![("by", json!(report.by.name())), ("baseline", json!(baseline)), ("models", json!(models))];
    if let Some((order, transform)) = report.model.of_period() {
        head.extend([("order", json!(order)), ("transform", json!(transform.as_str()))]);
    }
    head.extend([
        ("from", json!(report.from.to_string())),
        ("to", json!(report.to.to_string())),
        ("timezone", json!(report.timezone)),
        ("currency", json!(report.currency.code())),
        ("clock", json!(report.clock.name())),
        ("event", json!(report.event)),
        ("filters", Value::Object(filters)),
        ("revenue_basis", json!(report.revenue_basis)),
        ("as_of", json!(report.as_of)),
        ("settings_hash", json!(report.settings_hash)),
    ]);
    head
}
