//! Gives back the pages that retention and erasure have freed: what stands at the end of the file moves into its holes,
//! a little at a time, and the next checkpoint cuts the file.
//!
//! Some free pages stay, for the next events take them again: a log that loses a day and gets one has nothing to give.
//! It takes a file that was made with `auto_vacuum = incremental`; `hookwell compact` makes an older one so.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Acquire, Connection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::super::Error;
use super::checkpoint::Written;
use super::writer::{Writer, on};
use crate::telemetry::Chain;

/// How often it is looked whether there is something to give back.
const TICK: Duration = Duration::from_secs(1);
/// How long one step may take: appends wait for it.
const STEP: Duration = Duration::from_millis(10);
/// From the end of a step to the next one: a fifth of the writer's time is enough.
const PAUSE: Duration = STEP.saturating_mul(4);
/// The pages of one statement, a small part of a step: where millions are free, SQLite takes milliseconds to find one.
const PAGES: u64 = 4;
const MOVE_PAGES: &str = "pragma incremental_vacuum(4)";

/// Gives back for ever; dropped at any moment it leaves nothing half done.
pub(super) async fn run(writer: &Mutex<Writer>, written: &Written) {
    loop {
        let alone = written.in_bulk().await;
        let more = step(&mut *writer.lock().await, written).await;
        drop(alone);
        let more = more.unwrap_or_else(|error| {
            tracing::debug!(error = %Chain(&error), "free pages are not given back now");
            false
        });
        sleep(if more { PAUSE } else { TICK }).await;
    }
}

/// One transaction; whether there is more to give back.
async fn step(writer: &mut Writer, written: &Written) -> Result<bool, Error> {
    on!(writer, Later, connection => async {
        if !has_surplus(connection).await? {
            return Ok(false);
        }
        let began = Instant::now();
        let mut transaction = connection.begin_with("begin immediate").await?;
        let mut more = true;
        while more && began.elapsed() < STEP {
            sqlx::query(MOVE_PAGES).execute(&mut *transaction).await?;
            // Each page, and who points to it.
            written.pages(2 * PAGES);
            more = has_surplus(transaction.acquire().await?).await?;
        }
        transaction.commit().await?;
        Ok(more)
    })
}

/// Whether more pages are free than an eighth of the file and 16 MiB.
async fn has_surplus(connection: &mut SqliteConnection) -> Result<bool, Error> {
    let found: Option<i64> = sqlx::query_scalar(
        "select freelist_count from pragma_freelist_count, pragma_page_count, pragma_auto_vacuum \
         where auto_vacuum = 2 and freelist_count > max(4096, page_count / 8)",
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}
