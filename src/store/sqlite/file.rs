//! The database's file: made where there is none, and kept to one daemon by a lock file beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions};
use sqlx::{ConnectOptions, Connection};

use super::super::Error;

/// Who opens the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The daemon or a migration: creates the file, and keeps every other one out.
    Exclusive,
    /// A command of an operator that keeps every other one out. The file must be there.
    Alone,
    /// A command of an operator, beside a running daemon. The file must be there.
    Shared,
}

/// The file's one true path, and the lock that goes with the access.
pub(super) async fn open(
    options: &SqliteConnectOptions,
    access: Access,
) -> Result<(PathBuf, Option<FileLock>), Error> {
    let name = options.get_filename();
    let path = match access {
        Access::Exclusive => create(name)?,
        Access::Alone => canonical(expect_there(name)?)?,
        Access::Shared => return Ok((expect_there(name)?.to_path_buf(), None)),
    };
    let lock = lock_file(&path)?;
    if access == Access::Exclusive && path.metadata().is_ok_and(|file| file.len() == 0) {
        lay_out(options).await?;
    }
    Ok((path, Some(lock)))
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|error| file_error(path, error))
}

pub(super) fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.display().to_string(),
        source,
    }
}

/// Creates the file where there is none, readable by its owner alone (it will hold people's data), and
/// returns its one true path, so that two names of one file cannot be two daemons' stores.
fn create(path: &Path) -> Result<PathBuf, Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .and_then(|_| path.canonicalize())
        .map_err(|source| file_error(path, source))
}

/// Writes the first page of an empty file. Later only a rewrite of the file lets it shrink.
async fn lay_out(options: &SqliteConnectOptions) -> Result<(), Error> {
    let options = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
    Ok(options.connect().await?.close().await?)
}

fn expect_there(path: &Path) -> Result<&Path, Error> {
    match path.exists() {
        true => Ok(path),
        false => Err(Error::Schema(format!(
            "there is no database at {}; `hookwell serve` or `hookwell migrate` creates it",
            path.display()
        ))),
    }
}

/// The lock that keeps a second daemon out. Given back by name: closing the file alone leaves it with a copy that a
/// process has which was just started, until that runs its own program.
pub(super) struct FileLock(File);

impl Drop for FileLock {
    fn drop(&mut self) {
        // What cannot be given back ends with the process.
        let _ = self.0.unlock();
    }
}

fn lock_file(database: &Path) -> Result<FileLock, Error> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = File::create(&path).map_err(|source| file_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(format!(
            "another hookwell has {} open; SQLite serves one daemon, use Postgres for several",
            database.display()
        ))),
        Err(TryLockError::Error(source)) => Err(file_error(&path, source)),
    }
}
