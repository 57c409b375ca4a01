//! `utmost rates`: exchange rates from a file.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use super::client::Answer;
use super::serve::administrator;
use crate::config::Config;

/// Store exchange rates by day in the running server
#[derive(Debug, Args)]
pub struct RatesArgs {
    /// The European Central Bank's CSV (eurofxref.csv or eurofxref-hist.csv, unpacked), or JSON as the API takes it
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Sends the file to the server, which evaluates the orders anew that it concerns.
///
/// Errors: the file's, naming its line or field; the server's.
pub async fn run(args: &RatesArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let name = args.file.display();
    let text = std::fs::read(&args.file).with_context(|| name.to_string())?;
    let is_json = text.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|b| b"[{".contains(b));
    let client = administrator(config)?;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", client.authorization()?);
    let kind = if is_json { "application/json" } else { "text/csv" };
    headers.insert("content-type", HeaderValue::from_static(kind));
    let answer = client.send(Method::PUT, "/api/v1/rates", headers, text).await?;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    ensure!(answer.status.is_success(), "{name}: {}", mistakes(&answer, &body));
    writeln!(out, "{} rates are stored", body["stored"])?;
    Ok(())
}

/// What a problem names, each with its line or field.
fn mistakes(answer: &Answer, body: &Value) -> String {
    let named = body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| Some(format!("{}: {}", error["field"].as_str()?, error["detail"].as_str()?)));
    let named: Vec<String> = named.collect();
    match (named.is_empty(), body["detail"].as_str()) {
        (false, _) => named.join("; "),
        (true, Some(detail)) => detail.to_owned(),
        (true, None) => answer.status.to_string(),
    }
}
