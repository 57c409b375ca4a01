//! The Markov chain of a set of paths: states, how much flows between them, and which of them lie on
//! loops. Weights are counts of journeys, not yet probabilities: that saves divisions and their rounding.

use std::hash::Hash;

use foldhash::fast::RandomState;
use indexmap::{IndexMap, IndexSet};

use super::MarkovError;
use crate::attribution::paths::{Path, number_keys};

/// A state: the last `order` keys of a journey, older first; a path with fewer keys is one shorter state.
type Gram = [Option<usize>; super::MAX_ORDER];

/// Journeys flow from the start through states into a conversion or into null. Every state has a way
/// out, since every path ends; a stay in the same state (a self-loop) is no flow.
pub struct Chain<'a, K> {
    pub keys: Vec<&'a K>,
    /// By key: the states that hold it.
    pub holders: Vec<Vec<usize>>,
    pub states: Vec<State>,
    /// States that can reach one another, as lists of states. Journeys never flow from a later list to
    /// an earlier one; most lists have one state only.
    pub components: Vec<Vec<usize>>,
    /// All conversions and their value.
    pub conversions: f64,
    pub value: f64,
}

#[derive(Default)]
pub struct State {
    /// Where journeys go on to, and how many.
    pub onward: Vec<(usize, f64)>,
    /// How many journeys end here, either way.
    pub ending: f64,
    /// How many conversions they have, and their value.
    pub conversions: f64,
    pub value: f64,
    /// The place in `components`.
    pub component: usize,
}

impl State {
    /// How many journeys leave this state, onward or for good.
    pub fn leaving(&self) -> f64 {
        self.onward.iter().map(|(_, weight)| weight).sum::<f64>() + self.ending
    }
}

impl<'a, K: Eq + Hash> Chain<'a, K> {
    /// Paths without keys or without journeys are left out.
    pub fn build(paths: &'a [Path<K>], order: usize) -> Result<Self, MarkovError> {
        let (keys, numbered) = number_keys(paths);
        let mut grams: IndexSet<Gram, RandomState> = IndexSet::default();
        let mut flows: IndexMap<(usize, usize), f64, RandomState> = IndexMap::default();
        let mut states: Vec<State> = Vec::new();
        let (mut conversions, mut value) = (0.0, 0.0);

        for (path, numbers) in paths.iter().zip(&numbered) {
            let journeys = path.conversions + path.nulls;
            // Not normal: 0, but also what is no number or too small to divide by.
            if numbers.is_empty() || !journeys.is_normal() {
                continue;
            }
            let mut at = None;
            for window in numbers.windows(order.min(numbers.len())) {
                let mut gram = Gram::default();
                for (place, &key) in gram.iter_mut().zip(window) {
                    *place = Some(key);
                }
                let (next, _) = grams.insert_full(gram);
                if let Some(from) = at.replace(next)
                    && from != next
                {
                    *flows.entry((from, next)).or_default() += journeys;
                }
            }
            if grams.len() > super::MAX_STATES {
                return Err(MarkovError::TooManyStates { order });
            }
            states.resize_with(grams.len(), State::default);
            if let Some(last) = at {
                states[last].ending += journeys;
                states[last].conversions += path.conversions;
                states[last].value += path.value;
            }
            conversions += path.conversions;
            value += path.value;
        }

        for ((from, to), weight) in flows {
            states[from].onward.push((to, weight));
        }
        let mut holders = vec![Vec::new(); keys.len()];
        for (state, gram) in grams.iter().enumerate() {
            for (place, key) in gram.iter().enumerate() {
                if let Some(key) = *key
                    && !gram[..place].contains(&Some(key))
                {
                    holders[key].push(state);
                }
            }
        }
        let components = components(&states);
        for (number, component) in components.iter().enumerate() {
            for &state in component {
                states[state].component = number;
            }
        }
        Ok(Self { keys, holders, states, components, conversions, value })
    }
}

/// Strongly connected components in the order of the flow (Tarjan 1972; with a stack of its own, since
/// a chain of states can be longer than the thread's stack is deep).
fn components(states: &[State]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut index = vec![UNSEEN; states.len()];
    let mut lowest = vec![UNSEEN; states.len()];
    let mut is_open = vec![false; states.len()];
    let mut open: Vec<usize> = Vec::new();
    let mut found: Vec<Vec<usize>> = Vec::new();
    let mut next_index = 0;
    // State, and how many of its onward flows have been followed.
    let mut walk: Vec<(usize, usize)> = Vec::new();

    for root in 0..states.len() {
        if index[root] != UNSEEN {
            continue;
        }
        walk.push((root, 0));
        while let Some((state, followed)) = walk.pop() {
            if followed == 0 {
                index[state] = next_index;
                lowest[state] = next_index;
                next_index += 1;
                open.push(state);
                is_open[state] = true;
            } else {
                // Back from the flow followed last.
                let (child, _) = states[state].onward[followed - 1];
                if is_open[child] {
                    lowest[state] = lowest[state].min(lowest[child]);
                }
            }
            if let Some(&(child, _)) = states[state].onward.get(followed) {
                walk.push((state, followed + 1));
                if index[child] == UNSEEN {
                    walk.push((child, 0));
                }
                continue;
            }
            if lowest[state] == index[state] {
                let start = open.iter().rposition(|s| *s == state).expect("an open state is on the stack");
                let component = open.split_off(start);
                for &member in &component {
                    is_open[member] = false;
                }
                found.push(component);
            }
        }
    }
    // Tarjan finds a component after all that it flows into.
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &str) -> Path {
        Path {
            keys: keys.split_whitespace().map(str::to_owned).collect(),
            conversions: 1.0,
            value: 5.0,
            nulls: 2.0,
        }
    }

    #[test]
    fn states_are_sliding_grams() {
        let check = |order, paths: &[&str], expected: &[usize]| {
            let paths: Vec<Path> = paths.iter().map(|p| path(p)).collect();
            let chain = Chain::build(&paths, order).unwrap();
            let holders: Vec<usize> = chain.holders.iter().map(Vec::len).collect();
            assert_eq!(holders, expected, "{paths:?}");
        };
        check(1, &["A B A", "B"], &[1, 1]);
        // AB, BA, B: A is in two of them and B in all.
        check(2, &["A B A", "B"], &[2, 3]);
        // AA counts once for A.
        check(2, &["A A B"], &[2, 1]);
        check(3, &["A B", "A B C D", ""], &[2, 3, 2, 1]);
    }

    #[test]
    fn components_follow_the_flow() {
        let check = |paths: &[&str], expected: &[&[&str]]| {
            let paths: Vec<Path> = paths.iter().map(|p| path(p)).collect();
            let chain = Chain::build(&paths, 1).unwrap();
            let mut got: Vec<Vec<&str>> = chain
                .components
                .iter()
                .map(|c| c.iter().map(|s| chain.keys[*s].as_str()).collect())
                .collect();
            got.iter_mut().for_each(|c| c.sort_unstable());
            assert_eq!(got, expected, "{paths:?}");
        };
        check(&["A B C"], &[&["A"], &["B"], &["C"]]);
        check(&["C", "B C", "A B"], &[&["A"], &["B"], &["C"]]);
        check(&["A B C B D"], &[&["A"], &["B", "C"], &["D"]]);
        check(&["A B A C D C", "B C"], &[&["A", "B"], &["C", "D"]]);
        check(&["A A A"], &[&["A"]]);
        check(&["A B C D", "D B"], &[&["A"], &["B", "C", "D"]]);
    }

    #[test]
    fn self_loops_are_no_flow() {
        let paths = [path("A A A B B")];
        let chain = Chain::build(&paths, 1).unwrap();
        assert_eq!(chain.states[0].onward, [(1, 3.0)]);
        assert_eq!(chain.states[0].leaving(), 3.0);
        assert_eq!(chain.states[1].ending, 3.0);
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let keys: Vec<String> = (0..200_000).map(|i| i.to_string()).collect();
        let paths = [Path { keys, conversions: 1.0, value: 0.0, nulls: 0.0 }];
        assert_eq!(Chain::build(&paths, 1).unwrap().components.len(), 200_000);
    }
}
