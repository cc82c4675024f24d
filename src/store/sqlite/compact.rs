//! Rewrites the file without its free pages, at a person's wish and with no daemon about.

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::super::{Census, Compacted, Error};
use super::SqliteStore;
use super::file::file_error;

impl SqliteStore {
    /// Rewrites it; from then on it gives free pages back by itself. Ended in the midst of it the file is as before.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when there is too little, [`Error::InUse`] when somebody else reads the file.
    pub async fn compact(&self) -> Result<Compacted, Error> {
        let before = self.bytes()?;
        let folder = self.path.parent().unwrap_or(&self.path).display();
        let folder = folder.to_string().replace('\'', "''");
        let mut connection = self
            .options
            .clone()
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            // Otherwise what is kept is put together in /tmp, which may be small.
            .pragma("temp_store_directory", format!("'{folder}'"))
            .connect()
            .await?;
        // Once put together, and once in the write-ahead log.
        let needed = 2 * kept(&mut connection).await?;
        let needed = needed + needed / 16;
        if let Some(disk) = self.disk()
            && disk.free < needed
        {
            return Err(Error::NoRoom(format!(
                "{} cannot be rewritten: that takes {} MiB beside it, and {} MiB are free",
                self.path.display(),
                needed.div_ceil(MIB),
                disk.free / MIB
            )));
        }
        sqlx::query("vacuum").execute(&mut connection).await?;
        let (is_busy, _, _): (bool, i64, i64) = sqlx::query_as("pragma wal_checkpoint(truncate)")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        if is_busy {
            return Err(Error::InUse(format!(
                "{} is rewritten, and another process reads it: it gets smaller at the next start of a daemon",
                self.path.display()
            )));
        }
        Ok(Compacted {
            before,
            after: self.bytes()?,
        })
    }

    /// Bytes of the file, and of what waits to go into it.
    fn bytes(&self) -> Result<u64, Error> {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        let file = std::fs::metadata(&self.path).map_err(|error| file_error(&self.path, error))?;
        Ok(file.len() + std::fs::metadata(log).map_or(0, |log| log.len()))
    }
}

const MIB: u64 = 1024 * 1024;

/// Bytes of the pages that are in use.
async fn kept(connection: &mut SqliteConnection) -> Result<u64, Error> {
    let kept: i64 = sqlx::query_scalar(
        "select (page_count - freelist_count) * page_size \
         from pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    .fetch_one(connection)
    .await?;
    u64::try_from(kept).map_err(|_| Error::Corrupt("the count of pages"))
}
