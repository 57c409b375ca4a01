//! Removal effects in the Markov chain of a period's paths, exactly: linear solves, never a simulation.
//!
//! The effect of a key is 1 - P_without(conversion) / P(conversion), where all that would enter a state
//! holding the key goes to null instead (Anderl, Becker, von Wangenheim, Schumann 2016, "Mapping the
//! customer journey"). The chain is made of the very journeys it is asked about, so its expected flows
//! are the counted ones; and then the effect is simply the share of converting flow that has passed
//! the key. For a state j of which the share h_j of its journeys has passed the key,
//!
//! ```text
//! leaving_j h_j = sum over t of flow(t -> j) h_t      h = 1 in states that hold the key, 0 at the start
//! removal effect = sum over j of h_j conversions_j / conversions          (value likewise)
//! ```
//!
//! No effect is a difference of two nearly equal probabilities. h spreads downstream from the key only,
//! from one component of the chain to the next; a component with loops is inverted once, for all keys,
//! and a key's m states within it are put to 1 by solving m equations.
//!
//! Growth: n states that loop cost about 2 n^3 operations and 3 n^2 floats of memory; then each key costs its
//! m^3, and the flows downstream of it. docs/MODELS.md has measurements.

mod chain;
mod inverse;

use std::collections::BTreeSet;
use std::hash::Hash;

use self::chain::Chain;
use self::inverse::{Matrix, inverse, solve_within};
use super::paths::{KeyCredit, Path, RemovalEffect};

pub const MAX_ORDER: usize = 3;
pub const MAX_STATES: usize = 1_000_000;
/// One loop of 4,000 states, or as many smaller ones as have no more cells in their matrices (128 MB).
pub const MAX_LOOP_CELLS: usize = 16_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarkovError {
    #[error("the order of a Markov chain is 1 to {MAX_ORDER}, not {0}")]
    Order(usize),
    #[error(
        "the paths have more than {MAX_STATES} states at order {order}; a lower order or fewer keys (networks, not posts) have less"
    )]
    TooManyStates { order: usize },
    #[error(
        "the paths loop through too many states at order {order} to be solved exactly (as many as one loop of 4,000); a lower order or fewer keys (networks, not posts) have less"
    )]
    TooManyLoops { order: usize },
    #[error("the counts of the paths are too far apart to be calculated with")]
    OutOfRange,
}

/// Each key's credit and removal effect, keys in order of first appearance. The credits sum to all
/// conversions and all value of paths that have keys, if there are any.
pub fn markov<K: Clone + Eq + Hash>(
    paths: &[Path<K>],
    order: usize,
) -> Result<Vec<KeyCredit<K>>, MarkovError> {
    if !(1..=MAX_ORDER).contains(&order) {
        return Err(MarkovError::Order(order));
    }
    let chain = Chain::build(paths, order)?;
    let mut removal = Removal::prepare(&chain, order)?;
    let mut effects: Vec<RemovalEffect> =
        chain.holders.iter().map(|holders| removal.effect(holders)).collect();
    if effects.iter().any(|e| !e.conversions.is_finite() || !e.value.is_finite()) {
        return Err(MarkovError::OutOfRange);
    }
    for effect in &mut effects {
        // Rounding must not show as more than all or less than nothing.
        effect.conversions = effect.conversions.clamp(0.0, 1.0);
        effect.value = effect.value.clamp(0.0, 1.0);
    }

    let sum = |of: fn(&RemovalEffect) -> f64| effects.iter().map(of).sum::<f64>();
    let (all_conversions, all_value) = (sum(|e| e.conversions), sum(|e| e.value));
    let credit = |(key, effect): (&&K, &RemovalEffect)| KeyCredit {
        key: (*key).clone(),
        conversions: chain.conversions * share(effect.conversions, all_conversions),
        value: chain.value * share(effect.value, all_value),
        removal_effect: Some(*effect),
    };
    Ok(chain.keys.iter().zip(&effects).map(credit).collect())
}

/// A part of a whole; of nothing, nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What is worked out once for all keys, and what is reused from key to key.
struct Removal<'a, K> {
    chain: &'a Chain<'a, K>,
    leaving: Vec<f64>,
    /// By component: for those with loops, the inverse of what leaves less what flows within.
    loops: Vec<Option<Matrix>>,
    /// By state: whether it holds the key.
    is_held: Vec<bool>,
    /// By state: how many journeys come in that have passed the key. All zero between two keys.
    passed: Vec<f64>,
}

impl<'a, K> Removal<'a, K> {
    fn prepare(chain: &'a Chain<'a, K>, order: usize) -> Result<Self, MarkovError> {
        let cells: usize =
            chain.components.iter().map(Vec::len).filter(|n| *n > 1).map(|n| n.saturating_mul(n)).sum();
        if cells > MAX_LOOP_CELLS {
            return Err(MarkovError::TooManyLoops { order });
        }
        let mut place = vec![0; chain.states.len()];
        let mut loops = Vec::with_capacity(chain.components.len());
        for (number, members) in chain.components.iter().enumerate() {
            if members.len() == 1 {
                loops.push(None);
                continue;
            }
            for (i, &member) in members.iter().enumerate() {
                place[member] = i;
            }
            let mut flows = Matrix::zero(members.len(), members.len());
            let mut exits = Vec::with_capacity(members.len());
            for (i, state) in members.iter().map(|m| &chain.states[*m]).enumerate() {
                let mut exit = state.ending;
                for &(to, weight) in &state.onward {
                    if chain.states[to].component == number {
                        flows.row_mut(i)[place[to]] = weight;
                    } else {
                        exit += weight;
                    }
                }
                exits.push(exit);
            }
            loops.push(Some(inverse(flows, &exits)));
        }
        let states = chain.states.len();
        Ok(Self {
            chain,
            leaving: chain.states.iter().map(chain::State::leaving).collect(),
            loops,
            is_held: vec![false; states],
            passed: vec![0.0; states],
        })
    }

    /// The effect of removing the key that these states hold.
    fn effect(&mut self, holders: &[usize]) -> RemovalEffect {
        let chain = self.chain;
        holders.iter().for_each(|&state| self.is_held[state] = true);
        let mut conversions = 0.0;
        let mut value = 0.0;
        let mut due: BTreeSet<usize> = holders.iter().map(|&state| chain.states[state].component).collect();
        // A component is done before any that it flows into.
        while let Some(component) = due.pop_first() {
            let shares = self.shares(component);
            for (&member, &share) in chain.components[component].iter().zip(&shares) {
                if share == 0.0 {
                    continue;
                }
                let state = &chain.states[member];
                conversions += share * state.conversions;
                value += share * state.value;
                for &(to, weight) in &state.onward {
                    let to_component = chain.states[to].component;
                    if to_component != component {
                        if self.passed[to] == 0.0 {
                            due.insert(to_component);
                        }
                        self.passed[to] += share * weight;
                    }
                }
            }
            chain.components[component].iter().for_each(|&member| self.passed[member] = 0.0);
        }
        holders.iter().for_each(|&state| self.is_held[state] = false);
        RemovalEffect { conversions: share(conversions, chain.conversions), value: share(value, chain.value) }
    }

    /// For each state of a component, the share of its journeys that have passed the key.
    fn shares(&self, component: usize) -> Vec<f64> {
        let members = &self.chain.components[component];
        let Some(inverse) = &self.loops[component] else {
            let state = members[0];
            return vec![if self.is_held[state] { 1.0 } else { self.passed[state] / self.leaving[state] }];
        };
        let (held, others): (Vec<usize>, Vec<usize>) =
            (0..members.len()).partition(|&i| self.is_held[members[i]]);

        let mut shares = vec![0.0; members.len()];
        for &i in &others {
            add_multiple(&mut shares, inverse.row(i), self.passed[members[i]]);
        }
        // What would have to come in at the held states to make their shares 1.
        let lacking: Vec<f64> = held.iter().map(|&i| 1.0 - shares[i]).collect();
        for (&i, amount) in held.iter().zip(solve_within(inverse, &held, &lacking)) {
            add_multiple(&mut shares, inverse.row(i), amount);
        }
        held.iter().for_each(|&i| shares[i] = 1.0);
        shares
    }
}

fn add_multiple(sum: &mut [f64], row: &[f64], factor: f64) {
    if factor != 0.0 {
        sum.iter_mut().zip(row).for_each(|(s, cell)| *s += factor * cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(keys: &str, conversions: f64, value: f64, nulls: f64) -> Path {
        Path { keys: keys.split_whitespace().map(str::to_owned).collect(), conversions, value, nulls }
    }

    fn effects(paths: &[Path], order: usize) -> Vec<(String, f64)> {
        let credits = markov(paths, order).unwrap();
        credits.into_iter().map(|c| (c.key, c.removal_effect.unwrap().conversions)).collect()
    }

    #[test]
    fn effects_of_small_chains() {
        let check = |paths: &[Path], order, expected: &[(&str, f64)]| {
            let got = effects(paths, order);
            assert_eq!(got.len(), expected.len());
            for ((key, effect), (expected_key, expected_effect)) in got.iter().zip(expected) {
                assert_eq!(key, expected_key);
                assert!((effect - expected_effect).abs() < 1e-12, "{got:?} is not {expected:?}");
            }
        };
        check(&[], 1, &[]);
        check(&[path("", 3.0, 3.0, 3.0)], 1, &[]);
        check(&[path("A", 1.0, 1.0, 0.0)], 3, &[("A", 1.0)]);
        // Without null paths everything converts, and a key still takes its share away.
        check(
            &[path("A B", 1.0, 1.0, 0.0), path("C", 1.0, 1.0, 0.0)],
            1,
            &[("A", 0.5), ("B", 0.5), ("C", 0.5)],
        );
        // Nothing converts.
        check(&[path("A B", 0.0, 0.0, 9.0)], 1, &[("A", 0.0), ("B", 0.0)]);
        // B has no journeys at all.
        check(&[path("A", 1.0, 1.0, 1.0), path("B A", 0.0, 0.0, 0.0)], 1, &[("A", 1.0), ("B", 0.0)]);
        // P > T never converts, but journeys through T do: at order 1 P passes for a supplier of T ...
        let supplier = [path("P T", 0.0, 0.0, 1.0), path("T", 1.0, 1.0, 0.0)];
        check(&supplier, 1, &[("P", 0.5), ("T", 1.0)]);
        // ... and at order 2 it does not.
        check(&supplier, 2, &[("P", 0.0), ("T", 1.0)]);
        // Staying with a key is no step.
        check(&[path("A A A B", 1.0, 1.0, 0.0), path("A B", 1.0, 1.0, 0.0)], 1, &[("A", 1.0), ("B", 1.0)]);
    }

    #[test]
    fn orders_and_loops_have_limits() {
        assert_eq!(markov::<String>(&[], 0), Err(MarkovError::Order(0)));
        assert_eq!(markov::<String>(&[], 4), Err(MarkovError::Order(4)));
        let ring: Vec<String> = (0..=4_001).map(|i| (i % 4_001).to_string()).collect();
        let ring = [Path { keys: ring, conversions: 1.0, value: 1.0, nulls: 0.0 }];
        assert_eq!(markov(&ring, 1), Err(MarkovError::TooManyLoops { order: 1 }));
    }

    #[test]
    fn numbers_far_apart_are_told() {
        let paths = [path("A B A", f64::MAX, 1.0, 0.0), path("B", f64::MAX, 1.0, 0.0)];
        assert_eq!(markov(&paths, 1), Err(MarkovError::OutOfRange));
    }

    /// The definition, step by step: P(conversion) of the chain with the states of `removed` taken out.
    fn expected_conversions(paths: &[Path], order: usize, removed: Option<&str>) -> f64 {
        let grams = |path: &Path| -> Vec<Vec<String>> {
            path.keys.windows(order.min(path.keys.len())).map(<[String]>::to_vec).collect()
        };
        let mut states: Vec<Vec<String>> = paths.iter().flat_map(grams).collect();
        states.sort();
        states.dedup();
        let number = |gram: &Vec<String>| states.binary_search(gram).unwrap();
        let n = states.len();
        let (mut flows, mut start) = (vec![vec![0.0; n]; n], vec![0.0; n]);
        let (mut leaving, mut converting) = (vec![0.0; n], vec![0.0; n]);
        for path in paths {
            let journeys = path.conversions + path.nulls;
            let visited: Vec<usize> = grams(path).iter().map(number).collect();
            start[visited[0]] += journeys;
            for step in visited.windows(2) {
                flows[step[0]][step[1]] += journeys;
                leaving[step[0]] += journeys;
            }
            leaving[visited[visited.len() - 1]] += journeys;
            converting[visited[visited.len() - 1]] += path.conversions;
        }
        let stays =
            |s: usize| leaving[s] > 0.0 && !removed.is_some_and(|key| states[s].iter().any(|k| k == key));
        // p = Q p + r by Gauss and Jordan.
        let mut rows: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let mut row = vec![0.0; n + 1];
                row[i] = 1.0;
                if stays(i) {
                    (0..n).for_each(|j| row[j] -= flows[i][j] / leaving[i]);
                    row[n] = converting[i] / leaving[i];
                }
                row
            })
            .collect();
        for i in 0..n {
            let largest = (i..n).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs())).unwrap();
            rows.swap(i, largest);
            let pivot = rows[i].clone();
            for (r, row) in rows.iter_mut().enumerate() {
                let factor = if r == i { 0.0 } else { row[i] / pivot[i] };
                row.iter_mut().zip(&pivot).for_each(|(cell, p)| *cell -= factor * p);
            }
        }
        (0..n).filter(|s| stays(*s)).map(|s| start[s] * rows[s][n] / rows[s][s]).sum()
    }

    fn any_paths() -> impl Strategy<Value = Vec<Path>> {
        let keys = prop::collection::vec(prop::sample::select(vec!["A", "B", "C", "D", "E"]), 1..8);
        let counts = (0u8..4, 0u8..4);
        let path = (keys, counts).prop_map(|(keys, (conversions, nulls))| {
            path(&keys.join(" "), f64::from(conversions), 10.0 * f64::from(conversions), f64::from(nulls))
        });
        prop::collection::vec(path, 1..20)
    }

    proptest! {
        #[test]
        fn effects_are_those_of_the_definition(paths in any_paths(), order in 1usize..=MAX_ORDER) {
            let all = expected_conversions(&paths, order, None);
            for (key, effect) in effects(&paths, order) {
                let expected = if all > 0.0 { 1.0 - expected_conversions(&paths, order, Some(&key)) / all } else { 0.0 };
                prop_assert!((effect - expected).abs() < 1e-9, "{key}: {effect}, not {expected}");
            }
        }

        #[test]
        fn credits_sum_to_all_conversions(paths in any_paths(), order in 1usize..=MAX_ORDER) {
            let credits = markov(&paths, order).unwrap();
            let sum = |of: fn(&KeyCredit) -> f64| credits.iter().map(of).sum::<f64>();
            prop_assert!((sum(|c| c.conversions) - paths.iter().map(|p| p.conversions).sum::<f64>()).abs() < 1e-9);
            prop_assert!((sum(|c| c.value) - paths.iter().map(|p| p.value).sum::<f64>()).abs() < 1e-9);
            prop_assert!(credits.iter().all(|c| c.conversions >= 0.0 && c.value >= 0.0));
        }
    }
}
