//! Moving in and out by the real binary: links and orders of other systems, and what `doctor` says.

mod doctor;
mod links;
mod orders;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A finished run of `utmost`.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `utmost` on the stores in `dir`, as `Server::start` uses them.
pub fn utmost(dir: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_utmost"))
        .args(arguments)
        .current_dir(dir)
        .env("UTMOST_AUTH__ADMIN_KEY", support::ADMIN_KEY)
        .env("UTMOST_DATA_DIR", dir.join("data"))
        .env("UTMOST_LOG__LEVEL", "error")
        .envs(env.iter().copied())
        .output()
        .expect("the binary runs");
    Run {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

pub fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    path.to_str().expect("a path in UTF-8").to_owned()
}
