//! From weights to money: every minor unit goes to exactly one touch, and none is made or lost.
//!
//! All of it is integer arithmetic by largest remainder, ties to the earlier touch. Of two touches the
//! one that weighs more never gets less. A larger amount may give a touch one unit less (the Alabama
//! paradox of this method), which is why [`changes`] takes differences of splits and never splits a difference.

/// One whole conversion in billionths, the unit in which conversion weights are stored.
pub const WEIGHT_SCALE: i64 = 1_000_000_000;

/// Weights in billionths, in the same order, summing to [`WEIGHT_SCALE`] exactly, so that reports by
/// any key have equal totals. Only proportions count; what is no positive number counts as 0, and if
/// nothing is left all weigh the same. No weights give none.
pub fn quantise(weights: &[f64]) -> Vec<i64> {
    // 2^53: a weight of 1 keeps all its digits.
    const FIXED_POINT: f64 = 9_007_199_254_740_992.0;
    let sound = |w: &f64| if w.is_finite() && *w > 0.0 { *w } else { 0.0 };
    let largest = weights.iter().map(sound).fold(0.0, f64::max);
    let shares: Vec<u64> = if largest > 0.0 {
        weights.iter().map(|w| (sound(w) / largest * FIXED_POINT) as u64).collect()
    } else {
        vec![1; weights.len()]
    };
    apportion(WEIGHT_SCALE, &shares)
}

/// Splits an amount in minor units, of either sign, by weights (see [`quantise`]): one part per weight,
/// summing to the amount exactly. No weights give no parts.
pub fn split(amount_minor: i64, weights: &[f64]) -> Vec<i64> {
    split_billionths(amount_minor, &quantise(weights))
}

/// As [`split`], by weights as they are stored: what [`quantise`] gave.
pub fn split_billionths(amount_minor: i64, billionths: &[i64]) -> Vec<i64> {
    let shares: Vec<u64> = billionths.iter().map(|b| u64::try_from(*b).unwrap_or(0)).collect();
    apportion(amount_minor, &shares)
}

/// One row per net, in order: what the change to that net credits to each touch,
/// `split(net_k) - split(net_(k-1))`. So the credits of any first k changes sum to `split(net_k)`,
/// and a refund that is taken back leaves nothing behind.
///
/// `nets` are the conversion's net after each change, in minor units, within 2^62 of zero.
pub fn changes(nets: &[i64], weights: &[f64]) -> Vec<Vec<i64>> {
    let billionths = quantise(weights);
    let mut before = vec![0; weights.len()];
    nets.iter()
        .map(|&net| {
            let after = split_billionths(net, &billionths);
            let change = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            before = after;
            change
        })
        .collect()
}

/// Largest remainder, exactly. Shares of which none is positive count as equal.
fn apportion(total: i64, shares: &[u64]) -> Vec<i64> {
    let sum: u128 = shares.iter().map(|s| u128::from(*s)).sum();
    if sum == 0 {
        return if shares.is_empty() { Vec::new() } else { apportion(total, &vec![1; shares.len()]) };
    }
    let size = u128::from(total.unsigned_abs());
    // size < 2^64 and share < 2^64, so the product fits.
    let mut parts: Vec<u128> = shares.iter().map(|s| size * u128::from(*s) / sum).collect();
    let left = usize::try_from(size - parts.iter().sum::<u128>()).expect("fewer units are left than parts");
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    // A stable sort: ties go to the earlier touch.
    by_remainder.sort_by_key(|&i| std::cmp::Reverse(size * u128::from(shares[i]) % sum));
    for &i in &by_remainder[..left] {
        parts[i] += 1;
    }
    let signed = |part: u128| {
        let part = i128::try_from(part).expect("a part is at most the amount");
        i64::try_from(if total < 0 { -part } else { part }).expect("a part is at most the amount")
    };
    parts.into_iter().map(signed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_split_by_largest_remainder() {
        let check = |amount, weights: &[f64], expected: &[i64]| {
            assert_eq!(split(amount, weights), expected, "{amount} by {weights:?}");
        };
        let third = 1.0 / 3.0;
        check(100, &[third, third, third], &[34, 33, 33]);
        check(-100, &[third, third, third], &[-34, -33, -33]);
        check(1, &[0.5, 0.5], &[1, 0]);
        check(999, &[0.4, 0.2, 0.4], &[400, 200, 399]);
        check(10, &[0.0, 1.0, 0.0], &[0, 10, 0]);
        check(0, &[0.4, 0.6], &[0, 0]);
        check(7, &[], &[]);
        check(i64::MAX, &[1.0], &[i64::MAX]);
        check(i64::MIN, &[1.0], &[i64::MIN]);
        check(i64::MIN, &[0.5, 0.5], &[i64::MIN / 2, i64::MIN / 2]);
        check(3, &[f64::NAN, f64::NAN, -1.0], &[1, 1, 1]);
        check(3, &[f64::INFINITY, 2.0, 1.0], &[0, 2, 1]);
        check(4, &[f64::MAX, f64::MAX], &[2, 2]);
        check(4, &[f64::MIN_POSITIVE, f64::MIN_POSITIVE], &[2, 2]);
    }

    #[test]
    fn weights_become_billionths() {
        let seventh = quantise(&[1.0 / 7.0; 7]);
        assert_eq!(
            seventh,
            [142_857_143, 142_857_143, 142_857_143, 142_857_143, 142_857_143, 142_857_143, 142_857_142]
        );
        assert_eq!(quantise(&[0.4, 0.2, 0.4]), [400_000_000, 200_000_000, 400_000_000]);
        assert_eq!(quantise(&[]), [0i64; 0]);
    }

    #[test]
    fn a_refund_taken_back_leaves_nothing() {
        let credits = changes(&[1000, 667, 1000], &[1.0, 1.0, 1.0]);
        assert_eq!(credits[0], [334, 333, 333]);
        for (refund, back) in credits[1].iter().zip(&credits[2]) {
            assert_eq!(refund + back, 0);
        }
    }

    fn any_weights() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(prop_oneof![0.0..1.0f64, Just(0.0), Just(0.25), any::<f64>()], 1..40)
    }

    proptest! {
        #[test]
        fn billionths_sum_to_the_scale(weights in any_weights()) {
            let billionths = quantise(&weights);
            prop_assert_eq!(billionths.iter().sum::<i64>(), WEIGHT_SCALE);
            prop_assert!(billionths.iter().all(|b| *b >= 0));
        }

        #[test]
        fn parts_sum_to_the_amount(amount: i64, weights in any_weights()) {
            let parts = split(amount, &weights);
            prop_assert_eq!(parts.len(), weights.len());
            prop_assert_eq!(parts.iter().map(|p| i128::from(*p)).sum::<i128>(), i128::from(amount));
            prop_assert!(parts.iter().all(|p| p.signum() * amount.signum() >= 0));
        }

        #[test]
        fn parts_are_within_a_unit_of_their_share(amount in -1_000_000_000i64..1_000_000_000, weights in any_weights()) {
            for (part, billionths) in split(amount, &weights).iter().zip(quantise(&weights)) {
                let off = i128::from(*part) * i128::from(WEIGHT_SCALE) - i128::from(amount) * i128::from(billionths);
                prop_assert!(off.abs() < i128::from(WEIGHT_SCALE));
            }
        }

        #[test]
        fn who_weighs_more_never_gets_less(amount in 0i64.., weights in prop::collection::vec(0.0..1.0f64, 1..40)) {
            let parts = split(amount, &weights);
            for i in 0..parts.len() {
                for j in 0..parts.len() {
                    prop_assert!(weights[i] <= weights[j] || parts[i] >= parts[j]);
                }
            }
        }

        #[test]
        fn the_opposite_amount_gives_the_opposite_parts(amount in -i64::MAX.., weights in any_weights()) {
            let negated: Vec<i64> = split(-amount, &weights).iter().map(|p| -p).collect();
            prop_assert_eq!(split(amount, &weights), negated);
        }

        #[test]
        fn any_first_changes_sum_to_their_net(
            nets in prop::collection::vec(-(1i64 << 62)..1i64 << 62, 1..10),
            weights in any_weights(),
        ) {
            let credits = changes(&nets, &weights);
            let mut so_far = vec![0i64; weights.len()];
            for (change, net) in credits.iter().zip(&nets) {
                for (sum, credit) in so_far.iter_mut().zip(change) {
                    *sum += credit;
                }
                prop_assert_eq!(&so_far, &split(*net, &weights));
                prop_assert_eq!(so_far.iter().sum::<i64>(), *net);
            }
        }

        #[test]
        fn a_detour_changes_nothing(
            net in -(1i64 << 61)..1i64 << 61,
            refund in -(1i64 << 61)..1i64 << 61,
            weights in any_weights(),
        ) {
            let detour = changes(&[net, net - refund, net], &weights);
            let straight = changes(&[net], &weights);
            for i in 0..weights.len() {
                prop_assert_eq!(detour.iter().map(|c| c[i]).sum::<i64>(), straight[0][i]);
            }
        }
    }
}
