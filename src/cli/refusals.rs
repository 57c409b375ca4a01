//! What an import did not take, and why: shown, and written to a CSV file for who wants to mend it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::domain::flaw::Flaw;

/// Shown at most; a file gets all.
const SHOWN_MAX: u64 = 20;

#[derive(Debug, Serialize)]
struct Refusal<'a> {
    line: u64,
    field: &'a str,
    reason: &'a str,
}

/// Counts, shows and writes refused rows.
pub struct Refusals {
    file: Option<csv::Writer<File>>,
    rows: u64,
}

impl Refusals {
    /// `path`: where all of them are written, as `line,field,reason`.
    pub fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = path.map(|path| File::create(path).with_context(|| path.display().to_string()));
        Ok(Self { file: file.transpose()?.map(csv::Writer::from_writer), rows: 0 })
    }

    pub fn add(&mut self, line: u64, flaws: &[Flaw], out: &mut dyn Write) -> anyhow::Result<()> {
        self.rows += 1;
        for Flaw { field, detail } in flaws {
            if let Some(file) = &mut self.file {
                file.serialize(Refusal { line, field, reason: detail })?;
            }
            if self.rows <= SHOWN_MAX {
                writeln!(out, "line {line}: {field}: {detail}")?;
            }
        }
        if self.rows == SHOWN_MAX && self.file.is_none() {
            writeln!(out, "... --refused FILE writes all that are refused")?;
        }
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Errs if anything was refused, so that scripts notice.
    pub fn finish(mut self, of: &str) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.flush()?;
        }
        match self.rows {
            0 => Ok(()),
            1 => bail!("1 of the {of} was refused"),
            rows => bail!("{rows} of the {of} were refused"),
        }
    }
}
