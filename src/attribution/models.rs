//! Models that weigh the touches of one journey. Formulas: docs/MODELS.md.

use std::fmt;
use std::str::FromStr;

use super::paths::{KeyCredit, Path, number_keys};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Model {
    FirstTouch,
    LastTouch,
    Linear,
    TimeDecay,
    PositionBased,
}

impl Model {
    pub const ALL: [Self; 5] =
        [Self::FirstTouch, Self::LastTouch, Self::Linear, Self::TimeDecay, Self::PositionBased];

    /// The name in configuration, reports and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstTouch => "first_touch",
            Self::LastTouch => "last_touch",
            Self::Linear => "linear",
            Self::TimeDecay => "time_decay",
            Self::PositionBased => "position_based",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown model `{0}`: one of first_touch, last_touch, linear, time_decay and position_based is expected"
)]
pub struct UnknownModel(pub String);

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, UnknownModel> {
        Self::ALL.into_iter().find(|m| m.as_str() == name).ok_or_else(|| UnknownModel(name.to_owned()))
    }
}

/// What an installation can set about the models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelRules {
    /// After this long a touch weighs half as much (time_decay).
    pub half_life_ms: i64,
    /// The shares of the first, all middle and the last touch (position_based); only their proportions count.
    pub position_shares: [f64; 3],
}

impl Default for ModelRules {
    fn default() -> Self {
        Self { half_life_ms: 7 * 24 * 60 * 60 * 1000, position_shares: [0.4, 0.2, 0.4] }
    }
}

/// The weight of each touch, in their order; the sum is 1 but for rounding. No touches give no weights.
///
/// `touch_times_ms` is ordered; a touch after the conversion counts as one at its moment. Rules that
/// make no sense (the configuration refuses them) still give shares of 1, never a number that is none.
pub fn weights(model: Model, touch_times_ms: &[i64], conversion_at_ms: i64, rules: &ModelRules) -> Vec<f64> {
    let n = touch_times_ms.len();
    match model {
        Model::FirstTouch => (0..n).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect(),
        Model::LastTouch => (0..n).map(|i| if i + 1 == n { 1.0 } else { 0.0 }).collect(),
        Model::Linear => proportional(vec![1.0; n]),
        Model::TimeDecay => proportional(decay(touch_times_ms, conversion_at_ms, rules.half_life_ms)),
        Model::PositionBased => proportional(positions(n, rules.position_shares)),
    }
}

/// Splits each path's conversions and value over its keys; a repeated key is as many touches.
/// Paths carry no times, so `time_decay` finds all touches equally old, which makes it linear.
pub fn credit_paths(model: Model, paths: &[Path], rules: &ModelRules) -> Vec<KeyCredit> {
    let (keys, numbered) = number_keys(paths);
    let mut credits = KeyCredit::none_each(&keys);
    for (path, numbers) in paths.iter().zip(&numbered) {
        let weights = weights(model, &vec![0; numbers.len()], 0, rules);
        for (&key, weight) in numbers.iter().zip(weights) {
            credits[key].conversions += weight * path.conversions;
            credits[key].value += weight * path.value;
        }
    }
    credits
}

fn decay(touch_times_ms: &[i64], conversion_at_ms: i64, half_life_ms: i64) -> Vec<f64> {
    let age_ms = |at_ms: i64| conversion_at_ms.saturating_sub(at_ms).max(0);
    // Ages count from the newest touch: the quotient is the same, and it cannot be 0 / 0 when all are old.
    let newest_ms = touch_times_ms.iter().map(|&at| age_ms(at)).min().unwrap_or(0);
    let half_lives = |at_ms: i64| (age_ms(at_ms) - newest_ms) as f64 / half_life_ms as f64;
    // libm and not f64::exp2, whose last digit depends on the platform.
    touch_times_ms.iter().map(|&at| libm::exp2(-half_lives(at))).collect()
}

fn positions(n: usize, [first, middle, last]: [f64; 3]) -> Vec<f64> {
    match n {
        0 | 1 => vec![1.0; n],
        _ => (0..n)
            .map(|i| match i {
                0 => first,
                _ if i + 1 == n => last,
                _ => middle / (n - 2) as f64,
            })
            .collect(),
    }
}

fn proportional(parts: Vec<f64>) -> Vec<f64> {
    let sum: f64 = parts.iter().sum();
    if sum.is_finite() && sum > 0.0 && parts.iter().all(|p| *p >= 0.0) {
        parts.into_iter().map(|p| p / sum).collect()
    } else {
        vec![1.0 / parts.len() as f64; parts.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    #[test]
    fn names_round_trip() {
        for model in Model::ALL {
            assert_eq!(model.to_string().parse(), Ok(model));
        }
        assert!("Linear".parse::<Model>().is_err());
    }

    #[test]
    fn weights_by_model() {
        let check = |model, times: &[i64], at_ms, expected: &[f64]| {
            let got = weights(model, times, at_ms, &ModelRules::default());
            assert_eq!(got.len(), expected.len(), "{model} {times:?}");
            for (g, e) in got.iter().zip(expected) {
                assert!((g - e).abs() < 1e-12, "{model} {times:?}: {got:?} is not {expected:?}");
            }
        };
        for model in Model::ALL {
            check(model, &[], 0, &[]);
            check(model, &[5], 9, &[1.0]);
        }
        let t = 10_000 * DAY_MS;
        check(Model::PositionBased, &[0, 1, 2, 3, 4, 5], 9, &[0.4, 0.05, 0.05, 0.05, 0.05, 0.4]);
        check(Model::TimeDecay, &[t - 14 * DAY_MS, t], t, &[0.2, 0.8]);
        // Only the distance between touches counts, also where 2^-age itself is 0 in a float.
        check(Model::TimeDecay, &[0, 7 * DAY_MS], t, &[1.0 / 3.0, 2.0 / 3.0]);
        check(Model::TimeDecay, &[i64::MIN, i64::MAX - 1], i64::MAX, &[0.0, 1.0]);
        // Clocks differ: a touch "after" the conversion is no younger than one at its moment.
        check(Model::TimeDecay, &[t, t + 30 * DAY_MS], t, &[0.5, 0.5]);
    }

    #[test]
    fn two_touches_share_by_the_ends() {
        let rules = ModelRules { position_shares: [0.3, 0.3, 0.4], ..ModelRules::default() };
        let got = weights(Model::PositionBased, &[0, 1], 1, &rules);
        assert_eq!(got, [0.3 / 0.7, 0.4 / 0.7]);
    }

    #[test]
    fn senseless_rules_still_give_shares() {
        let bad = [
            ModelRules { half_life_ms: 0, ..ModelRules::default() },
            ModelRules { position_shares: [0.0, 1.0, 0.0], ..ModelRules::default() },
            ModelRules { position_shares: [-1.0, 1.0, 1.0], ..ModelRules::default() },
            ModelRules { position_shares: [f64::NAN, 0.2, 0.4], ..ModelRules::default() },
        ];
        for rules in bad {
            for model in Model::ALL {
                let sum: f64 = weights(model, &[1, 2], 3, &rules).iter().sum();
                assert_eq!(sum, 1.0, "{model}");
            }
        }
    }

    proptest! {
        #[test]
        fn weights_are_shares_of_one(
            mut times in prop::collection::vec(any::<i64>(), 1..50),
            at_ms: i64,
            half_life_ms: i64,
        ) {
            times.sort_unstable();
            let rules = ModelRules { half_life_ms, ..ModelRules::default() };
            for model in Model::ALL {
                let got = weights(model, &times, at_ms, &rules);
                prop_assert_eq!(got.len(), times.len());
                prop_assert!(got.iter().all(|w| (0.0..=1.0).contains(w)));
                prop_assert!((got.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn a_later_touch_decays_less(mut times in prop::collection::vec(0..1i64 << 40, 1..50)) {
            times.sort_unstable();
            let got = weights(Model::TimeDecay, &times, 1 << 40, &ModelRules::default());
            prop_assert!(got.is_sorted());
        }
    }
}
