//! The one piece of linear algebra that the chain needs, written without a single subtraction: the
//! result is right to the last digits even where journeys hardly ever leave a loop (the idea is that
//! of Grassmann, Taksar and Heyman 1985: a diagonal is a sum of what leaves, so keep its summands).
//! Plain loops in a fixed order, no fused operations: the same bits on every platform.

/// A dense matrix, rows one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    width: usize,
    cells: Vec<f64>,
}

impl Matrix {
    pub fn zero(height: usize, width: usize) -> Self {
        Self { width, cells: vec![0.0; height * width] }
    }

    pub fn row(&self, row: usize) -> &[f64] {
        &self.cells[row * self.width..][..self.width]
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.cells[row * self.width..][..self.width]
    }

    fn height(&self) -> usize {
        self.cells.len() / self.width
    }

    fn part(&self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> Self {
        let width = columns.len();
        let cells = rows.flat_map(|r| &self.row(r)[columns.clone()]).copied().collect();
        Self { width, cells }
    }

    fn put(&mut self, row: usize, column: usize, part: &Self) {
        for r in 0..part.height() {
            self.row_mut(row + r)[column..][..part.width].copy_from_slice(part.row(r));
        }
    }

    fn product(&self, right: &Self) -> Self {
        let mut result = Self::zero(self.height(), right.width);
        result.add_product(self, right);
        result
    }

    /// Adds `left * right`.
    fn add_product(&mut self, left: &Self, right: &Self) {
        // So many rows of `right` stay in the cache while all rows of `left` pass.
        const BAND: usize = 32;
        for band in (0..left.width).step_by(BAND) {
            let end = left.width.min(band + BAND);
            for r in 0..left.height() {
                let sum = self.row_mut(r);
                let factors = &left.row(r)[band..end];
                // Four rows at a time: the sum is loaded and stored once for four products.
                let (fours, rest) = factors.as_chunks::<4>();
                for (four, k) in fours.iter().zip((band..).step_by(4)) {
                    if *four == [0.0; 4] {
                        continue;
                    }
                    let [f0, f1, f2, f3] = *four;
                    let rows =
                        right.row(k).iter().zip(right.row(k + 1)).zip(right.row(k + 2)).zip(right.row(k + 3));
                    for (s, (((a, b), c), d)) in sum.iter_mut().zip(rows) {
                        *s += f0 * a + f1 * b + f2 * c + f3 * d;
                    }
                }
                for (factor, k) in rest.iter().zip(end - rest.len()..) {
                    for (s, a) in sum.iter_mut().zip(right.row(k)) {
                        *s += factor * a;
                    }
                }
            }
        }
    }
}

/// `(D - W)^-1` for a square `W` of flows between states, nothing negative, whose diagonal is taken as 0.
/// `D` is diagonal and holds what leaves each state: its flows to the others and its exit.
/// `exits` is what leaves each state for good. Takes about 2 n^3 operations.
///
/// Cell (i, j) of the result is how often a journey that enters at i passes j, per journey that leaves j.
/// If there is no way out at all the result holds infinities.
pub fn inverse(flows: Matrix, exits: &[f64]) -> Matrix {
    let n = exits.len();
    if n == 1 {
        return Matrix { width: 1, cells: vec![1.0 / exits[0]] };
    }
    // By halves, first and second: the first on its own, for which a step into the second is an exit;
    // then the second with all detours through the first folded in; then back.
    let half = n / 2;
    let forth = flows.part(0..half, half..n);
    let back = flows.part(half..n, 0..half);
    let first_flows = flows.part(0..half, 0..half);
    let mut second_flows = flows.part(half..n, half..n);
    drop(flows);

    let first_exits: Vec<f64> = (0..half).map(|r| exits[r] + forth.row(r).iter().sum::<f64>()).collect();
    let mut first = inverse(first_flows, &first_exits);

    let detour = back.product(&first);
    second_flows.add_product(&detour, &forth);
    let exit_by_detour = |r| detour.row(r).iter().zip(exits).map(|(d, e)| d * e).sum::<f64>();
    let second_exits: Vec<f64> = (0..n - half).map(|r| exits[half + r] + exit_by_detour(r)).collect();
    let second = inverse(second_flows, &second_exits);

    let second_to_first = second.product(&detour);
    let step = first.product(&forth);
    let first_to_second = step.product(&second);
    first.add_product(&step, &second_to_first);

    let mut result = Matrix::zero(n, n);
    result.put(0, 0, &first);
    result.put(0, half, &first_to_second);
    result.put(half, 0, &second_to_first);
    result.put(half, half, &second);
    result
}

/// Solves `x * square = right` by elimination with pivoting; the rows and columns of the square matrix
/// are the given ones of `whole`.
pub fn solve_within(whole: &Matrix, chosen: &[usize], right: &[f64]) -> Vec<f64> {
    let n = chosen.len();
    // Row r of the system is column r of the square matrix, with the right side behind it.
    let mut system: Vec<Vec<f64>> = chosen
        .iter()
        .zip(right)
        .map(|(&column, side)| chosen.iter().map(|&row| whole.row(row)[column]).chain([*side]).collect())
        .collect();
    for pivot in 0..n {
        let largest = (pivot..n).max_by(|a, b| system[*a][pivot].abs().total_cmp(&system[*b][pivot].abs()));
        system.swap(pivot, largest.expect("the pivot itself is one"));
        let (done, below) = system.split_at_mut(pivot + 1);
        let pivot_row = &done[pivot];
        for row in below {
            let factor = row[pivot] / pivot_row[pivot];
            for (cell, p) in row[pivot..].iter_mut().zip(&pivot_row[pivot..]) {
                *cell -= factor * p;
            }
        }
    }
    let mut x = vec![0.0; n];
    for r in (0..n).rev() {
        let known: f64 = system[r][r + 1..n].iter().zip(&x[r + 1..]).map(|(a, b)| a * b).sum();
        x[r] = (system[r][n] - known) / system[r][r];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `D - W` in full.
    fn leaving_less_flows(flows: &Matrix, exits: &[f64]) -> Matrix {
        let n = exits.len();
        let mut full = Matrix::zero(n, n);
        for (r, exit) in exits.iter().enumerate() {
            for c in (0..n).filter(|c| *c != r) {
                full.row_mut(r)[c] = -flows.row(r)[c];
                full.row_mut(r)[r] += flows.row(r)[c];
            }
            full.row_mut(r)[r] += exit;
        }
        full
    }

    #[test]
    fn a_loop_that_hardly_ends_keeps_its_digits() {
        const COUNT: f64 = (1u64 << 60) as f64;
        // Two states that lead to one another, and one journey in 2^60 leaves from the second.
        let mut flows = Matrix::zero(2, 2);
        flows.row_mut(0)[1] = 1.0;
        flows.row_mut(1)[0] = 1.0;
        let got = inverse(flows, &[0.0, 1.0 / COUNT]);
        // (D - W)^-1 is [[1 + e, 1], [1, 1]] / e; 1 + e is 1 in a float.
        assert_eq!(got.cells, [COUNT; 4]);
    }

    #[test]
    fn odd_sizes_multiply() {
        let counting = |height, width| {
            let mut m = Matrix::zero(height, width);
            m.cells.iter_mut().enumerate().for_each(|(i, c)| *c = i as f64);
            m
        };
        for inner in [1, 3, 4, 33, 70] {
            let (left, right) = (counting(5, inner), counting(inner, 7));
            let got = left.product(&right);
            for r in 0..5 {
                for c in 0..7 {
                    let expected: f64 = (0..inner).map(|k| left.row(r)[k] * right.row(k)[c]).sum();
                    assert_eq!(got.row(r)[c], expected);
                }
            }
        }
    }

    fn any_flows() -> impl Strategy<Value = (Matrix, Vec<f64>)> {
        (1usize..12).prop_flat_map(|n| {
            let weight = prop_oneof![Just(0.0), 0.1..100.0f64];
            let cells =
                prop::collection::vec(weight, n * n).prop_map(move |cells| Matrix { width: n, cells });
            (cells, prop::collection::vec(0.1..10.0f64, n))
        })
    }

    proptest! {
        #[test]
        fn the_inverse_inverts((flows, exits) in any_flows()) {
            let unit = inverse(flows.clone(), &exits).product(&leaving_less_flows(&flows, &exits));
            for r in 0..exits.len() {
                for c in 0..exits.len() {
                    let expected = if r == c { 1.0 } else { 0.0 };
                    prop_assert!((unit.row(r)[c] - expected).abs() < 1e-9, "{unit:?}");
                }
            }
        }

        #[test]
        fn a_chosen_part_is_solved((flows, exits) in any_flows(), chosen in any::<u16>()) {
            let whole = inverse(flows, &exits);
            let chosen: Vec<usize> = (0..exits.len()).filter(|i| chosen >> i & 1 == 1).collect();
            let right: Vec<f64> = chosen.iter().map(|i| *i as f64).collect();
            let x = solve_within(&whole, &chosen, &right);
            for (column, side) in chosen.iter().zip(right) {
                let got: f64 = x.iter().zip(&chosen).map(|(x, row)| x * whole.row(*row)[*column]).sum();
                prop_assert!((got - side).abs() < 1e-9);
            }
        }
    }
}
