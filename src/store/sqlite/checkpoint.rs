//! Checkpoints beside the appends: what stands in the write-ahead log goes into the database file.
//!
//! Left to itself SQLite does it within a commit, every thousand pages: hundreds of scattered writes and
//! an fsync, for which everybody behind that commit waits. Here a connection of its own copies while
//! appends go on, again and again, each time what was appended meanwhile. Only the last few pages, after which
//! the log can begin anew, are copied while the writer stands still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::super::Error;
use super::Writer;
use crate::event::Event;

/// Size of a page; SQLite's default.
const PAGE: usize = 4096;
/// How often the log's size is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Pages from which a checkpoint is worth its fsync: pages that changed several times are copied once.
const WORTH_IT: u64 = 8_192;
/// Pages at which appends wait for the checkpoint that is under way, and how often that is looked at.
const TOO_LONG: u64 = 16_384;
const LOOK: Duration = Duration::from_millis(10);
/// When a round found no more pages than this, those appended meanwhile are few enough for the moment in which
/// the writer stands still.
const LITTLE: i64 = 128;
/// Copies beside the writer before that moment comes anyway.
const ROUNDS: usize = 4;
/// Ticks without a write after which the log is emptied and its file cut to nothing.
const IDLE_TICKS: u32 = 20;
/// How long a checkpoint that wants to begin the log anew waits for readers. Theirs are short.
const PATIENCE: Duration = Duration::from_millis(100);

/// Roughly how many pages went into the log since it was empty.
#[derive(Debug, Default)]
pub(super) struct Written {
    pages: AtomicU64,
    in_bulk: Mutex<()>,
}

impl Written {
    /// A committed batch: its events in a row.
    pub(super) fn batch(&self, batch: &[Event]) {
        let bytes: usize = batch.iter().map(|event| event.body.len() + 512).sum();
        self.pages((2 + bytes / PAGE) as u64);
    }

    /// So many pages.
    pub(super) fn pages(&self, pages: u64) {
        self.pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// Held while many pages go into the log at nobody's request, or out of it: they do not race each other.
    pub(super) async fn in_bulk(&self) -> MutexGuard<'_, ()> {
        self.in_bulk.lock().await
    }

    fn now(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }
}

/// Copies what no reader and no writer is in the way of.
const PASSIVE: &str = "pragma wal_checkpoint(passive)";
/// Copies all, so that the next page is the log's first one.
const RESTART: &str = "pragma wal_checkpoint(restart)";
/// The same, and cuts the log's file to nothing.
const TRUNCATE: &str = "pragma wal_checkpoint(truncate)";

/// What a checkpoint says.
struct Said {
    /// A reader was in the way.
    busy: bool,
    /// Pages in the log when it began.
    pages: i64,
    /// How many of them the database file has.
    copied: i64,
}

/// Checkpoints until something fails; dropped at any moment it leaves nothing half done.
pub(super) async fn run(
    options: &SqliteConnectOptions,
    written: &Written,
    writer: &Mutex<Writer>,
) -> Result<(), Error> {
    let mut connection = options.clone().busy_timeout(PATIENCE).connect().await?;
    // What an earlier run left is cut once, too.
    let (mut before, mut idle, mut is_cut) = (0, 0, false);
    loop {
        sleep(TICK).await;
        let now = written.now();
        if now == before {
            idle += 1;
        } else {
            (idle, is_cut) = (0, false);
        }
        before = now;
        if WORTH_IT <= now {
            let _alone = written.in_bulk().await;
            let still = catch_up(&mut connection, written, writer).await?;
            begin_anew(&mut connection, RESTART, written, still).await?;
        } else if IDLE_TICKS <= idle && !is_cut {
            let still = writer.lock().await;
            is_cut = begin_anew(&mut connection, TRUNCATE, written, still).await?;
        }
    }
}

/// Copies beside the writer, and returns with the writer standing still. That it does before everything is copied
/// where appends come faster than they are copied: the log would only grow.
async fn catch_up<'a>(
    connection: &mut SqliteConnection,
    written: &Written,
    writer: &'a Mutex<Writer>,
) -> Result<MutexGuard<'a, Writer>, Error> {
    let copied = std::pin::pin!(copy(connection));
    // It does not lock: a lock that comes to a future that nobody polls any more is held for ever.
    let outrun = std::pin::pin!(async {
        while written.now() < TOO_LONG {
            sleep(LOOK).await;
        }
    });
    match select(copied, outrun).await {
        Either::Left((done, _)) => {
            done?;
            Ok(writer.lock().await)
        }
        Either::Right(((), copied)) => {
            let still = writer.lock().await;
            copied.await?;
            Ok(still)
        }
    }
}

/// Copies beside the writer, until little is left.
async fn copy(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut before = 0;
    for _ in 0..ROUNDS {
        let said = checkpoint(connection, PASSIVE).await?;
        // With everything copied the writer may have begun the log anew by itself.
        let found = match before <= said.pages {
            true => said.pages - before,
            false => said.pages,
        };
        if found <= LITTLE {
            break;
        }
        before = said.copied;
    }
    Ok(())
}

/// Copies the rest while the writer stands still; whether it did. With a reader in the midst of the log it
/// does not, and is tried again at the next tick.
async fn begin_anew(
    connection: &mut SqliteConnection,
    how: &'static str,
    written: &Written,
    _still: MutexGuard<'_, Writer>,
) -> Result<bool, Error> {
    let done = !checkpoint(connection, how).await?.busy;
    if done {
        written.pages.store(0, Ordering::Relaxed);
    }
    Ok(done)
}

async fn checkpoint(connection: &mut SqliteConnection, how: &'static str) -> Result<Said, Error> {
    let row = sqlx::query(how).fetch_one(connection).await?;
    Ok(Said {
        busy: row.try_get::<i64, _>(0)? != 0,
        pages: row.try_get(1)?,
        copied: row.try_get(2)?,
    })
}
