//! Markov and Shapley over the journeys of a period: computed from the paths, and scaled so that the
//! credits of all keys sum to what the attributed orders of the period brought, to the cent.

use std::collections::BTreeMap;

use super::model::OneModel;
use super::{ReportError, ReportRequest};
use crate::attribution::credit::{WEIGHT_SCALE, split};
use crate::attribution::markov::markov;
use crate::attribution::paths::{KeyCredit, Path, Transform};
use crate::attribution::shapley::shapley;
use crate::ledger::Ledger;
use crate::ledger::reports::{
    self as sums, Amounts, Clock, Credits, Dimension, Journeys, Key, PathKey, Slice,
};

/// Markov over more keys takes too long for an answer: 2,000 posts take about three seconds.
pub const MARKOV_KEYS_MAX: usize = 2_000;

/// Refuses what has no answer by models of a period.
pub fn check(request: &ReportRequest) -> Result<(), ReportError> {
    let refuse = |field: &str, detail: &str| Err(ReportError::invalid(field, detail));
    if !request.by.is_of_link() || request.by == Dimension::Tag {
        return refuse(
            "by",
            "markov and shapley credit the keys of journeys: by post, link, network, campaign, kind or a UTM value",
        );
    }
    if request.clock != Clock::Order {
        return refuse("clock", "markov and shapley look at the orders of a period: only clock=order");
    }
    if request.filters.iter().any(|(dimension, _)| *dimension != Dimension::Source) {
        return refuse("model", "markov and shapley look at whole journeys: the only filter is source");
    }
    Ok(())
}

/// The credits of each key, and what rival touches take.
pub struct PeriodCredits {
    pub by_key: BTreeMap<Key, Credits>,
    pub rival: Amounts,
}

/// What the paths of the slice's attributed conversions are, alike ones together.
pub struct Paths(Journeys);

impl Paths {
    pub fn of(journeys: Journeys) -> Self {
        Self(journeys)
    }

    /// With the journeys that ended in the slice's days without a conversion.
    pub async fn with_nulls(
        ledger: &Ledger,
        slice: &Slice,
        by: Dimension,
        journeys: Journeys,
    ) -> Result<Self, ReportError> {
        // Where nothing converted, there is nothing to share.
        Ok(Self(if journeys.paths.is_empty() {
            journeys
        } else {
            sums::add_null_paths(ledger, slice, by, journeys).await?
        }))
    }

    /// Whether journeys that did not convert are known.
    pub fn has_nulls(&self) -> bool {
        self.0.paths.values().any(|outcome| outcome.nulls > 0)
    }

    /// A key's conversions are its share of their number; its net is its share of their net, and its refunds
    /// its share of what went back, each computed for itself; revenue is the sum of the two.
    pub fn credit(&self, model: OneModel) -> Result<PeriodCredits, ReportError> {
        if matches!(model, OneModel::Markov { .. }) && self.0.keys.len() > MARKOV_KEYS_MAX {
            let detail = format!(
                "there are {} in the period, and markov is bounded to {MARKOV_KEYS_MAX}: choose a shorter period or fewer keys (networks, campaigns)",
                self.0.keys.len()
            );
            return Err(ReportError::invalid("by", detail));
        }
        let whole = self
            .0
            .paths
            .values()
            .fold((0, Amounts::default()), |(n, sum), of| (n + of.conversions, sum + of.amounts));
        let by_net = self.shares(model, Amounts::net_minor)?;
        let by_refunds = match whole.1.refunds_minor {
            0 => None,
            _ => Some(self.shares(model, |amounts| amounts.refunds_minor)?),
        };
        let values =
            |credits: &[KeyCredit<usize>]| credits.iter().map(|credit| credit.value).collect::<Vec<f64>>();
        let conversions: Vec<f64> = by_net.iter().map(|credit| credit.conversions).collect();
        let weights = split(whole.0 * WEIGHT_SCALE, &conversions);
        let nets = split(whole.1.net_minor(), &values(&by_net));
        let refunds = by_refunds.as_deref().map(|credits| split(whole.1.refunds_minor, &values(credits)));

        let mut credited = PeriodCredits { by_key: BTreeMap::new(), rival: Amounts::default() };
        for (i, key) in by_net.iter().map(|credit| &self.0.keys[credit.key]).enumerate() {
            let refunds_minor = refunds.as_ref().map_or(0, |refunds| refunds[i]);
            let revenue_minor = nets[i] + refunds_minor;
            match key {
                PathKey::Ours(key) => {
                    let credits = Credits { revenue_minor, refunds_minor, weight: weights[i] };
                    credited.by_key.insert(key.clone(), credits);
                }
                PathKey::Rival(_) => {
                    credited.rival = credited.rival + Amounts { revenue_minor, refunds_minor };
                }
            }
        }
        Ok(credited)
    }

    fn shares(
        &self,
        model: OneModel,
        value: impl Fn(Amounts) -> i64,
    ) -> Result<Vec<KeyCredit<usize>>, ReportError> {
        let paths = self.0.paths.iter().map(|(numbers, outcome)| Path {
            keys: numbers.clone(),
            conversions: outcome.conversions as f64,
            value: value(outcome.amounts) as f64,
            nulls: outcome.nulls as f64,
        });
        let paths: Vec<Path<usize>> = paths.collect();
        Ok(match model {
            OneModel::Markov { order, transform } => markov(&transform.apply(paths), order)
                .map_err(|error| ReportError::invalid("model", error.to_string()))?,
            OneModel::Shapley { transform } => shapley(&transform.apply(paths)),
            OneModel::Touches(_) => Vec::new(),
        })
    }
}

/// How repeated keys are treated unless a request says otherwise.
pub const DEFAULT_TRANSFORM: Transform = Transform::Exposure;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::reports::Outcome;

    fn paths(all: &[(&[&str], i64, i64, i64)]) -> Paths {
        let mut journeys = Journeys::default();
        for (keys, count, revenue_minor, refunds_minor) in all {
            let numbers = keys.iter().map(|key| {
                let key = match key.strip_prefix("other:") {
                    Some(channel) => PathKey::Rival(channel.to_owned()),
                    None => PathKey::Ours(Key::Text((*key).to_owned())),
                };
                journeys.keys.insert_full(key).0
            });
            let numbers = numbers.collect();
            let amounts = Amounts { revenue_minor: *revenue_minor, refunds_minor: *refunds_minor };
            journeys.paths.insert(numbers, Outcome { conversions: *count, amounts, nulls: 0 });
        }
        Paths(journeys)
    }

    #[test]
    fn credits_sum_to_what_the_orders_brought() {
        let all = paths(&[
            (&["a", "b", "b"], 2, 1001, 100),
            (&["b"], 1, 500, 0),
            (&["other:search", "a"], 3, 900, 0),
        ]);
        let transform = Transform::Exposure;
        for model in [
            OneModel::Shapley { transform },
            OneModel::Markov { order: 1, transform },
            OneModel::Markov { order: 2, transform },
        ] {
            let credited = all.credit(model).unwrap();
            let ours = credited.by_key.values();
            let revenue: i64 = ours.clone().map(|credits| credits.revenue_minor).sum();
            let refunds: i64 = ours.map(|credits| credits.refunds_minor).sum();
            assert_eq!(revenue + credited.rival.revenue_minor, 2401, "{model:?}");
            assert_eq!(refunds + credited.rival.refunds_minor, 100, "{model:?}");
        }
        // Shapley by hand: b has half of the first path and all of the second, the rival half of the third.
        let credited = all.credit(OneModel::Shapley { transform }).unwrap();
        let b = credited.by_key[&Key::Text("b".into())];
        // The shares are fractions of the whole in billionths, so a count is exact to a few of them.
        assert!((b.weight - 2_000_000_000).abs() < 10, "{}", b.weight);
        assert_eq!(b.refunds_minor, 50);
        assert!((b.revenue_minor - 1000).abs() <= 1, "{}", b.revenue_minor);
        assert_eq!(credited.rival.revenue_minor, 450);
    }
}
