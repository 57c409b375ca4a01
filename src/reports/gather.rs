//! Gathers the figures of all rows and of the whole.

use std::collections::BTreeMap;

use super::costs::{self, Cost};
use super::extras;
use super::frame::Frame;
use super::period::{self, Paths};
use super::{Figures, OneModel, Problem, ReportError, ReportModel, ReportRequest};
use crate::attribution::models::Model;
use crate::domain::money::Currency;
use crate::ledger::reports::{
    self as sums, Amounts, ClickSums, Clicks, Credits, Dimension, Journeys, Key, Question, ReceivedOrders,
    Slice, Tally, TallyRow,
};
use crate::ledger::{Ledger, LedgerError, blocking};

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
    pub received: Vec<ReceivedOrders>,
    /// What rival touches take by the main model.
    pub rival: Amounts,
    /// By the click clock and the main model: what orders outside the slice brought to clicks inside, and orders inside
    /// to clicks outside.
    pub moved: (Amounts, Amounts),
    pub problems: Vec<Problem>,
}

pub async fn gather(
    ledger: &Ledger,
    slice: &Slice,
    request: &ReportRequest,
    frame: &Frame,
) -> Result<Gathered, ReportError> {
    let currency = frame.currency;
    let mut all = Gathered::default();
    if request.by == Dimension::PublishedHour {
        let by_post = ReportRequest { by: Dimension::Post, ..request.clone() };
        all = Box::pin(gather(ledger, slice, &by_post, frame)).await?;
        extras::by_published_hour(ledger, &slice.workspace, &frame.zone, &mut all).await?;
        return Ok(all);
    }
    let of_period = models_of_period(request);
    let question = Question {
        by: request.by,
        zone: frame.zone.clone(),
        main: match request.model.main() {
            OneModel::Touches(model) => Some(model),
            _ => None,
        },
        journeys: !of_period.is_empty(),
    };
    // None needs another, so they read side by side.
    let ((mut tally, clicks), costs) = tokio::try_join!(
        sums::sum_up(ledger, slice, &question),
        spread(ledger, slice, request.by, currency),
    )?;
    add_clicks(request.by, clicks, &mut all);
    let (journeys, goods) = (std::mem::take(&mut tally.journeys), std::mem::take(&mut tally.goods));
    add_tally(request, tally, &mut all);
    add_period(ledger, slice, request, of_period, journeys, &mut all).await?;
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
    extras::goods(goods, currency, &mut all)?;
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

fn add_clicks(by: Dimension, clicks: ClickSums, all: &mut Gathered) {
    if by == Dimension::Source {
        return;
    }
    all.totals.figures.clicks = Some(clicks.whole);
    for (key, clicks) in clicks.rows {
        all.rows.entry(key).or_default().figures.clicks = Some(clicks);
    }
}

fn models_of_period(request: &ReportRequest) -> Vec<OneModel> {
    match request.model {
        ReportModel::One(model) if model.is_of_period() => vec![model],
        // Where they have no answer the others stand without them.
        ReportModel::All { order, transform, of_period: true } if period::check(request).is_ok() => {
            vec![OneModel::Markov { order, transform }, OneModel::Shapley { transform }]
        }
        _ => Vec::new(),
    }
}

/// What conversions tell of all rows and of the whole: by the main model and, where all are asked for, by every
/// model whose credits the ledger keeps.
fn add_tally(request: &ReportRequest, tally: Tally, all: &mut Gathered) {
    let main = match request.model.main() {
        OneModel::Touches(main) => Model::ALL.iter().position(|model| *model == main),
        _ => None,
    };
    let side_by_side = matches!(request.model, ReportModel::All { .. });
    let add = |row: TallyRow, into: &mut Measured| {
        if let Some(credits) = row.credits {
            into.figures.credits = main.map_or_else(Credits::default, |main| credits[main]);
            into.by_model = if side_by_side { credits.to_vec() } else { Vec::new() };
        }
        into.figures.assigned_value = row.assigned;
        into.figures.assisted = (row.assisted > 0).then_some(row.assisted);
    };
    for (key, row) in tally.rows {
        // By a model of the period its own credits tell which rows there are.
        if main.is_some() || row.assisted > 0 {
            add(row, all.rows.entry(key).or_default());
        }
    }
    add(tally.totals.clone(), &mut all.totals);
    let whole = &mut all.totals.figures;
    whole.assisted = (request.by != Dimension::HourOfWeek).then_some(tally.totals.assisted);
    whole.assigned_value = main.map(|_| tally.totals.assigned.unwrap_or_default());
    if side_by_side {
        all.totals.by_model.resize(Model::ALL.len(), Credits::default());
        all.models = Model::ALL.iter().map(|model| model.as_str()).collect();
    }
    all.received = tally.received;
    all.rival = tally.rival;
    all.moved = (tally.orders_outside, tally.clicks_outside);
}

/// The credits of models that look at all journeys of the period.
async fn add_period(
    ledger: &Ledger,
    slice: &Slice,
    request: &ReportRequest,
    of_period: Vec<OneModel>,
    journeys: Journeys,
    all: &mut Gathered,
) -> Result<(), ReportError> {
    if of_period.is_empty() {
        return Ok(());
    }
    let side_by_side = matches!(request.model, ReportModel::All { .. });
    // Shapley looks at journeys that converted alone, and markov refuses too many keys.
    let has_markov = of_period.iter().any(|model| matches!(model, OneModel::Markov { .. }));
    let needs_nulls = has_markov && journeys.keys.len() <= period::MARKOV_KEYS_MAX;
    let paths = match needs_nulls {
        true => Paths::with_nulls(ledger, slice, request.by, journeys).await?,
        false => Paths::of(journeys),
    };
    let paths = std::sync::Arc::new(paths);
    for model in of_period {
        let paths = std::sync::Arc::clone(&paths);
        let credited = match blocking(move || Ok(paths.credit(model))).await? {
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
    if needs_nulls && !paths.has_nulls() {
        let detail = "journeys that did not convert are counted every hour, and none is counted for these days: \
                      markov looks at those that did";
        all.problems.push(Problem { code: "no_null_paths", detail: detail.to_owned() });
    }
    Ok(())
}
