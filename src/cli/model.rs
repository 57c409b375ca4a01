//! `utmost model MODEL PATHS.csv`: the analyst's models over any file of paths, without a server.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path as FilePath, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use crate::attribution::markov::markov;
use crate::attribution::models::{Model, ModelRules, credit_paths};
use crate::attribution::paths::{KeyCredit, Path, Transform, read_paths};
use crate::attribution::shapley::shapley;

/// Share the conversions of a file of paths out among their keys
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// How conversions are shared out
    #[arg(value_parser = rule_parser())]
    model: Rule,
    /// CSV with the columns path (keys with " > " between them), total_conversions and perhaps
    /// total_conversion_value, total_null; - reads standard input
    #[arg(value_name = "PATHS.csv")]
    paths: PathBuf,
    /// How many keys a state of markov remembers, 1 to 3 [default: 1]
    #[arg(long)]
    order: Option<usize>,
    /// Rank the keys by value instead of by conversions
    #[arg(long)]
    value: bool,
    /// What becomes of repeated keys: exposure makes neighbours that are alike one touch, first keeps
    /// only the first touch of each key, unique (or none) keeps all [default: exposure for markov and
    /// shapley, unique for the others]
    #[arg(long, value_parser = transform_parser())]
    transform: Option<Transform>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Reads the paths, credits the keys and writes them, the best first.
///
/// Errors: a file that cannot be read or holds no paths (with line and column), a model that needs what
/// paths do not carry, an option that does not fit the model.
pub fn run(args: &ModelArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let order = match (args.model, args.order) {
        (Rule::Markov, order) => Some(order.unwrap_or(1)),
        (_, None) => None,
        (_, Some(_)) => bail!("--order only belongs to markov"),
    };
    let transform = args.transform.unwrap_or(match args.model {
        Rule::Markov | Rule::Shapley => Transform::Exposure,
        Rule::Touches(_) => Transform::Unique,
    });
    if args.model == Rule::Touches(Model::TimeDecay) {
        bail!(
            "time_decay needs the time of each touch, and a file of paths has none; `utmost report attribution` knows them"
        );
    }

    let paths = transform.apply(read(&args.paths)?);
    let mut credits = match args.model {
        Rule::Markov => markov(&paths, order.unwrap_or(1))?,
        Rule::Shapley => shapley(&paths),
        Rule::Touches(model) => credit_paths(model, &paths, &ModelRules::default()),
    };
    let rank = |credit: &KeyCredit| if args.value { credit.value } else { credit.conversions };
    credits.sort_by(|a, b| rank(b).total_cmp(&rank(a)));

    match args.format {
        Format::Table => write_table(&credits, out)?,
        Format::Csv => write_csv(&credits, out)?,
        Format::Json => {
            let head =
                json!({ "model": args.model.as_str(), "order": order, "transform": transform.as_str() });
            write_json(head, &credits, out)?;
        }
    }
    Ok(())
}

/// Any model that can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Markov,
    Shapley,
    Touches(Model),
}

impl Rule {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Markov, Self::Shapley].into_iter().chain(Model::ALL.map(Self::Touches))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Markov => "markov",
            Self::Shapley => "shapley",
            Self::Touches(model) => model.as_str(),
        }
    }
}

fn rule_parser() -> impl TypedValueParser<Value = Rule> {
    PossibleValuesParser::new(Rule::all().map(Rule::as_str))
        .map(|name| Rule::all().find(|rule| rule.as_str() == name).expect("only names of rules are possible"))
}

fn transform_parser() -> impl TypedValueParser<Value = Transform> {
    PossibleValuesParser::new(["exposure", "first", "unique", "none"]).map(|name| match name.as_str() {
        "exposure" => Transform::Exposure,
        "first" => Transform::First,
        _ => Transform::Unique,
    })
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

fn read(file: &FilePath) -> anyhow::Result<Vec<Path>> {
    if file == "-" {
        return read_paths(io::stdin().lock()).context("standard input");
    }
    let name = || file.display().to_string();
    read_paths(BufReader::new(File::open(file).with_context(name)?)).with_context(name)
}

const KEY: &str = "key";
/// The columns of numbers, with the digits that the table shows.
const NUMBERS: [(&str, usize); 4] =
    [("conversions", 4), ("value", 2), ("removal_effect_conversions", 6), ("removal_effect_value", 6)];

/// The numbers of a row; the removal effects only where the model has them.
fn numbers(credit: &KeyCredit) -> Vec<f64> {
    let effect = credit.removal_effect;
    [credit.conversions, credit.value]
        .into_iter()
        .chain(effect.into_iter().flat_map(|e| [e.conversions, e.value]))
        .collect()
}

fn total(credits: &[KeyCredit]) -> KeyCredit {
    KeyCredit {
        key: "total".to_owned(),
        conversions: credits.iter().map(|c| c.conversions).sum(),
        value: credits.iter().map(|c| c.value).sum(),
        removal_effect: None,
    }
}

fn write_table(credits: &[KeyCredit], out: &mut dyn Write) -> io::Result<()> {
    let total = total(credits);
    let columns = credits.iter().map(|c| numbers(c).len()).max().unwrap_or(2);
    let cells = |credit: &KeyCredit| -> Vec<String> {
        let shown = numbers(credit).into_iter().zip(NUMBERS).map(|(n, (_, digits))| format!("{n:.digits$}"));
        std::iter::once(credit.key.clone()).chain(shown).collect()
    };
    let header =
        std::iter::once(KEY).chain(NUMBERS[..columns].iter().map(|(name, _)| *name)).map(str::to_owned);
    let rows: Vec<Vec<String>> = std::iter::once(header.collect())
        .chain(credits.iter().map(cells))
        .chain(std::iter::once(cells(&total)))
        .collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=columns).map(width).collect();
    for row in &rows {
        write!(out, "{:<1$}", row[0], widths[0])?;
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// All digits, no total: made to be read by programs.
fn write_csv(credits: &[KeyCredit], out: &mut dyn Write) -> csv::Result<()> {
    let columns = credits.first().map_or(2, |c| numbers(c).len());
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(std::iter::once(KEY).chain(NUMBERS[..columns].iter().map(|(name, _)| *name)))?;
    for credit in credits {
        csv.write_record(
            std::iter::once(credit.key.clone()).chain(numbers(credit).iter().map(f64::to_string)),
        )?;
    }
    csv.flush()?;
    Ok(())
}

fn write_json(mut head: Value, credits: &[KeyCredit], out: &mut dyn Write) -> io::Result<()> {
    let row = |credit: &KeyCredit| {
        let mut row = json!({ KEY: credit.key });
        for ((name, _), number) in NUMBERS.iter().zip(numbers(credit)) {
            row[*name] = json!(number);
        }
        row
    };
    head["rows"] = credits.iter().map(row).collect();
    let total = total(credits);
    head["totals"] = json!({ "conversions": total.conversions, "value": total.value });
    serde_json::to_writer_pretty(&mut *out, &head)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        model: ModelArgs,
    }

    /// What a command line answers, to a file of two paths that convert and one that does not.
    fn answer(line: &str) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let csv = "path;total_conversions;total_conversion_value;total_null\n\
                   blog > ads > ads;3;100;1\nads;1;50.5;5\nmail > blog;0;0;2\n";
        file.write_all(csv.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let words = line.split_whitespace().map(|word| if word == "FILE" { path } else { word });
        let mut out = Vec::new();
        let result = Cli::try_parse_from(std::iter::once("model").chain(words))
            .map_err(anyhow::Error::from)
            .and_then(|cli| run(&cli.model, &mut out));
        match result {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(error) => format!("{error:#}").replace(path, "FILE"),
        }
    }

    #[test]
    fn tables_are_ranked_and_totalled() {
        insta::assert_snapshot!(answer("markov FILE"), @r"
        key    conversions   value  removal_effect_conversions  removal_effect_value
        ads         2.6087   98.15                    1.000000              1.000000
        blog        1.0435   39.26                    0.400000              0.400000
        mail        0.3478   13.09                    0.133333              0.133333
        total       4.0000  150.50
        ");
        insta::assert_snapshot!(answer("first_touch FILE --value"), @r"
        key    conversions   value
        blog        3.0000  100.00
        ads         1.0000   50.50
        mail        0.0000    0.00
        total       4.0000  150.50
        ");
        insta::assert_snapshot!(answer("shapley FILE"), @r"
        key    conversions   value
        ads         2.5000  100.50
        blog        1.5000   50.00
        mail        0.0000    0.00
        total       4.0000  150.50
        ");
    }

    #[test]
    fn programs_get_all_digits() {
        insta::assert_snapshot!(answer("markov FILE --order 2 --transform none --format csv"), @r"
        key,conversions,value,removal_effect_conversions,removal_effect_value
        ads,2.2857142857142856,90.42015968063872,1,1
        blog,1.7142857142857142,60.07984031936129,0.75,0.6644518272425249
        mail,0,0,0,0
        ");
        insta::assert_snapshot!(answer("linear FILE --transform exposure --format json"), @r#"
        {
          "model": "linear",
          "order": null,
          "rows": [
            {
              "conversions": 2.5,
              "key": "ads",
              "value": 100.5
            },
            {
              "conversions": 1.5,
              "key": "blog",
              "value": 50.0
            },
            {
              "conversions": 0.0,
              "key": "mail",
              "value": 0.0
            }
          ],
          "totals": {
            "conversions": 4.0,
            "value": 150.5
          },
          "transform": "exposure"
        }
        "#);
    }

    #[test]
    fn a_hyphen_is_a_file() {
        let cli = Cli::try_parse_from(["model", "markov", "-"]).unwrap();
        assert_eq!(cli.model.paths, FilePath::new("-"));
    }

    #[test]
    fn errors_say_what_to_do() {
        let check = |line: &str, expected: &str| {
            let got = answer(line);
            assert!(got.contains(expected), "{line}: {got}");
        };
        check("time_decay FILE", "time_decay needs the time of each touch");
        check("shapley FILE --order 2", "--order only belongs to markov");
        check("markov FILE --order 4", "1 to 3");
        check("markov FILE.csv", "No such file");
        check("guess FILE", "[possible values: markov, shapley, first_touch");
        check("markov FILE --transform twice", "[possible values: exposure, first, unique, none]");
    }
}
