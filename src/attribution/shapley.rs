//! Shapley values in the subset form: the coalition of a set of keys is worth the conversions of all
//! journeys whose keys lie within it. For that game the Shapley value needs no sum over coalitions: each
//! journey's conversions go in equal parts to its distinct keys (Zhao, Mahboobi, Bagheri 2018,
//! "Shapley Value Methods for Attribution Modeling in Online Advertising").

use std::hash::Hash;

use indexmap::IndexSet;

use super::paths::{KeyCredit, Path, number_keys};

/// Each key's credit, keys in order of first appearance. Never negative; the credits sum to all
/// conversions and all value of paths that have keys. Time grows with the length of all paths together.
pub fn shapley<K: Clone + Eq + Hash>(paths: &[Path<K>]) -> Vec<KeyCredit<K>> {
    let (keys, numbered) = number_keys(paths);
    let mut credits = KeyCredit::none_each(&keys);
    for (path, numbers) in paths.iter().zip(numbered) {
        if path.conversions == 0.0 && path.value == 0.0 {
            continue;
        }
        let distinct: IndexSet<usize> = numbers.into_iter().collect();
        let share = 1.0 / distinct.len() as f64;
        for key in distinct {
            credits[key].conversions += path.conversions * share;
            credits[key].value += path.value * share;
        }
    }
    credits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_keys_share_equally_and_are_compared_whole() {
        let path = |keys: &[&str], conversions| Path {
            keys: keys.iter().map(ToString::to_string).collect(),
            conversions,
            value: 10.0 * conversions,
            nulls: 5.0,
        };
        // "post" is part of "post-2": a match by substring would count it in both.
        let got = shapley(&[
            path(&["post", "post-2", "post"], 3.0),
            path(&["post-2"], 1.0),
            path(&["x"], 0.0),
            path(&[], 9.0),
        ]);
        let rows: Vec<_> = got.iter().map(|c| (c.key.as_str(), c.conversions, c.value)).collect();
        assert_eq!(rows, [("post", 1.5, 15.0), ("post-2", 2.5, 25.0), ("x", 0.0, 0.0)]);
    }
}
