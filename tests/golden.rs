//! The models against other packages and the closed form (tests/fixtures/golden/README.md).

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;

use utmost::attribution::markov::markov;
use utmost::attribution::models::{Model, ModelRules, credit_paths, weights};
use utmost::attribution::paths::{KeyCredit, Path, Transform, read_paths};
use utmost::attribution::shapley::shapley;

const HOUR_MS: f64 = 60.0 * 60.0 * 1000.0;

type Row = HashMap<String, String>;

/// A column of a file, and what we hold against it.
type Column<'a> = (&'a str, fn(&KeyCredit) -> f64);

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/golden/{name}.csv", env!("CARGO_MANIFEST_DIR"))
}

fn rows(name: &str) -> Vec<Row> {
    let rows: Vec<Row> =
        csv::Reader::from_path(fixture(name)).unwrap().deserialize().collect::<Result<_, _>>().unwrap();
    assert!(!rows.is_empty(), "{name} is empty");
    rows
}

fn paths(name: &str) -> Vec<Path> {
    read_paths(BufReader::new(File::open(fixture(name)).unwrap())).unwrap()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap()
}

#[track_caller]
fn assert_near(got: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((got - expected).abs() <= tolerance, "{what}: {got}, not {expected}");
}

/// Compares each row of a file, found by its key, with what we credit; `columns` says how.
fn compare(got: &[KeyCredit], name: &str, key: &str, relative: f64, columns: &[Column]) {
    let expected = rows(name);
    assert_eq!(got.len(), expected.len(), "{name}");
    for row in expected {
        let credit = got.iter().find(|c| c.key == row[key]).unwrap();
        for (column, of) in columns {
            let expected = number(&row, column);
            assert_near(
                of(credit),
                expected,
                relative * expected.max(1.0),
                &format!("{name} {} {column}", row[key]),
            );
        }
    }
}

const MARKOV: [Column; 4] = [
    ("total_conversions", |c| c.conversions),
    ("total_conversion_value", |c| c.value),
    ("removal_effects_conversion", |c| c.removal_effect.unwrap().conversions),
    ("removal_effects_conversion_value", |c| c.removal_effect.unwrap().value),
];

#[test]
fn markov_is_the_closed_form() {
    let check = |input, order, name| {
        compare(&markov(&paths(input), order).unwrap(), name, "channel_name", 1e-9, &MARKOV);
    };
    check("small/input_paths", 1, "small/exact_markov_order1");
    check("small/input_paths", 2, "small/exact_markov_order2");
    check("textbook/input_paths", 1, "textbook/exact_markov_order1");
    // At order 1 repeats of a neighbour are no step, so collapsing them changes nothing.
    let collapsed = Transform::Exposure.apply(paths("small/input_paths"));
    compare(&markov(&collapsed, 1).unwrap(), "small/exact_markov_order1", "channel_name", 1e-9, &MARKOV);
}

#[test]
fn markov_agrees_with_other_packages() {
    let small = |order| markov(&paths("small/input_paths"), order).unwrap();
    let effect: [Column; 1] = [("removal_effect", |c| c.removal_effect.unwrap().conversions)];
    compare(&small(1), "small/dp6_markov_removal_effects_count", "channel", 1e-9, &effect);
    let textbook = markov(&paths("textbook/input_paths"), 1).unwrap();
    compare(&textbook, "textbook/dp6_removal_effects", "channel", 1e-9, &effect);
    // Simulated: near, no more (the rarest channel is 1 % off).
    compare(&small(1), "small/ca_markov_order1_seed1_nsim1e8", "channel_name", 0.015, &MARKOV);
    compare(&small(2), "small/ca_markov_order2_seed1_nsim1e8", "channel_name", 0.015, &MARKOV);
}

#[test]
fn shapley_is_the_subset_form() {
    let columns: [Column; 3] = [
        ("shapley_conversions", |c| c.conversions),
        ("shapley_conversions_bruteforce_2n", |c| c.conversions),
        ("shapley_value", |c| c.value),
    ];
    compare(
        &shapley(&paths("small/input_paths")),
        "small/exact_shapley_subset_sum",
        "channel",
        1e-9,
        &columns,
    );
}

#[test]
fn weights_of_touches_agree() {
    let default = ModelRules::default();
    let other_shares = ModelRules { position_shares: [0.3, 0.3, 0.4], ..default };
    let mut compared = 0;
    for row in rows("edge/weights") {
        let (model, rules) = match row["model"].as_str() {
            "first_touch" => (Model::FirstTouch, default),
            "last_touch" => (Model::LastTouch, default),
            "linear" => (Model::Linear, default),
            "position_40_20_40" => (Model::PositionBased, default),
            // Of the two conventions for two touches, ours keeps the proportion of the outer shares.
            "position_30_30_40_renorm" => (Model::PositionBased, other_shares),
            _ => continue,
        };
        let expected: Vec<f64> = row["expected_weights"].split('|').map(|w| w.parse().unwrap()).collect();
        let got = weights(model, &vec![0; expected.len()], 0, &rules);
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert_near(*got, expected, 1e-12, &format!("{} {}", row["model"], row["case"]));
        }
        compared += 1;
    }
    assert_eq!(compared, 5 * 6);
}

#[test]
fn time_decay_is_continuous() {
    let rows = rows("timed/exact_time_decay");
    for journey in rows.chunk_by(|a, b| a["journey_id"] == b["journey_id"]) {
        // One of the journeys is out of order; our touches are always ordered.
        let mut touches: Vec<(i64, f64)> = journey
            .iter()
            .map(|row| (-(number(row, "hours_before") * HOUR_MS) as i64, number(row, "w_continuous_hl7d")))
            .collect();
        touches.sort_by_key(|(at_ms, _)| *at_ms);
        let times: Vec<i64> = touches.iter().map(|(at_ms, _)| *at_ms).collect();
        let got = weights(Model::TimeDecay, &times, 0, &ModelRules::default());
        for (got, (_, expected)) in got.iter().zip(touches) {
            assert_near(*got, expected, 1e-12, &journey[0]["journey_id"]);
        }
    }
}

#[test]
fn repeats_are_treated_as_the_transform_says() {
    for row in rows("edge/repeats") {
        let transform = match row["transform"].as_str() {
            "identity" => Transform::Unique,
            "exposure_collapsed" => Transform::Exposure,
            _ => Transform::First,
        };
        let model = if row["model"] == "linear" { Model::Linear } else { Model::PositionBased };
        let keys = row["raw_path"].split(" > ").map(str::to_owned).collect();
        let path = transform.apply(vec![Path { keys, conversions: 1.0, value: 1.0, nulls: 0.0 }]);
        assert_eq!(path[0].keys.join(" > "), row["path"]);
        let credits = credit_paths(model, &path, &ModelRules::default());
        for key in ["A", "B"] {
            let got = credits.iter().find(|c| c.key == key).map_or(0.0, |c| c.conversions);
            assert_near(got, number(&row, key), 1e-12, &format!("{row:?}"));
        }
    }
}

#[test]
fn models_within_a_path_agree_with_other_packages() {
    let check = |transform: Transform, model: Model, name, key, columns: [&str; 2]| {
        let paths = transform.apply(paths("small/input_paths"));
        let [conversions, value] = columns.map(|column| format!("{}_{column}", model.as_str()));
        let columns: [Column; 2] = [(&conversions, |c| c.conversions), (&value, |c| c.value)];
        compare(&credit_paths(model, &paths, &ModelRules::default()), name, key, 1e-9, &columns);
    };
    for model in [Model::FirstTouch, Model::LastTouch] {
        check(
            Transform::Unique,
            model,
            "small/ca_heuristic_models",
            "channel_name",
            ["conversions", "value"],
        );
    }
    for model in [Model::FirstTouch, Model::LastTouch, Model::Linear, Model::PositionBased] {
        let columns = ["conversions", "revenue"];
        check(Transform::Unique, model, "small/google_fractribution_unique", "channel", columns);
        check(Transform::Exposure, model, "small/google_fractribution_exposure", "channel", columns);
    }
}
