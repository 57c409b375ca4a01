//! What an installation makes for itself at first start and keeps in `data_dir`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::domain::keys::KeyRing;
use crate::domain::time;

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("data_dir {path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error(
        "data_dir {0} is in use by another utmost; give each its own, or use Redis and PostgreSQL to share"
    )]
    InUse(PathBuf),
    #[error("{path} is damaged: {problem}")]
    Damaged { path: PathBuf, problem: String },
}

/// A data directory that this process holds alone.
pub struct DataDir {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Creates it if it is missing, and takes hold of it.
    pub fn hold(path: &Path) -> Result<Self, DataDirError> {
        let io = |cause| DataDirError::Io { path: path.to_path_buf(), cause };
        std::fs::create_dir_all(path).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_path_buf())),
            Err(TryLockError::Error(cause)) => Err(io(cause)),
        }
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The secret keys, made at first start. Whoever loses them loses its visitors and customers.
    pub fn key_ring(&self) -> Result<KeyRing, DataDirError> {
        let fresh = || {
            toml::to_string(&KeyRing::generate(time::now_ms())).map_err(|problem| DataDirError::Damaged {
                path: self.join("keys.toml"),
                problem: problem.to_string(),
            })
        };
        let text = self.read_or_make("keys.toml", fresh)?;
        toml::from_str(&text).map_err(|problem: toml::de::Error| DataDirError::Damaged {
            path: self.join("keys.toml"),
            problem: problem.message().to_owned(),
        })
    }

    /// The administration key, made at first start. The flag says that it is new, so that it can be shown once.
    pub fn admin_key(&self, make: impl FnOnce() -> String) -> Result<(String, bool), DataDirError> {
        let mut made = false;
        let key = self.read_or_make("admin.key", || {
            made = true;
            Ok(make())
        })?;
        Ok((key.trim().to_owned(), made))
    }

    /// A file readable by its owner only; written whole and durable before its name appears.
    fn read_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String, DataDirError>,
    ) -> Result<String, DataDirError> {
        let path = self.join(name);
        let io = |cause| DataDirError::Io { path: self.join(name), cause };
        match std::fs::read_to_string(&path) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        let text = make()?;
        let partial = self.join(&format!("{name}.new"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&partial)
            .map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&partial, &path).map_err(io)?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(io)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_only_one_holds_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let held = DataDir::hold(&path).unwrap();
        assert!(matches!(DataDir::hold(&path), Err(DataDirError::InUse(_))));
        let visitor = held.key_ring().unwrap().visitor_id("w", b"c");
        assert_eq!(held.admin_key(|| "first".into()).unwrap(), ("first".into(), true));
        drop(held);
        let held = DataDir::hold(&path).unwrap();
        assert_eq!(held.key_ring().unwrap().visitor_id("w", b"c"), visitor);
        assert_eq!(held.admin_key(|| "second".into()).unwrap(), ("first".into(), false));
        let mode = std::fs::metadata(path.join("keys.toml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(path.join("keys.toml"), "visitor = 1").unwrap();
        assert!(matches!(held.key_ring(), Err(DataDirError::Damaged { .. })));
    }
}
