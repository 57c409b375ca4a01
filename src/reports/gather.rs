//! Gathers the figures of all rows and of the whole.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::costs::{self, Cost};
use super::extras;
use super::frame::Frame;
use super::period::{self, Paths};
use super::{Figures, OneModel, Problem, ReportError, ReportModel, ReportRequest};
use crate::attribution::models::Model;
use crate::domain::money::Currency;
use crate::domain::time::hour_of_week;
use crate::ledger::reports::{
    self as sums, Amounts, Assigned, Assists, Clicks, Credits, Dimension, Key, Slice,
};
use crate::ledger::{Ledger, LedgerError};

/// Milliseconds in a quarter of an hour.
const QUARTER_MS: i64 = 900_000;

/// What a row's columns are computed from.
#[derive(Default)]
pub struct Measured {
    pub figures: Figures,
    /// Of each of the models side by side.
    pub by_model: Vec<Credits>,
}

#[derive(Default)]
pub struct Gathered {
    pub rows: BTreeMap<Key, Measured>,
    pub totals: Measured,
    /// The models side by side, where all are asked for.
    pub models: Vec<&'static str>,
    /// What rival touches take by the main model.
    pub rival: Amounts,
    pub problems: Vec<Problem>,
}

pub async fn gather(
    ledger: &Ledger,
    slice: &Slice,
    request: &ReportRequest,
    frame: &Frame,
) -> Result<Gathered, ReportError> {
    let (zone, currency) = (&frame.zone, frame.currency);
    let mut all = Gathered::default();
    if request.by == Dimension::PublishedHour {
        let by_post = ReportRequest { by: Dimension::Post, ..request.clone() };
        all = Box::pin(gather(ledger, slice, &by_post, frame)).await?;
        extras::by_published_hour(ledger, &slice.workspace, zone, &mut all).await?;
        return Ok(all);
    }
    // None needs another, so they read side by side; those that take longest begin.
    let (assists, asked, costs, clicks) = tokio::try_join!(
        assists(ledger, slice, request.by),
        ask(ledger, slice, request),
        spread(ledger, slice, request.by, currency),
        sums::clicks(ledger, slice, request.by),
    )?;
    add_clicks(request.by, clicks, &mut all)?;
    add_credits(ledger, slice, request, zone, asked, &mut all).await?;
    if let Some((by_row, missing)) = costs {
        all.problems.extend(missing);
        let mut whole = Cost::default();
        for (key, cost) in by_row {
            all.rows.entry(key).or_default().figures.cost = Some(cost);
            whole.direct_minor += cost.direct_minor;
            whole.shared_minor += cost.shared_minor;
        }
        all.totals.figures.cost = Some(whole);
    }
    if let Some(assists) = assists {
        for (key, conversions) in assists.by_key {
            all.rows.entry(key).or_default().figures.assisted = Some(conversions);
        }
        all.totals.figures.assisted = Some(assists.whole);
    }
    extras::goods(ledger, slice, request, zone, currency, &mut all).await?;
    extras::click_value(ledger, slice, request.by, currency, &frame.settings, &mut all).await?;
    extras::engagement(ledger, slice, request.by, &mut all).await?;
    // Rows know what the whole knows.
    let (whole, models) = (all.totals.figures, all.models.len());
    for measured in all.rows.values_mut() {
        let figures = &mut measured.figures;
        figures.clicks = figures.clicks.or(whole.clicks.map(|_| Clicks::default()));
        figures.cost = figures.cost.or(whole.cost.map(|_| Cost::default()));
        figures.assisted = figures.assisted.or(whole.assisted.map(|_| 0));
        figures.click_value = figures.click_value.or(whole.click_value.map(|_| 0));
        figures.assigned_value = figures.assigned_value.or(whole.assigned_value.map(|_| 0));
        measured.by_model.resize(models, Credits::default());
    }
    Ok(all)
}

/// The rows that a key of the ledger stands for: a set of tags is many, and a quarter of an hour belongs to
/// an hour of the week.
pub(super) fn rows_of(by: Dimension, key: &Key, zone: &TimeZone) -> Result<Vec<Key>, LedgerError> {
    Ok(match (by, key) {
        (Dimension::Tag, key) => match sums::tags_of(key)? {
            tags if tags.is_empty() => vec![Key::None],
            tags => tags.into_iter().map(Key::Text).collect(),
        },
        (Dimension::HourOfWeek, Key::Number(quarter)) => {
            vec![Key::Number(i64::from(hour_of_week(quarter * QUARTER_MS, zone)))]
        }
        _ => vec![key.clone()],
    })
}

/// What of the report only some keys have.
async fn assists(ledger: &Ledger, slice: &Slice, by: Dimension) -> Result<Option<Assists>, LedgerError> {
    match by {
        Dimension::HourOfWeek => Ok(None),
        _ => sums::assists(ledger, slice, by).await.map(Some),
    }
}

type Spread = (BTreeMap<Key, Cost>, Vec<Problem>);

async fn spread(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    currency: Currency,
) -> Result<Option<Spread>, LedgerError> {
    match costs::are_known(slice, by) {
        true => costs::spread(ledger, slice, by, currency).await.map(Some),
        false => Ok(None),
    }
}

fn add_clicks(by: Dimension, clicks: Vec<(Key, Clicks)>, all: &mut Gathered) -> Result<(), LedgerError> {
    if by == Dimension::Source {
        return Ok(());
    }
    let whole = all.totals.figures.clicks.insert(Clicks::default());
    for (key, clicks) in clicks {
        // The rollup by hour has hours already.
        let keys = if by == Dimension::HourOfWeek { vec![key] } else { rows_of(by, &key, &TimeZone::UTC)? };
        for key in keys {
            all.rows.entry(key).or_default().figures.clicks.get_or_insert_default().add(clicks);
        }
        whole.add(clicks);
    }
    Ok(())
}

/// What the ledger holds of the models whose credits it keeps.
#[derive(Default)]
struct Asked {
    models: Vec<Model>,
    /// One of each model.
    credits: Vec<(Key, Vec<Credits>)>,
    /// Of the main model, and so are assigned values.
    rival: Amounts,
    assigned: Option<Vec<(Key, Assigned)>>,
}

async fn ask(ledger: &Ledger, slice: &Slice, request: &ReportRequest) -> Result<Asked, LedgerError> {
    let models = match request.model {
        ReportModel::One(OneModel::Touches(model)) => vec![model],
        ReportModel::One(_) => Vec::new(),
        ReportModel::All { .. } => Model::ALL.to_vec(),
    };
    let OneModel::Touches(main) = request.model.main() else { return Ok(Asked::default()) };
    let columns: Vec<&'static str> = models.iter().map(|model| model.as_str()).collect();
    let (credits, rival, assigned) = tokio::try_join!(
        sums::credits(ledger, slice, request.by, &columns),
        sums::rival_share(ledger, slice, main.as_str()),
        sums::assigned(ledger, slice, request.by, main.as_str()),
    )?;
    Ok(Asked { models, credits, rival, assigned: Some(assigned) })
}

/// The credits of the main model and, where all are asked for, of every model.
async fn add_credits(
    ledger: &Ledger,
    slice: &Slice,
    request: &ReportRequest,
    zone: &TimeZone,
    asked: Asked,
    all: &mut Gathered,
) -> Result<(), ReportError> {
    let by = request.by;
    let Asked { models, credits, rival, assigned } = asked;
    let side_by_side = matches!(request.model, ReportModel::All { .. });
    let main = models.iter().position(|model| request.model.main() == OneModel::Touches(*model));
    if let Some(main) = main {
        for (key, credits) in credits {
            let keys = rows_of(by, &key, zone)?;
            for key in keys.into_iter().map(Some).chain([None]) {
                let into = match key {
                    Some(key) => all.rows.entry(key).or_default(),
                    None => &mut all.totals,
                };
                into.figures.credits.add(credits[main]);
                if side_by_side {
                    into.by_model.resize(models.len(), Credits::default());
                    into.by_model.iter_mut().zip(&credits).for_each(|(sum, credits)| sum.add(*credits));
                }
            }
        }
        all.rival = rival;
        if side_by_side {
            all.totals.by_model.resize(models.len(), Credits::default());
            all.models = models.iter().map(|model| model.as_str()).collect();
        }
    }
    if let Some(assigned) = assigned {
        add_assigned(by, zone, assigned, all)?;
    }
    let of_period = match request.model {
        ReportModel::One(model) if model.is_of_period() => vec![model],
        // Where they have no answer the others stand without them.
        ReportModel::All { order, transform, of_period: true } if period::check(request).is_ok() => {
            vec![OneModel::Markov { order, transform }, OneModel::Shapley { transform }]
        }
        _ => Vec::new(),
    };
    if of_period.is_empty() {
        return Ok(());
    }
    let paths = std::sync::Arc::new(Paths::load(ledger, slice, by).await?);
    for model in of_period {
        let paths = std::sync::Arc::clone(&paths);
        let credited = tokio::task::spawn_blocking(move || paths.credit(model)).await;
        let credited = match credited.map_err(|error| LedgerError::Damaged(error.to_string()))? {
            Ok(credited) => credited,
            Err(error) if side_by_side => {
                all.problems
                    .push(Problem { code: "model_left_out", detail: format!("{}: {error}", model.name()) });
                continue;
            }
            Err(error) => return Err(error),
        };
        let place = all.models.len();
        for (key, credits) in credited.by_key.into_iter().map(|(key, credits)| (Some(key), credits)) {
            for key in [key, None] {
                let into = match key {
                    Some(key) => all.rows.entry(key).or_default(),
                    None => &mut all.totals,
                };
                if side_by_side {
                    into.by_model.resize(place + 1, Credits::default());
                    into.by_model[place].add(credits);
                } else {
                    into.figures.credits.add(credits);
                }
            }
        }
        if side_by_side {
            all.totals.by_model.resize(place + 1, Credits::default());
            all.models.push(model.name());
        } else {
            all.rival = credited.rival;
        }
    }
    if !paths.has_nulls() {
        let detail = "journeys that did not convert are counted every hour, and none is counted for these days: \
                      markov looks at those that did";
        all.problems.push(Problem { code: "no_null_paths", detail: detail.to_owned() });
    }
    Ok(())
}

fn add_assigned(
    by: Dimension,
    zone: &TimeZone,
    values: Vec<(Key, Assigned)>,
    all: &mut Gathered,
) -> Result<(), LedgerError> {
    let mut whole = 0;
    for (key, assigned) in values {
        let value = i128::from(assigned.value_minor) * i128::from(assigned.weight);
        for key in rows_of(by, &key, zone)? {
            *all.rows.entry(key).or_default().figures.assigned_value.get_or_insert_default() += value;
        }
        whole += value;
    }
    all.totals.figures.assigned_value = Some(whole);
    Ok(())
}
