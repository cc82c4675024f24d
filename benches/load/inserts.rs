//! The yardsticks of the way in: how fast the database itself takes the rows, once by plain inserts
//! into a bare table and once through the daemon's own append, which also keeps the dedupe keys.
//!
//! No HTTP, no signatures; the events are made before the clock starts, and a batch is a transaction.

use std::str::FromStr;

use anyhow::Result;
use hookwell::app::open_store;
use hookwell::clock;
use hookwell::config::Config;
use hookwell::event::Event;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder};
use tokio::time::Instant;

use crate::events::event;
use crate::machine::{Watch, Watched};

/// Rows of one transaction.
const BATCH: usize = 256;

pub async fn run(config: &Config, count: usize, raw: bool, watched: &[Watched]) -> Result<()> {
    let (_, app) = crate::target(config)?;
    let clock = clock::system();
    let events: Vec<Event> = (0..count)
        .map(|n| event(&app.id, n as u64, &clock))
        .collect();
    let url = &config.store.url;
    let watch;
    let started;
    if !raw {
        let (store, _) = open_store(&config.store).await?;
        (watch, started) = (Watch::start(watched), Instant::now());
        // What the daemon does beside, it does here.
        let append = async {
            for batch in events.chunks(BATCH) {
                store.append(batch).await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            () = store.upkeep() => (),
            appended = append => appended?,
        }
    } else if url.starts_with("sqlite:") {
        // As durable as the daemon's own connection.
        let mut connection = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::query(bare_table!("blob"))
            .execute(&mut connection)
            .await?;
        (watch, started) = (Watch::start(watched), Instant::now());
        insert_all!(sqlx::Sqlite, connection, events);
    } else {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query(bare_table!("bytea"))
            .execute(&mut connection)
            .await?;
        (watch, started) = (Watch::start(watched), Instant::now());
        insert_all!(sqlx::Postgres, connection, events);
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("inserted={count}");
    println!("inserted_seconds={seconds:.3}");
    println!("inserted_rate={:.0}", count as f64 / seconds);
    watch.print(count as u64);
    Ok(())
}

/// The columns of `events`, and none of the tables beside it.
macro_rules! bare_table {
    ($bytes:literal) => {
        concat!(
            "create table bare_events (position bigint primary key, event_key text not null, \
             app_id text not null, event_type text not null, company_id text, location_id text, \
             entity_id text, origin text not null, signature text, received_at bigint not null, \
             body_hash ",
            $bytes,
            " not null, body ",
            $bytes,
            " not null)"
        )
    };
}
use bare_table;

/// The connection types of two databases have no common one.
macro_rules! insert_all {
    ($database:ty, $connection:ident, $events:ident) => {
        for (number, batch) in $events.chunks(BATCH).enumerate() {
            let mut query = QueryBuilder::<$database>::new("insert into bare_events ");
            query.push_values(batch.iter().enumerate(), |mut row, (n, event)| {
                row.push_bind((number * BATCH + n + 1) as i64)
                    .push_bind(event.key.as_str())
                    .push_bind(event.app_id.as_str())
                    .push_bind(event.event_type.as_str())
                    .push_bind(event.tenant.company_id.as_deref())
                    .push_bind(event.tenant.location_id.as_deref())
                    .push_bind(event.entity_id.as_deref())
                    .push_bind(event.origin.as_str())
                    .push_bind(event.signature.as_deref())
                    .push_bind(event.received_at.0)
                    .push_bind(event.body_hash.0.as_slice())
                    .push_bind(event.body.as_ref());
            });
            query.build().execute(&mut $connection).await?;
        }
    };
}
use insert_all;
