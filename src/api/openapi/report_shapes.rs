//! The shapes of reports. Their columns are written from one table, and so are these.

use serde_json::{Map, Value, json};

use super::details::{CURRENCY, MONEY};
use crate::domain::money::Currency;
use crate::ledger::reports::{Clicks, Clock, Credits, Dimension, Engagement};
use crate::reports::{COLUMNS, Cell, Cost, Figures, MODEL_COLUMNS, MODEL_NAMES};

/// Names and schemas of what each report answers.
pub fn schemas() -> [(&'static str, Value); 4] {
    [
        ("AttributionReport", attribution()),
        ("CompareReport", compare()),
        ("RetentionReport", retention()),
        ("SnapshotComparison", snapshot_comparison()),
    ]
}

/// The schema of the report at a path.
pub fn of(path: &str) -> Value {
    let name = match path.rsplit('/').next() {
        _ if path.contains("/snapshots/") => "SnapshotComparison",
        Some("attribution") => "AttributionReport",
        Some("compare") => "CompareReport",
        _ => "RetentionReport",
    };
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn attribution() -> Value {
    let mut head = head(Dimension::ALL.map(Dimension::name).to_vec());
    head.insert("model".to_owned(), one_of(MODEL_NAMES.to_vec()));
    head.extend(asked());
    let models = json!({
        "description": "With model=all: what each model says. net_revenue_change is against last_touch.",
        "type": "object",
        "additionalProperties": object(figures(&MODEL_COLUMNS), &[]),
    });
    let mut columns = figures(&COLUMNS);
    columns.insert("models".to_owned(), models);
    let totals = object(columns.clone(), &["models"]);
    head.insert("rows".to_owned(), list(object(named(columns), &["models"])));
    head.insert("totals".to_owned(), totals);
    head.insert("reconciliation".to_owned(), reconciliation());
    object(head, &["order", "transform"])
}

fn compare() -> Value {
    let mut head = head(Dimension::ALL.map(Dimension::name).to_vec());
    let models = || one_of(MODEL_NAMES.into_iter().filter(|name| *name != "all").collect());
    head.insert("baseline".to_owned(), models());
    head.insert("models".to_owned(), list(models()));
    head.extend(asked());
    sheet(head, "net_revenue by the baseline; {model}_net_revenue, {model}_change and more of each model")
}

fn retention() -> Value {
    let head = head(vec!["all", "network", "post", "campaign", "kind"]);
    sheet(head, "docs/REPORTS.md, \"Retention\"")
}

/// A snapshot against the same report of today: neither alone has a zone, a basis or settings to tell of.
fn snapshot_comparison() -> Value {
    let mut head = head(Dimension::ALL.map(Dimension::name).to_vec());
    head.retain(|name, _| ["by", "from", "to", "currency", "problems"].contains(&name.as_str()));
    head.insert("model".to_owned(), one_of(MODEL_NAMES.to_vec()));
    head.extend(["snapshot", "name"].map(|name| (name.to_owned(), text())));
    let moment = json!({"type": "string", "format": "date-time"});
    head.extend(["then", "now"].map(|name| (name.to_owned(), moment.clone())));
    let whole = json!({"type": "object", "additionalProperties": true});
    head.extend(["why", "reconciliation"].map(|name| (name.to_owned(), whole.clone())));
    sheet(head, "{column}_then, {column}_now and {column}_change of each column")
}

/// What every report says of itself.
fn head(by: Vec<&str>) -> Map<String, Value> {
    let problem = object(Map::from_iter([("code".to_owned(), text()), ("detail".to_owned(), text())]), &[]);
    Map::from_iter(
        [
            ("by", one_of(by)),
            ("from", json!({"type": "string", "format": "date"})),
            ("to", json!({"type": "string", "format": "date", "description": "The day after the last"})),
            ("timezone", text()),
            ("currency", json!({"type": "string", "pattern": CURRENCY})),
            ("revenue_basis", one_of(vec!["total", "ex_tax", "ex_tax_shipping"])),
            ("as_of", json!({"type": "string", "format": "date-time"})),
            (
                "settings_hash",
                json!({"type": "string", "description": "The same where the attribution settings are"}),
            ),
            (
                "problems",
                json!({"type": "array", "items": problem, "description": "What a reader must know"}),
            ),
        ]
        .map(|(name, schema)| (name.to_owned(), schema)),
    )
}

/// What reports of credits were asked for beside it.
fn asked() -> [(String, Value); 5] {
    [
        ("order", json!({"type": "integer", "minimum": 1, "maximum": 3})),
        ("transform", one_of(vec!["exposure", "first", "unique"])),
        ("clock", one_of(Clock::ALL.map(Clock::name).to_vec())),
        ("event", text()),
        ("filters", json!({"type": "object", "additionalProperties": text()})),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
}

/// A report whose columns depend on what is asked.
fn sheet(mut head: Map<String, Value>, columns: &str) -> Value {
    let cell = json!({"type": ["string", "number", "null"]});
    let cells = json!({"type": "object", "description": columns, "additionalProperties": cell});
    let mut row = object(named(Map::new()), &[]);
    row["description"] = json!(columns);
    row["additionalProperties"] = cell;
    head.insert("rows".to_owned(), list(row));
    head.insert("totals".to_owned(), cells);
    let mut sheet = object(head, &["order", "transform", "totals"]);
    sheet["additionalProperties"] = json!(true);
    sheet
}

/// Columns by name. What a cell holds is seen on figures of which all are known, and what may be null on
/// figures of which none are.
fn figures(columns: &[&str]) -> Map<String, Value> {
    let known = Figures {
        clicks: Some(Clicks { human: 1, uniques: 1, bots: 1, recorded: 1 }),
        credits: Credits { revenue_minor: 1, refunds_minor: 0, weight: 1 },
        assigned_value: Some(1),
        cost: Some(Cost { direct_minor: 1, shared_minor: 0 }),
        assisted: Some(1),
        goods: Some(1),
        click_value: Some(1),
        engagement: Some(Engagement { reach: 1, actions: 1 }),
    };
    let currency: Currency = "EUR".parse().expect("a currency");
    let (known, unknown) = (known.cells(currency, true), Figures::default().cells(currency, false));
    let schema = |name: &str| {
        // What a model's net differs from the main one's.
        let Some(place) = COLUMNS.iter().position(|column| *column == name) else { return money() };
        let mut schema = match &known[place] {
            Cell::Count(_) => json!({"type": "integer"}),
            Cell::Number(_) => json!({"type": "number"}),
            Cell::Money(_) => money(),
            Cell::Null => unreachable!("all figures are known"),
        };
        if unknown[place] == Cell::Null {
            schema["type"] = json!([schema["type"], "null"]);
        }
        schema
    };
    columns.iter().map(|name| ((*name).to_owned(), schema(name))).collect()
}

fn reconciliation() -> Value {
    let amounts = || {
        let names = ["revenue", "refunds", "net_revenue"];
        object(names.into_iter().map(|name| (name.to_owned(), money())).collect(), &[])
    };
    let by_reason = |of: Value| json!({"type": "object", "additionalProperties": of});
    // Orders received are those attributed, unattributed and excluded.
    let parts = |of: &dyn Fn() -> Value| {
        Map::from_iter(
            [
                ("orders_received", of()),
                ("attributed", of()),
                ("unattributed", by_reason(of())),
                ("excluded", by_reason(of())),
            ]
            .map(|(name, schema)| (name.to_owned(), schema)),
        )
    };
    let mut all = parts(&|| json!({"type": "integer", "minimum": 0}));
    let mut of_amounts = parts(&amounts);
    for name in
        ["attributed_to_clicks_outside", "attributed_from_orders_outside", "attributed_outside_filters"]
    {
        of_amounts.insert(name.to_owned(), amounts());
    }
    all.insert("amounts".to_owned(), object(of_amounts, &[]));
    let mut details = object(parts(&text), &[]);
    details["description"] = json!("Where the orders behind each number are listed");
    all.insert("details".to_owned(), details);
    object(all, &[])
}

/// Key and label, then the columns.
fn named(columns: Map<String, Value>) -> Map<String, Value> {
    let key = json!({"type": ["string", "null"], "description": "null: the links have no such value"});
    let label = json!({"type": ["string", "null"]});
    let names = [("key".to_owned(), key), ("label".to_owned(), label)];
    names.into_iter().chain(columns).collect()
}

fn object(properties: Map<String, Value>, optional: &[&str]) -> Value {
    let required: Vec<&String> =
        properties.keys().filter(|name| !optional.contains(&name.as_str())).collect();
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn money() -> Value {
    json!({"type": "string", "pattern": MONEY})
}

fn one_of(names: Vec<&str>) -> Value {
    json!({"type": "string", "enum": names})
}
