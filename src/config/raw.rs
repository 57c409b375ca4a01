//! Layers: the compiled-in defaults, a file, the environment. The defaults are also the schema: a key that
//! they do not have is unknown, a value of another type is wrong.

use toml::{Table, Value};

const DEFAULT: &str = include_str!("../../config/default.toml");

/// Tables whose keys are the user's own words.
const OPEN_TABLES: &[&str] =
    &["attribution.assigned_values", "attribution.click_prices", "dialects.dub_tenants"];

pub(super) struct Layered {
    pub table: Table,
    pub errors: Vec<String>,
}

/// `env` holds the variables that start with `UTMOST_`.
pub(super) fn layer(file: Option<(&str, &str)>, env: impl Iterator<Item = (String, String)>) -> Layered {
    let mut layered =
        Layered { table: DEFAULT.parse().expect("default.toml is valid TOML"), errors: Vec::new() };
    if let Some((name, text)) = file {
        match text.parse::<Table>() {
            Ok(table) => merge(&mut layered.table, table, "", name, &mut layered.errors),
            Err(error) => layered.errors.push(format!("{name}: {}", error.message())),
        }
    }
    let mut variables: Vec<_> = env.collect();
    variables.sort();
    for (name, text) in variables {
        let path: Vec<String> =
            name.trim_start_matches("UTMOST_").split("__").map(str::to_lowercase).collect();
        match environment_value(&layered.table, &path, &text) {
            Ok(value) => {
                let nested = path
                    .iter()
                    .rev()
                    .fold(value, |inner, key| Value::Table(Table::from_iter([(key.clone(), inner)])));
                let Value::Table(table) = nested else { unreachable!("a path has at least one key") };
                merge(&mut layered.table, table, "", &name, &mut layered.errors);
            }
            Err(problem) => layered.errors.push(format!("{name}: {problem}")),
        }
    }
    layered
}

fn merge(base: &mut Table, over: Table, path: &str, origin: &str, errors: &mut Vec<String>) {
    for (key, value) in over {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value, &at, origin, errors),
            (Some(known), value) => match coerce(known, value) {
                Ok(value) => *known = value,
                Err(value) => {
                    errors.push(format!("{origin}: {at} is {}, expected {}", kind(&value), kind(known)))
                }
            },
            (None, value) if OPEN_TABLES.contains(&path) => {
                base.insert(key, value);
            }
            (None, _) => {
                let known: Vec<&str> = base.keys().map(String::as_str).collect();
                errors.push(format!("{origin}: {at} is unknown; known here: {}", known.join(", ")));
            }
        }
    }
}

/// A whole number may stand where a fraction is meant.
fn coerce(known: &Value, value: Value) -> Result<Value, Value> {
    match (known, value) {
        (Value::Float(_), Value::Integer(n)) => Ok(Value::Float(n as f64)),
        (known, value) if known.same_type(&value) => Ok(value),
        (_, value) => Err(value),
    }
}

fn environment_value(base: &Table, path: &[String], text: &str) -> Result<Value, String> {
    let mut known = None;
    let mut table = Some(base);
    for key in path {
        known = table.and_then(|table| table.get(key));
        table = known.and_then(Value::as_table);
    }
    let scalar = |known: &Value, text: &str| -> Result<Value, String> {
        match known {
            Value::Integer(_) => {
                text.parse().map(Value::Integer).map_err(|_| "expected a whole number".into())
            }
            Value::Float(_) => text.parse().map(Value::Float).map_err(|_| "expected a number".into()),
            Value::Boolean(_) => {
                text.parse().map(Value::Boolean).map_err(|_| "expected true or false".into())
            }
            _ => Ok(Value::String(text.to_owned())),
        }
    };
    match known {
        Some(Value::Array(items)) => {
            let sample = items.first().cloned().unwrap_or_else(|| Value::String(String::new()));
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| scalar(&sample, part))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array)
        }
        Some(Value::Table(_)) => Err("is a group of keys, not a key".into()),
        Some(known) => scalar(known, text),
        None => Ok(Value::String(text.to_owned())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a group of keys",
        Value::Datetime(_) => "a date",
    }
}
