//! The log on Postgres, for any number of daemons.
//!
//! Appends go through one connection of their own, as one call of `append_events` each: no client round
//! trip happens while that function holds its lock. A connection whose answer did not come is thrown
//! away, never returned to a pool, so nothing half-done is inherited.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::schema;
use super::{
    Appended, Cutoff, DeadLetter, Error, HeldTenant, Ledger, Migrated, Pruned, QuarantineBounds,
    Quarantined, RELAY, Refused, RelayReader, Schema, Selection, Store, Sweep,
};
use crate::event::{Event, Micros, Position, Recorded};
use crate::failpoints;
use crate::telemetry::Chain;

use locked::Locked;
use reader::PostgresRelayReader;

mod append;
mod census;
mod erasure;
mod follow_ups;
mod gaps;
mod installations;
mod listing;
mod locked;
mod partitions;
mod pooler;
mod reader;
mod replays;
mod statements;
mod subscriptions;

/// The log on Postgres.
pub struct PostgresStore {
    options: PgConnectOptions,
    /// For everything but appends and readers. Each use is a statement, or a transaction.
    pool: PgPool,
    appender: Mutex<Option<PgConnection>>,
    deadline: Duration,
    /// Where the sweeps of retention stand.
    sweep: Sweep,
}

impl PostgresStore {
    /// Connects and checks that the server keeps what it acknowledges.
    ///
    /// `deadline` bounds every statement, here and at the server (`statement_timeout`).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached, [`Error::NotDurable`] when `fsync`,
    /// `synchronous_commit` or `full_page_writes` is off, [`Error::SharedSessions`] behind a pooler that lends
    /// sessions by the transaction.
    pub async fn open(url: &str, deadline: Duration) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("hookwell")
            // It is about numbers that are read as text, which none is, and poolers do not know it.
            .extra_float_digits(None)
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .min_connections(0)
            .max_connections(4)
            .acquire_timeout(deadline)
            .after_connect(move |connection, _| Box::pin(set_up_pooled(connection, deadline)))
            .connect_lazy_with(options.clone());
        let store = Self {
            options,
            pool,
            appender: Mutex::new(None),
            deadline,
            sweep: Sweep::default(),
        };
        let mut connection = store.dial().await?;
        store.refuse_poolers(&mut connection).await?;
        let connection = store.made_ready(connection).await?;
        *store.appender.lock().await = Some(connection);
        Ok(store)
    }

    /// Brings the schema up to date, once however many daemons start together (sqlx takes an advisory
    /// lock).
    ///
    /// # Errors
    /// [`Error::Schema`] when the schema is newer and not for this binary.
    pub async fn migrate(&self) -> Result<Migrated, Error> {
        let mut connection = self.dial().await?;
        let before = bounded(self.deadline, async {
            set_up(&mut connection, self.deadline).await?;
            // A migration may take longer than a statement of the daily work.
            connection.execute("set statement_timeout = 0").await?;
            Ok(schema::found!(&mut connection))
        });
        let before = before.await?;
        before.expect_compatible()?;
        let migrator = schema::migrations!("postgres");
        migrator
            .run(&mut connection)
            .await
            .map_err(schema::migration_error)?;
        let now = bounded(self.deadline, async { Ok(schema::found!(&mut connection)) });
        let migrated = before.migrated_to(now.await?)?;
        #[cfg(feature = "failpoints")]
        if failpoints::mutant("mutant.M7") {
            let sql = include_str!("../../tests/faults/mutants/M7.sql");
            sqlx::raw_sql(sql).execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(migrated)
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        self.made_ready(self.dial().await?).await
    }

    async fn dial(&self) -> Result<PgConnection, Error> {
        let dialled = async { Ok(PgConnection::connect_with(&self.options).await?) };
        bounded(self.deadline, dialled).await
    }

    async fn refuse_poolers(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let mut other = self.dial().await?;
        let looked = pooler::refuse_shared_sessions(connection, &mut other);
        bounded(self.deadline, looked).await?;
        Ok(other.close().await?)
    }

    /// The same connection, set up and found good.
    async fn made_ready(&self, mut connection: PgConnection) -> Result<PgConnection, Error> {
        let made_ready = async {
            set_up(&mut connection, self.deadline).await?;
            expect_durable(&mut connection).await?;
            Ok(connection)
        };
        bounded(self.deadline, made_ready).await
    }
}

/// Bounds what is asked of the server.
async fn bounded<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    timeout(deadline, work)
        .await
        .map_err(|_| Error::Deadline(deadline))?
}

/// What is committed through the pool, such as a pair of tokens, is to be kept like an event, whatever a reload took away or
/// takes away later: the session holds its own value. Refusing, as the appends do, would only make the pool try again.
async fn set_up_pooled(
    connection: &mut PgConnection,
    deadline: Duration,
) -> Result<(), sqlx::Error> {
    set_up(connection, deadline).await?;
    sqlx::query(
        "select set_config(name, case setting when 'off' then 'on' else setting end, false) \
         from pg_settings where name = 'synchronous_commit'",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Refuses a server that does not keep what it acknowledges.
async fn expect_durable(connection: &mut PgConnection) -> Result<(), Error> {
    // Once found good, synchronous_commit is held for the session: a reload must not take it away.
    let row = sqlx::query(
        "select current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes, \
         set_config('synchronous_commit', current_setting('synchronous_commit'), false) as synchronous_commit, \
         pg_is_in_recovery() as standby, current_setting('transaction_read_only') as read_only",
    )
    .fetch_one(connection)
    .await?;
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        if row.try_get::<String, _>(setting)? == "off" && !failpoints::mutant("mutant.M2") {
            return Err(Error::NotDurable(format!(
                "Postgres has {setting} = off, so a crash loses committed events; \
                 set it to on (ALTER SYSTEM SET {setting} = on, or ALTER ROLE/DATABASE ... RESET {setting}) and reload"
            )));
        }
    }
    if row.try_get::<bool, _>("standby")? || row.try_get::<String, _>("read_only")? == "on" {
        return Err(Error::NotDurable(
            "this Postgres is a read-only standby; point store.url at the primary".to_owned(),
        ));
    }
    Ok(())
}

/// Sets up a session. Not by options of its start, of which poolers take none.
async fn set_up(connection: &mut PgConnection, deadline: Duration) -> Result<(), sqlx::Error> {
    let deadline = format!("{}ms", deadline.as_millis());
    let (names, values): (Vec<&str>, Vec<&str>) = [
        ("statement_timeout", deadline.as_str()),
        ("idle_in_transaction_session_timeout", &deadline),
        ("client_min_messages", "warning"),
        // The server looks whether a daemon is still there that vanished without a word.
        ("tcp_keepalives_idle", "10s"),
        ("tcp_keepalives_interval", "5s"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "25s"),
        // Every statement is short; compiling one takes longer than running it.
        ("jit", "off"),
    ]
    .into_iter()
    .chain(failpoints::mutant("mutant.M2").then_some(("synchronous_commit", "off")))
    .unzip();
    sqlx::query(
        "select set_config(name, value, false) from unnest($1, $2) as wanted (name, value)",
    )
    .bind(names)
    .bind(values)
    .execute(connection)
    .await?;
    Ok(())
}

/// Runs statements on a connection of the pool, within the deadline. A connection whose answer did not
/// come is thrown away, not given back.
macro_rules! pooled {
    ($store:expr, $connection:ident => $work:expr) => {{
        let mut pooled = $store.pool.acquire().await?;
        let answer = {
            let $connection = &mut *pooled;
            ::tokio::time::timeout($store.deadline, $work).await
        };
        match answer {
            Ok(answer) => answer,
            Err(_) => {
                drop(pooled.detach());
                Err($crate::store::Error::Deadline($store.deadline))
            }
        }
    }};
}

use pooled;

/// The server's time.
async fn server_time(connection: &mut PgConnection) -> Result<Micros, Error> {
    let now =
        sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
            .fetch_one(connection)
            .await?;
    Ok(Micros(now))
}

/// Runs statements in a transaction, with the server's time.
macro_rules! transaction {
    ($store:expr, $transaction:ident, $now:ident => $work:expr) => {
        $crate::store::postgres::pooled!($store, connection => async {
            let mut begun = ::sqlx::Connection::begin(connection).await?;
            let $now = $crate::store::postgres::server_time(&mut begun).await?;
            let $transaction = &mut *begun;
            let answer = $work.await?;
            begun.commit().await?;
            Ok(answer)
        })
    };
}
use transaction;

/// Runs a statement on the connection of the appends, within the deadline. Only one that answered goes back into its slot.
macro_rules! appending {
    ($store:expr, $connection:ident => $work:expr) => {{
        let mut slot = $store.appender.lock().await;
        let mut taken = match slot.take() {
            Some(connection) => connection,
            None => $store.connect().await?,
        };
        let answer = {
            let $connection = &mut taken;
            bounded($store.deadline, $work).await?
        };
        *slot = Some(taken);
        Ok(answer)
    }};
}

#[async_trait]
impl Store for PostgresStore {
    async fn schema(&self) -> Result<Schema, Error> {
        pooled!(self, connection => async { schema::found!(connection).expect_usable() })
    }

    async fn append(&self, batch: &[Event]) -> Result<Vec<Appended>, Error> {
        if failpoints::mutant("mutant.M5") {
            return append::through_pool(&self.pool, batch).await;
        }
        appending!(self, connection => append::append(connection, batch))
    }

    async fn relay_reader(&self) -> Result<Option<Box<dyn RelayReader>>, Error> {
        let locked = Locked::lock(self.connect().await?, locked::RELAY, self.deadline).await?;
        Ok(locked.map(|locked| Box::new(PostgresRelayReader(locked)) as Box<dyn RelayReader>))
    }

    async fn ledger(&self) -> Result<Ledger, Error> {
        pooled!(self, connection => statements::ledger(connection))
    }

    async fn event_at(&self, position: Position) -> Result<Option<Recorded>, Error> {
        pooled!(self, connection => statements::event_at(connection, position))
    }

    async fn positions_of(&self, key: &str) -> Result<Vec<Position>, Error> {
        pooled!(self, connection => statements::positions_of(connection, key))
    }

    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, Error> {
        pooled!(self, connection => statements::dead_letters(connection, limit))
    }

    async fn dead_letter(&self, position: Position) -> Result<Option<DeadLetter>, Error> {
        pooled!(self, connection => statements::dead_letter(connection, position))
    }

    async fn held_tenants(&self) -> Result<Vec<HeldTenant>, Error> {
        pooled!(self, connection => statements::held_tenants(connection))
    }

    async fn retry_dead_letters(&self, selection: Selection) -> Result<u64, Error> {
        pooled!(self, connection => statements::retry_dead_letters(connection, selection))
    }

    async fn quarantine(&self, refused: &[Refused], bounds: QuarantineBounds) -> Result<(), Error> {
        pooled!(self, connection => async {
            for entry in refused {
                statements::refuse(connection, entry).await?;
            }
            statements::trim_quarantine(connection, bounds).await
        })
    }

    async fn quarantined(&self, limit: i64) -> Result<Vec<Quarantined>, Error> {
        pooled!(self, connection => statements::quarantined(connection, limit))
    }

    async fn quarantined_one(&self, id: i64) -> Result<Option<Quarantined>, Error> {
        pooled!(self, connection => statements::quarantined_one(connection, id))
    }

    async fn release_quarantined(&self, id: i64) -> Result<(), Error> {
        pooled!(self, connection => statements::release_quarantined(connection, id))
    }

    async fn prune(&self, cutoff: &Cutoff) -> Result<Pruned, Error> {
        let dropped = partitions::drop_oldest(self, cutoff).await;
        let dropped = dropped.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "an old partition of the log cannot be dropped; its events go one by one");
            0
        });
        let (after, before) = (self.sweep.after(), partitions::singly_before(cutoff));
        let (mut pruned, stopped) =
            pooled!(self, connection => statements::prune(connection, cutoff, before, &after))?;
        self.sweep.stop(stopped);
        pruned.events += dropped;
        Ok(pruned)
    }

    async fn check(&self) -> Result<(), Error> {
        appending!(self, connection => async { Ok(connection.ping().await?) })
    }

    async fn rehearse(&self, event: &Event) -> Result<(), Error> {
        // A table grows before the commit, so its rows need room though they are taken back.
        appending!(self, connection => append::rehearse(connection, event))
    }

    async fn upkeep(&self) {
        partitions::keep_ahead(self).await
    }

    async fn close(&self) {
        drop(self.appender.lock().await.take());
        // A server that hangs is not waited for.
        let _ = timeout(self.deadline, self.pool.close()).await;
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options hold a password.
        f.debug_struct("PostgresStore")
            .field("reader", &RELAY)
            .finish_non_exhaustive()
    }
}
