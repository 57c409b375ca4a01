//! A report request: parsed and checked, with every refusal named.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::model::{self, OneModel, ReportModel};
use super::{ReportError, period};
use crate::attribution::markov::MAX_ORDER;
use crate::attribution::models::Model;
use crate::attribution::paths::Transform;
use crate::domain::time::{day_date, day_number, local_day};
use crate::ledger::reports::{Clock, Dimension, Key, Slice, link_key};

/// The longest period of one report, in days: fifty years.
const MAX_DAYS: i64 = 18_300;

/// What to report. `Default` is everything so far, by post and by last touch.
#[derive(Debug, Clone)]
pub struct ReportRequest {
    pub by: Dimension,
    pub model: ReportModel,
    /// None: from the first day on which anything happened.
    pub from: Option<Bound>,
    /// Exclusive. None: up to and with today, or the last day on which anything happened.
    pub to: Option<Bound>,
    pub clock: Clock,
    /// The event whose conversions count.
    pub event: String,
    pub filters: Vec<(Dimension, Key)>,
}

impl Default for ReportRequest {
    fn default() -> Self {
        Self {
            by: Dimension::Post,
            model: ReportModel::One(OneModel::Touches(Model::LastTouch)),
            from: None,
            to: None,
            clock: Clock::Order,
            event: "purchase".to_owned(),
            filters: Vec::new(),
        }
    }
}

/// One end of the period, before the workspace's zone is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The start of a day in the workspace's zone.
    Day(Date),
    /// Must be the start of a day there.
    At(Timestamp),
}

impl FromStr for Bound {
    type Err = ();

    /// `2026-11-23`, or RFC 3339 with an offset.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.len() {
            10 => text.parse().map(Self::Day).map_err(|_| ()),
            _ => text.parse().map(Self::At).map_err(|_| ()),
        }
    }
}

impl ReportRequest {
    /// From query parameters: `by`, `model` (with `order` and `transform`), `from`, `to`, `clock`, `event`, and filters named as dimensions.
    /// An empty value is as none.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ReportError> {
        let mut request = Self::default();
        let mut given: Vec<(&str, &str)> = Vec::new();
        for (name, value) in pairs {
            if given.iter().any(|(known, _)| *known == name) {
                return Err(ReportError::invalid(name, "given twice"));
            }
            given.push((name, value));
        }
        given.retain(|(_, value)| !value.is_empty());
        request.model = model(&given)?;
        for (name, value) in given {
            request.set(name, value)?;
        }
        request.check()?;
        Ok(request)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ReportError> {
        let names = |all: &[&str]| format!("{value:?} is none of {}", all.join(", "));
        match name {
            "by" => {
                self.by = Dimension::from_name(value)
                    .ok_or_else(|| ReportError::invalid(name, names(&Dimension::ALL.map(Dimension::name))))?;
            }
            "model" | "order" | "transform" => {}
            "clock" => {
                self.clock = Clock::from_name(value)
                    .ok_or_else(|| ReportError::invalid(name, names(&Clock::ALL.map(Clock::name))))?;
            }
            "from" | "to" => {
                let bound = value.parse().map_err(|()| {
                    ReportError::invalid(
                        name,
                        format!("{value:?} is neither a date (2026-11-23) nor RFC 3339"),
                    )
                })?;
                *(if name == "from" { &mut self.from } else { &mut self.to }) = Some(bound);
            }
            "event" => self.event = value.to_owned(),
            _ => {
                let dimension = Dimension::from_name(name)
                    .filter(|dimension| !dimension.is_time())
                    .ok_or_else(|| ReportError::invalid(name, "is no parameter of this report"))?;
                let key = match dimension {
                    Dimension::Link => link_key(value)
                        .ok_or_else(|| ReportError::invalid(name, format!("{value:?} is no link id")))?,
                    // Stored lower-cased, so that spellings group together.
                    Dimension::UtmSource
                    | Dimension::UtmMedium
                    | Dimension::UtmCampaign
                    | Dimension::UtmTerm
                    | Dimension::UtmContent => Key::Text(value.to_lowercase()),
                    _ => Key::Text(value.to_owned()),
                };
                self.filters.push((dimension, key));
            }
        }
        Ok(())
    }

    /// Refuses what the rollups of clicks cannot answer.
    fn check(&self) -> Result<(), ReportError> {
        let asks = |dimension| self.by == dimension || self.filters.iter().any(|(d, _)| *d == dimension);
        let refuse = |field: &str, detail: &str| Err(ReportError::invalid(field, detail));
        if asks(Dimension::Country) && asks(Dimension::Device) {
            return refuse(
                "device",
                "country and device do not combine: clicks are counted by one or the other",
            );
        }
        if self.by == Dimension::HourOfWeek && (asks(Dimension::Country) || asks(Dimension::Device)) {
            return refuse("by", "hour_of_week combines with neither country nor device");
        }
        if self.model.main().is_of_period() {
            period::check(self)?;
        }
        Ok(())
    }

    /// The part of the ledger asked for. `used` are the first and the last day on which anything happened.
    pub(super) fn slice(
        &self,
        workspace: &str,
        zone: &TimeZone,
        used: Option<(i64, i64)>,
        now_ms: i64,
    ) -> Result<Slice, ReportError> {
        let today = i64::from(local_day(now_ms, zone));
        let (first, last) =
            used.map_or((today, today), |(first, last)| (first.clamp(0, today), last.max(today)));
        let day = |field, bound: Option<Bound>| bound.map(|b| start_of_day(field, b, zone)).transpose();
        let (from, to) = (day("from", self.from)?, day("to", self.to)?);
        let monthly = self.by == Dimension::HourOfWeek;
        let month_start = |day: i64| i64::from(day_number(date(day).first_of_month()));
        let next_month = |day: i64| {
            i64::from(day_number(date(day).first_of_month().saturating_add(Span::new().months(1))))
        };
        if monthly {
            for (field, day) in [("from", from), ("to", to)] {
                if day.is_some_and(|day| month_start(day) != day) {
                    return Err(ReportError::invalid(
                        field,
                        "hours of the week are counted by month: expected the first day of a month",
                    ));
                }
            }
        }
        let to_day = to.unwrap_or(if monthly { next_month(last) } else { last + 1 });
        let from_day = from.unwrap_or(if monthly { month_start(first) } else { first }.min(to_day - 1));
        if from_day >= to_day {
            return Err(ReportError::invalid("to", "must be after `from` (the period excludes `to` itself)"));
        }
        if to_day - from_day > MAX_DAYS {
            return Err(ReportError::invalid("from", format!("the period is longer than {MAX_DAYS} days")));
        }
        Ok(Slice {
            workspace: workspace.to_owned(),
            from_day,
            to_day,
            clock: self.clock,
            event: self.event.clone(),
            filters: self.filters.clone(),
        })
    }
}

/// The model with what belongs to it.
fn model(given: &[(&str, &str)]) -> Result<ReportModel, ReportError> {
    let value = |name| given.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let order = match value("order") {
        None => 1,
        Some(text) => text.parse().ok().filter(|order| (1..=MAX_ORDER).contains(order)).ok_or_else(|| {
            ReportError::invalid("order", format!("{text:?} is no order: 1 to {MAX_ORDER}"))
        })?,
    };
    let transform = match value("transform") {
        None => period::DEFAULT_TRANSFORM,
        Some(text) => [Transform::Unique, Transform::Exposure, Transform::First]
            .into_iter()
            .find(|transform| transform.as_str() == text)
            .ok_or_else(|| {
                ReportError::invalid("transform", format!("{text:?} is none of unique, exposure, first"))
            })?,
    };
    let name = value("model").unwrap_or("last_touch");
    let model = ReportModel::new(name, order, transform).ok_or_else(|| {
        ReportError::invalid("model", format!("{name:?} is none of {}", model::NAMES.join(", ")))
    })?;
    let stray = match model {
        ReportModel::One(OneModel::Touches(_)) => {
            ["order", "transform"].into_iter().find(|n| value(n).is_some())
        }
        ReportModel::One(OneModel::Shapley { .. }) => value("order").map(|_| "order"),
        _ => None,
    };
    match stray {
        Some(field) => Err(ReportError::invalid(field, format!("does not belong to the model {name}"))),
        None => Ok(model),
    }
}

fn date(day: i64) -> Date {
    day_date(i32::try_from(day).unwrap_or_default())
}

fn start_of_day(field: &str, bound: Bound, zone: &TimeZone) -> Result<i64, ReportError> {
    let date = match bound {
        Bound::Day(date) => date,
        Bound::At(at) => {
            let zoned = at.to_zoned_datetime(zone.clone());
            if !zoned.start_of_day().is_ok_and(|start| start == zoned) {
                let zone = zone.iana_name().unwrap_or("the workspace's zone");
                let detail = format!("clicks are counted by day: expected the start of a day in {zone}");
                return Err(ReportError::invalid(field, detail));
            }
            zoned.date()
        }
    };
    match i64::from(day_number(date)) {
        day if day >= 0 => Ok(day),
        _ => Err(ReportError::invalid(field, "must not be before 1970")),
    }
}
