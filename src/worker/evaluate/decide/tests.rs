//! For every history of an order and every journey: credits sum to the net, and what is taken back leaves nothing.

use proptest::prelude::*;

use super::*;
use crate::attribution::order::{self, RevenueBasis, StoredFact};
use crate::config::Config;
use crate::intake::fact::{Gone, Keys, Order, Refund, Says};
use crate::ledger::conversions::ChangeRow;

const AT_MS: i64 = 1_795_000_000_000;

fn fact(version: i64, says: Says) -> StoredFact {
    StoredFact { version_ms: version, hash: format!("{version}/{says:?}"), says }
}

fn stated(version: i64, total_minor: i64, status: OrderStatus) -> StoredFact {
    let order = Order {
        event: "purchase".into(),
        status,
        occurred_ms: AT_MS,
        currency: "EUR".into(),
        total_minor,
        tax_minor: Some(total_minor / 6),
        shipping_minor: Some(total_minor / 20),
        cost_of_goods_minor: None,
        renews: None,
        keys: Keys::default(),
    };
    fact(version, Says::Order(order))
}

fn refund(version: i64, id: &str, amount_minor: i64) -> StoredFact {
    let says = Says::Refund(Refund {
        id: id.into(),
        amount_minor,
        currency: "EUR".into(),
        explains_minor: None,
        occurred_ms: Some(AT_MS + version),
    });
    fact(version, says)
}

/// What may happen to an order, in any order.
fn histories() -> impl Strategy<Value = Vec<StoredFact>> {
    let step = (1i64..50, 0u8..8, 0i64..200_000).prop_map(|(version, what, minor)| match what {
        0..=2 => stated(version, minor, OrderStatus::Paid),
        3 => stated(version, minor, OrderStatus::Cancelled),
        4 | 5 => refund(version, &format!("r{}", minor % 4), minor / 4),
        6 => fact(
            version,
            Says::RefundedTotal {
                amount_minor: minor / 2,
                currency: "EUR".into(),
                occurred_ms: AT_MS + version,
            },
        ),
        _ => fact(version, Says::Gone(Gone::Deleted)),
    });
    (0i64..200_000, prop::collection::vec(step, 0..12)).prop_map(|(total, mut steps)| {
        steps.push(stated(0, total, OrderStatus::Paid));
        steps
    })
}

/// Ages of touches in minutes; each is a rival or one of three links.
fn journeys() -> impl Strategy<Value = Vec<TouchRow>> {
    let touch = (0i64..200_000, 0i64..4).prop_map(|(minutes, link)| TouchRow {
        at_ms: AT_MS - minutes * 60_000,
        via: "customer".into(),
        link: (link > 0).then(|| LinkId::from_i64(link).expect("a link id")),
        revision: None,
        click: None,
        visitor: None,
        channel: None,
        country: None,
        device: None,
        counted: true,
    });
    prop::collection::vec(touch, 1..9).prop_map(|mut touches| {
        touches.sort_by_key(|touch| touch.at_ms);
        touches
    })
}

/// The nets after each change, and the credits.
fn evaluated(facts: &[StoredFact], touches: &[TouchRow], basis: RevenueBasis) -> (Vec<i64>, Vec<CreditRow>) {
    let settings = Config::from_layers(None, std::iter::empty()).expect("defaults").attribution;
    let state = order::fold(facts.to_vec()).expect("it is stated");
    let mut net = 0;
    let mut changes = Vec::new();
    let mut nets = Vec::new();
    for movement in order::movements(&state, basis) {
        changes.push(ChangeRow {
            kind: movement.kind.as_str(),
            refund_id: movement.refund_id,
            amount_minor: movement.net_minor - net,
            at_ms: movement.at_ms,
            day: 0,
        });
        net = movement.net_minor;
        nets.push(net);
    }
    let evaluation = Evaluation { changes, ..Evaluation::default() };
    (nets, credits(&evaluation, touches, AT_MS, &settings, &TimeZone::UTC))
}

/// Per touch and model, after the first `changes` changes.
fn sums(credits: &[CreditRow], touches: usize, changes: i64) -> Vec<[i64; 5]> {
    let mut sums = vec![[0; 5]; touches];
    for credit in credits.iter().filter(|credit| credit.change_no < changes) {
        for (sum, minor) in sums[credit.touch_no as usize].iter_mut().zip(credit.amounts_minor) {
            *sum += minor;
        }
    }
    sums
}

const BASES: [RevenueBasis; 3] = [RevenueBasis::Total, RevenueBasis::ExTax, RevenueBasis::ExTaxShipping];

proptest! {
    #[test]
    fn credits_sum_to_the_net_by_every_model_and_after_every_change(
        facts in histories(), touches in journeys(), basis in prop::sample::select(&BASES[..]),
    ) {
        let (nets, credits) = evaluated(&facts, &touches, basis);
        for (changes, net) in (1..).zip(&nets) {
            let sums = sums(&credits, touches.len(), changes);
            for model in 0..Model::ALL.len() {
                prop_assert_eq!(sums.iter().map(|touch| touch[model]).sum::<i64>(), *net);
            }
        }
        for model in 0..Model::ALL.len() {
            let weights = credits.iter().map(|credit| credit.weights[model]).sum::<i64>();
            prop_assert_eq!(weights, credit::WEIGHT_SCALE);
        }
    }

    #[test]
    fn a_refund_that_is_taken_back_changes_nothing(
        facts in histories(), touches in journeys(), basis in prop::sample::select(&BASES[..]),
        amount in 1i64..200_000, listed in any::<bool>(),
    ) {
        // A cumulative total that came with it stands for it too, and is not part of this.
        prop_assume!(facts.iter().all(|fact| !matches!(fact.says, Says::RefundedTotal { .. })));
        let before = evaluated(&facts, &touches, basis);
        let listing = |version, refunds| fact(version, Says::Refunds(refunds));
        let one = Refund {
            id: "back".into(), amount_minor: amount, currency: "EUR".into(), explains_minor: None, occurred_ms: None,
        };
        // WooCommerce lists what there is; others state the refund again, with nothing in it.
        let (given, taken_back) = match listed {
            true => (listing(60, vec![one]), listing(61, Vec::new())),
            false => (refund(60, "back", amount), refund(61, "back", 0)),
        };
        let mut after = facts.clone();
        after.push(given.clone());
        after.push(taken_back.clone());
        let after = evaluated(&after, &touches, basis);
        prop_assert_eq!(&before.0, &after.0);
        let all = i64::MAX;
        prop_assert_eq!(sums(&before.1, touches.len(), all), sums(&after.1, touches.len(), all));
        // While it stood, it did change the net, unless nothing was left to give back.
        let mut meanwhile = facts.clone();
        meanwhile.push(given);
        let meanwhile = evaluated(&meanwhile, &touches, basis);
        let is_gone = facts.iter().any(|fact| matches!(&fact.says, Says::Gone(_))
            || matches!(&fact.says, Says::Order(order) if order.status == OrderStatus::Cancelled));
        if !is_gone && basis == RevenueBasis::Total {
            prop_assert_eq!(meanwhile.0.last().map(|net| net + amount), before.0.last().copied());
        }
    }
}
