//! A running PostgreSQL server with its data in a folder of its own.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{eventually, free_port};

pub struct Postgres {
    child: Child,
    pub port: u16,
    _dir: TempDir,
}

impl Postgres {
    /// It loses what it has if the machine stops, and is the faster for it.
    pub fn start() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        // PostgreSQL refuses to run as root; its package made a user for it.
        if let Some((user, group)) = other_user() {
            for path in [dir.path(), &data] {
                chown(path, Some(user), Some(group)).expect("it changes hands");
            }
        }
        let initdb = command("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", "utmost", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output()
            .expect("initdb runs (scripts/test installs it)");
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let port = free_port();
        let child = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1"])
            .arg("-k")
            .arg(dir.path())
            .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=300"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres runs");
        let server = Self { child, port, _dir: dir };
        eventually(Duration::from_secs(30), || {
            let port = server.port.to_string();
            let ready = command("pg_isready").args(["-h", "127.0.0.1", "-p", &port]).output();
            ready.is_ok_and(|output| output.status.success())
        });
        server
    }

    /// The URL of a database on it; `postgres` is there from the start.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://utmost@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown: its own processes end with it.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// The user and group `postgres`, if this process is root.
fn other_user() -> Option<(u32, u32)> {
    let is_root = std::fs::metadata("/proc/self").expect("procfs").uid() == 0;
    is_root.then(|| {
        let users = std::fs::read_to_string("/etc/passwd").expect("users");
        let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user postgres");
        let fields: Vec<&str> = line.split(':').collect();
        (fields[2].parse().expect("a user id"), fields[3].parse().expect("a group id"))
    })
}

fn command(program: &str) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(directory().join(program));
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    // Not every folder that tests run in is one that it may enter.
    command.current_dir("/");
    command
}

/// Debian keeps each version's programs to themselves.
fn directory() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| has_initdb(bin))
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL is installed (scripts/test installs it)")
}

fn has_initdb(bin: &Path) -> bool {
    bin.join("initdb").exists()
}
