//! The log's partitions: the next one is there before it is wanted, and an old one goes as a whole.
//!
//! A row that is deleted leaves its space to the table; a table that is dropped gives it back, and costs the
//! same however much was in it. What has to stay is moved to `events_kept` first.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row, SqlSafeStr};
use tokio::time::sleep;

use super::locked;
use super::{PostgresStore, pooled, server_time};
use crate::event::{Micros, Position};
use crate::store::{Cutoff, Error};
use crate::telemetry::Chain;

/// Between two looks at whether a partition is wanted.
const LOOK: Duration = Duration::from_secs(5);
/// Positions of a partition: at least what comes at 5,000 a second while ten looks fail.
const SMALLEST: i64 = 250_000;
const LARGEST: i64 = 50_000_000;
/// How long a partition is meant to last, in µs: with the week for which events are kept there are about eight.
const LASTS: i64 = 24 * 3_600 * 1_000_000;
/// Rows that outlive a partition are copied; with more of them it stays.
const MOST_KEPT: i64 = 10_000;
/// The same of its bytes: they are written while nobody can append.
const MOST_KEPT_BYTES: i64 = 32 * 1024 * 1024;
/// Statements for all of the log wait in line behind one that waits for its lock.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '300ms'";

/// Adds partitions as they are wanted. Runs until it is dropped.
pub(super) async fn keep_ahead(store: &PostgresStore) {
    loop {
        match add(store).await {
            Ok(Some(from)) => tracing::debug!(position = from, "a partition was added to the log"),
            Ok(None) => (),
            Err(error) if is_lock_timeout(&error) => (),
            Err(error) => tracing::warn!(
                error = %Chain(&error),
                "no partition could be added to the log; without one, events go to events_kept and are removed one by one"
            ),
        }
        sleep(LOOK).await;
    }
}

/// Adds the next one once the last one is in use.
async fn add(store: &PostgresStore) -> Result<Option<i64>, Error> {
    pooled!(store, connection => async {
        let mut begun = connection.begin().await?;
        let last = sqlx::query(
            "select h.position as head, p.from_position, p.upto_position, p.made_at from log_head h, event_partitions p \
             order by p.from_position desc limit 1",
        )
        .fetch_optional(&mut *begun)
        .await?
        .ok_or(Error::Corrupt("event_partitions"))?;
        let (head, from, upto): (i64, i64, i64) =
            (last.try_get("head")?, last.try_get("from_position")?, last.try_get("upto_position")?);
        if head < from || !is_mine(&mut begun).await? {
            return Ok(None);
        }
        let now = server_time(&mut begun).await?;
        let size = size(head - from, now.0.saturating_sub(last.try_get("made_at")?));
        // Past the end already: what is in events_kept by now stays there.
        let from = if head < upto - 1 { upto } else { upto.max(head + SMALLEST) };
        let (name, upto) = (format!("events_{from}"), from + size);
        sqlx::query(LOCK_TIMEOUT).execute(&mut *begun).await?;
        // Attached, not created as a partition: that would lock the log against everybody.
        run(&mut begun, format!("create table {name} (like events including all)")).await?;
        run(&mut begun, format!("alter table events attach partition {name} for values from ({from}) to ({upto})")).await?;
        sqlx::query("insert into event_partitions (from_position, upto_position, name, made_at) values ($1, $2, $3, $4)")
            .bind(from)
            .bind(upto)
            .bind(name)
            .bind(now.0)
            .execute(&mut *begun)
            .await?;
        begun.commit().await?;
        Ok(Some(from))
    })
}

/// What lasts for a day at the rate of the last partition.
fn size(came: i64, micros: i64) -> i64 {
    let a_day = i128::from(came) * i128::from(LASTS) / i128::from(micros.max(1));
    i64::try_from(a_day)
        .unwrap_or(LARGEST)
        .clamp(SMALLEST, LARGEST)
}

/// Before which moment events go one by one. Where they are kept for days, those of a partition that will soon go as a
/// whole are left to it, for two more days; where little comes, a partition lasts longer than that.
pub(super) fn singly_before(cutoff: &Cutoff) -> Micros {
    let kept = cutoff.now.0.saturating_sub(cutoff.bodies_before.0);
    let waits = if kept >= 4 * LASTS { 2 * LASTS } else { 0 };
    Micros(cutoff.bodies_before.0.saturating_sub(waits))
}

/// Drops the oldest partition that may go: all of it is old and behind every reader, and little of it has to stay. The
/// number of its positions that are gone.
pub(super) async fn drop_oldest(store: &PostgresStore, cutoff: &Cutoff) -> Result<u64, Error> {
    let longest = cutoff.bodies_before_of.iter().map(|(_, before)| *before);
    let before = longest.fold(cutoff.bodies_before, Micros::min);
    let dropped = pooled!(store, connection => async {
        let mut begun = connection.begin().await?;
        if !is_mine(&mut begun).await? {
            return Ok(0);
        }
        for passed in Passed::find(&mut begun).await? {
            if !passed.is_over(&mut begun, before).await? {
                break;
            }
            let kept = passed.kept(&mut begun).await?;
            // Its rows go one by one; those behind it need not wait for that.
            if i64::try_from(kept.len()).unwrap_or(i64::MAX) > MOST_KEPT
                || passed.bytes_of(&mut begun, &kept).await? > MOST_KEPT_BYTES
            {
                continue;
            }
            passed.drop(&mut begun, &kept).await?;
            begun.commit().await?;
            tracing::info!(partition = passed.name, kept = kept.len(), "a partition of the log is old and was dropped");
            let gone = passed.upto.0 - passed.from.0 - i64::try_from(kept.len()).unwrap_or(0);
            return Ok(u64::try_from(gone).unwrap_or(0));
        }
        Ok(0)
    });
    match dropped {
        // Next time.
        Err(error) if is_lock_timeout(&error) => Ok(0),
        dropped => dropped,
    }
}

/// A partition that readers and appends are past.
struct Passed {
    from: Position,
    upto: Position,
    name: String,
}

impl Passed {
    /// The oldest first.
    async fn find(conn: &mut PgConnection) -> Result<Vec<Self>, Error> {
        let rows = sqlx::query(
            "select from_position, upto_position, name from event_partitions \
             where upto_position <= (select position from log_head) \
               and upto_position <= (select min(position) + 1 from cursors where reader <> 'census') \
             order by from_position limit 100",
        )
        .fetch_all(conn)
        .await?;
        let passed = rows.iter().map(|row| {
            Ok(Self {
                from: Position(row.try_get("from_position")?),
                upto: Position(row.try_get("upto_position")?),
                name: row.try_get("name")?,
            })
        });
        passed.collect()
    }

    /// Whether the newest of it is old. Events come about in the order of their times.
    async fn is_over(&self, conn: &mut PgConnection, before: Micros) -> Result<bool, Error> {
        let newest: Option<i64> = sqlx::query_scalar(AssertSqlSafe(format!(
            "select max(received_at) from (select received_at from {} order by position desc limit 1000) last",
            self.name
        )).into_sql_str())
        .fetch_one(conn)
        .await?;
        Ok(newest.is_none_or(|newest| newest < before.0))
    }

    /// What has to stay, one more than may at most.
    async fn kept(&self, conn: &mut PgConnection) -> Result<Vec<i64>, Error> {
        let kept = sqlx::query_scalar(
            "select position from dead_letters where position >= $1 and position < $2 \
             union select position from held_events where position >= $1 and position < $2 \
             union select position from follow_ups where position >= $1 and position < $2 and state in ('pending', 'dead') \
             limit $3",
        )
        .bind(self.from.0)
        .bind(self.upto.0)
        .bind(MOST_KEPT + 1)
        .fetch_all(conn)
        .await?;
        Ok(kept)
    }

    /// How much of it these are. Their bodies are not read for that.
    async fn bytes_of(&self, conn: &mut PgConnection, kept: &[i64]) -> Result<i64, Error> {
        let sizes = format!(
            "select coalesce(sum(octet_length(body)), 0)::bigint from {} where position = any($1)",
            self.name
        );
        Ok(sqlx::query_scalar(AssertSqlSafe(sizes).into_sql_str())
            .bind(kept)
            .fetch_one(conn)
            .await?)
    }

    async fn drop(&self, conn: &mut PgConnection, kept: &[i64]) -> Result<(), Error> {
        let name = &self.name;
        sqlx::query(LOCK_TIMEOUT).execute(&mut *conn).await?;
        run(conn, format!("alter table events detach partition {name}")).await?;
        // Where no partition is, they go to events_kept.
        let moved = format!("insert into events select * from {name} where position = any($1)");
        sqlx::query(AssertSqlSafe(moved).into_sql_str())
            .bind(kept)
            .execute(&mut *conn)
            .await?;
        run(conn, format!("drop table {name}")).await?;
        sqlx::query("delete from event_partitions where from_position = $1")
            .bind(self.from.0)
            .execute(conn)
            .await?;
        Ok(())
    }
}

/// Somebody reads the log for long.
fn is_lock_timeout(error: &Error) -> bool {
    matches!(error, Error::Unavailable(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03"))
}

/// Whether this transaction is the one that changes partitions.
async fn is_mine(conn: &mut PgConnection) -> Result<bool, Error> {
    let asked = sqlx::query_scalar("select pg_try_advisory_xact_lock($1, $2)")
        .bind(locked::CLASS)
        .bind(locked::PARTITIONS);
    Ok(asked.fetch_one(conn).await?)
}

async fn run(conn: &mut PgConnection, sql: String) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sql).into_sql_str())
        .execute(conn)
        .await?;
    Ok(())
}
