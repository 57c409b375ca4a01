//! What a page shows, as its address says it, and addresses that differ in a few things.

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::PageError;
use crate::domain::time::{day_date, local_day, now_ms};
use crate::ledger::reports::Dimension;
use crate::reports::{Bound, ReportRequest};

/// Names of the periods that end today, and their days.
pub const PERIODS: [(&str, &str, Option<i64>); 5] = [
    ("7d", "7 days", Some(7)),
    ("30d", "30 days", Some(30)),
    ("90d", "90 days", Some(90)),
    ("12m", "12 months", Some(365)),
    ("all", "All", None),
];
const DEFAULT_PERIOD: &str = "30d";

/// The parameters of a page's address, each at most once.
#[derive(Debug, Clone, Default)]
pub struct View(Vec<(String, String)>);

impl View {
    pub fn read(query: Option<&str>) -> Self {
        let mut view = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            view.set(&name, Some(&value));
        }
        view
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        self.0.retain(|(known, _)| known != name);
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    pub fn with(&self, changes: &[(&str, Option<&str>)]) -> Self {
        let mut changed = self.clone();
        for (name, value) in changes {
            changed.set(name, *value);
        }
        changed
    }

    /// Only what says when, by which model and for which workspace: for a page about something else.
    pub fn frame(&self) -> Self {
        const KEPT: [&str; 7] = ["workspace", "model", "clock", "event", "period", "from", "until"];
        Self(self.0.iter().filter(|(name, _)| KEPT.contains(&name.as_str())).cloned().collect())
    }

    pub fn href(&self, path: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(&self.0).finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// All parameters but these, for the hidden fields of a form.
    pub fn others<'a>(&'a self, but: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(move |(name, _)| !but.contains(name))
    }

    /// The name of the period, None for days of one's own choice.
    pub fn period(&self) -> Option<&'static str> {
        if self.get("from").is_some() || self.get("until").is_some() {
            return None;
        }
        let named =
            |name: &str| PERIODS.iter().find(|(period, ..)| *period == name).map(|(period, ..)| *period);
        self.get("period").and_then(named).or(Some(DEFAULT_PERIOD))
    }

    /// Without what does not go with a model of the period, where one is chosen.
    pub fn settled(self) -> Self {
        const APART: [&str; 13] = [
            "clock",
            "network",
            "campaign",
            "post",
            "link",
            "tag",
            "kind",
            "country",
            "device",
            "utm_source",
            "utm_medium",
            "utm_campaign",
            "utm_content",
        ];
        if !matches!(self.get("model"), Some("markov" | "shapley")) {
            return self;
        }
        let mut view = self.with(&APART.map(|name| (name, None)));
        let by = view.get("by").and_then(Dimension::from_name);
        if by.is_some_and(|by| !by.is_of_link() || by == Dimension::Tag) {
            view.set("by", None);
        }
        view
    }

    /// The report that the address asks for. What only the dashboard knows is left out.
    pub fn request(&self, zone: &TimeZone) -> Result<ReportRequest, PageError> {
        const OWN: [&str; 11] = [
            "workspace",
            "period",
            "until",
            "sort",
            "dir",
            "page",
            "status",
            "reason",
            "after",
            "baseline",
            "format",
        ];
        let mut request = ReportRequest::parse(self.others(&OWN))?;
        // People name the last day; the API excludes it.
        if let Some(until) = self.get("until") {
            let last: Date =
                until.parse().map_err(|_| PageError::Invalid(format!("{until:?} is no date.")))?;
            request.to = Some(Bound::Day(last.saturating_add(Span::new().days(1))));
        }
        let days =
            PERIODS.iter().find(|(name, ..)| Some(*name) == self.period()).and_then(|(.., days)| *days);
        if let Some(days) = days {
            let tomorrow = today(zone).saturating_add(Span::new().days(1));
            let months = request.by == Dimension::HourOfWeek;
            let from = tomorrow.saturating_sub(Span::new().days(days));
            // Hours of the week are counted by whole months: from the start of the first one.
            request.from = Some(Bound::Day(if months { from.first_of_month() } else { from }));
            request.to = (!months).then_some(Bound::Day(tomorrow));
        }
        Ok(request)
    }
}

pub fn today(zone: &TimeZone) -> Date {
    day_date(local_day(now_ms(), zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_change_in_what_they_are_told_to() {
        let view = View::read(Some("by=network&post=a%20b&page=2&by=link&model="));
        assert_eq!((view.get("by"), view.get("model")), (Some("link"), None));
        assert_eq!(
            view.with(&[("page", None), ("sort", Some("cost"))]).href("/app"),
            "/app?post=a+b&by=link&sort=cost"
        );
        assert_eq!(view.frame().href("/app"), "/app");
        assert_eq!(View::default().period(), Some("30d"));
        assert_eq!(View::read(Some("period=90d")).period(), Some("90d"));
        assert_eq!(View::read(Some("period=90d&from=2026-11-01")).period(), None);
    }
}
