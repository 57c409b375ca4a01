//! A workspace's own attribution settings, which override the configuration's.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::Attribution;
use crate::domain::flaw::Flaws;

/// Only what differs from `[attribution]` in the configuration; names and meanings are the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkspaceSettings {
    /// 1 to 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookback_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// First, middle and last touches; they add up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_shares: Option<[f64; 3]>,
    /// total, ex_tax or ex_tax_shipping
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue_basis: Option<String>,
    /// include or ignore
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival_touches: Option<String>,
    /// inherit or exclude
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewals: Option<String>,
    /// ignore or count
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_touches: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase_cuts_journey: Option<bool>,
    /// Decimal amounts in the workspace's currency, by event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_values: Option<BTreeMap<String, String>>,
    /// What a click would have cost as an advertisement, by network: decimal amounts in the workspace's currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click_prices: Option<BTreeMap<String, String>>,
    /// What differs again for one kind of event, such as `lead`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, EventSettings>,
}

/// Only what differs for one kind of event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventSettings {
    /// 1 to 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookback_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// First, middle and last touches; they add up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_shares: Option<[f64; 3]>,
    /// total, ex_tax or ex_tax_shipping
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue_basis: Option<String>,
    /// include or ignore
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival_touches: Option<String>,
    /// inherit or exclude
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewals: Option<String>,
    /// ignore or count
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_touches: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase_cuts_journey: Option<bool>,
}

impl EventSettings {
    fn as_settings(&self) -> WorkspaceSettings {
        WorkspaceSettings {
            lookback_days: self.lookback_days,
            half_life_days: self.half_life_days,
            position_shares: self.position_shares,
            revenue_basis: self.revenue_basis.clone(),
            rival_touches: self.rival_touches.clone(),
            renewals: self.renewals.clone(),
            duplicate_touches: self.duplicate_touches.clone(),
            purchase_cuts_journey: self.purchase_cuts_journey,
            ..WorkspaceSettings::default()
        }
    }
}

impl WorkspaceSettings {
    /// Notes every mistake under `settings.<name>` or `settings.events.<event>.<name>`.
    pub fn check(&self, base: &Attribution, flaws: &mut Flaws) {
        self.check_under("settings", base, flaws);
        for (event, settings) in &self.events {
            settings.as_settings().check_under(&format!("settings.events.{event}"), base, flaws);
        }
    }

    fn check_under(&self, path: &str, base: &Attribution, flaws: &mut Flaws) {
        let longest = base.journey_retention_days.min(400);
        if self.lookback_days.is_some_and(|days| !(1..=longest).contains(&days)) {
            let detail = format!("lookback_days must be from 1 to {longest}, as long as journeys are kept");
            flaws.add(format!("{path}.lookback_days"), detail);
        }
        if self.half_life_days.is_some_and(|days| !(days > 0.0 && days.is_finite())) {
            flaws.add(format!("{path}.half_life_days"), "half_life_days must be above 0");
        }
        if let Some(shares) = self.position_shares
            && (shares.iter().any(|s| !(0.0..=1.0).contains(s))
                || (shares.iter().sum::<f64>() - 1.0).abs() > 1e-9)
        {
            flaws.add(format!("{path}.position_shares"), "give three shares that add up to 1");
        }
        let words: [(&str, &Option<String>, &[&str]); 4] = [
            ("revenue_basis", &self.revenue_basis, &["total", "ex_tax", "ex_tax_shipping"]),
            ("rival_touches", &self.rival_touches, &["include", "ignore"]),
            ("renewals", &self.renewals, &["inherit", "exclude"]),
            ("duplicate_touches", &self.duplicate_touches, &["ignore", "count"]),
        ];
        for (name, given, allowed) in words {
            if given.as_deref().is_some_and(|word| !allowed.contains(&word)) {
                flaws.add(format!("{path}.{name}"), format!("{name} must be one of {}", allowed.join(", ")));
            }
        }
        let amounts = [
            ("assigned_values", &self.assigned_values, "5.00"),
            ("click_prices", &self.click_prices, "0.85"),
        ];
        for (table, given, example) in amounts {
            for (name, value) in given.iter().flatten() {
                if !value.parse::<Decimal>().is_ok_and(|value| value >= Decimal::ZERO) {
                    let field = format!("{path}.{table}.{name}");
                    flaws.add(field, format!("give a decimal amount as a string, such as \"{example}\""));
                }
            }
        }
    }

    /// What holds for one kind of event in the workspace.
    pub fn over_for(&self, base: &Attribution, event: &str) -> Attribution {
        let own = self.over(base);
        self.events.get(event).map_or_else(|| own.clone(), |settings| settings.as_settings().over(&own))
    }

    /// What holds for the workspace.
    pub fn over(&self, base: &Attribution) -> Attribution {
        let mut attribution = base.clone();
        let Attribution {
            lookback_days,
            half_life_days,
            position_shares,
            revenue_basis,
            include_rival_touches,
            inherit_renewals,
            purchase_cuts_journey,
            count_duplicate_touches,
            duplicate_seconds: _,
            journey_retention_days: _,
            assigned_values,
            click_prices,
        } = &mut attribution;
        set(lookback_days, &self.lookback_days);
        set(half_life_days, &self.half_life_days);
        set(position_shares, &self.position_shares);
        set(revenue_basis, &self.revenue_basis);
        set(include_rival_touches, &self.rival_touches.as_ref().map(|word| word == "include"));
        set(inherit_renewals, &self.renewals.as_ref().map(|word| word == "inherit"));
        set(count_duplicate_touches, &self.duplicate_touches.as_ref().map(|word| word == "count"));
        set(purchase_cuts_journey, &self.purchase_cuts_journey);
        set(assigned_values, &self.assigned_values);
        set(click_prices, &self.click_prices);
        attribution
    }
}

fn set<T: Clone>(value: &mut T, over: &Option<T>) {
    if let Some(over) = over {
        value.clone_from(over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn base() -> Attribution {
        Config::from_layers(None, std::iter::empty()).unwrap().attribution
    }

    #[test]
    fn settings_override_what_they_name() {
        let settings: WorkspaceSettings = serde_json::from_str(
            r#"{"lookback_days":30,"renewals":"exclude","assigned_values":{"lead":"2"},
                "events":{"lead":{"lookback_days":7,"rival_touches":"ignore"}}}"#,
        )
        .unwrap();
        assert_eq!(settings.over_for(&base(), "lead").lookback_days, 7);
        assert!(!settings.over_for(&base(), "lead").include_rival_touches);
        assert_eq!(settings.over_for(&base(), "purchase").lookback_days, 30);
        let over = settings.over(&base());
        assert_eq!((over.lookback_days, over.inherit_renewals), (30, false));
        assert_eq!(over.assigned_values["lead"], "2");
        assert_eq!(over.half_life_days, base().half_life_days);
        assert_eq!(WorkspaceSettings::default().over(&base()), base());
    }

    #[test]
    fn every_mistake_is_named() {
        let settings: WorkspaceSettings = serde_json::from_str(
            r#"{"lookback_days":0,"half_life_days":0,"position_shares":[1,1,1],"revenue_basis":"x",
                "rival_touches":"x","renewals":"x","duplicate_touches":"x","assigned_values":{"lead":"-1"},
                "events":{"lead":{"lookback_days":500,"renewals":"x"}}}"#,
        )
        .unwrap();
        let mut flaws = Flaws::default();
        settings.check(&base(), &mut flaws);
        assert_eq!(flaws.check().unwrap_err().len(), 10);
    }
}
