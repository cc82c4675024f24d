//! The append on SQLite: what is known is looked up, what is new gets the next positions, all inside
//! the writer's transaction.
//!
//! Every statement crosses to SQLite's thread and back, so a batch is few statements of many rows. Their
//! number of rows is a power of two, filled up with rows that do nothing, so that few different
//! statements are ever prepared.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::super::sql::event_columns;
use super::super::{Appended, Error};
use crate::event::{Event, EventKey, Position};

/// Rows of one statement at most; with 12 columns far from SQLite's limit of 32,766 variables.
const ROWS: usize = 512;

/// Splits a batch into runs, each with the number of rows that its statement has.
fn runs<T>(batch: &[T]) -> impl Iterator<Item = (&[T], usize)> {
    batch
        .chunks(ROWS)
        .map(|run| (run, run.len().next_power_of_two()))
}

/// The stored hash of each key, in the order asked; `None` for a key that is not known.
async fn known_hashes(
    connection: &mut SqliteConnection,
    keys: &[(&str, &str)],
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut hashes = vec![None; keys.len()];
    let mut start = 0;
    for (run, rows) in runs(keys) {
        let mut query = QueryBuilder::<Sqlite>::new("with asked(n, event_key, app_id) as (");
        query.push_values(0..rows, |mut row, n| {
            let (key, app) = run.get(n).copied().unzip();
            row.push_bind(n as i64).push_bind(key).push_bind(app);
        });
        query.push(
            ") select n, body_hash from asked join event_keys k \
             on k.event_key = asked.event_key and k.app_id = asked.app_id",
        );
        for row in query.build().fetch_all(&mut *connection).await? {
            let n: i64 = row.try_get(0)?;
            hashes[start + usize::try_from(n).map_err(|_| Error::Corrupt("a row number"))?] =
                Some(row.try_get(1)?);
        }
        start += run.len();
    }
    Ok(hashes)
}

/// An event with the place and the key that it gets.
type Placed<'a> = (Position, EventKey, &'a Event);

/// Appends a batch; the caller begins and commits, and after any error rolls back.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    batch: &[Event],
) -> Result<Vec<Appended>, Error> {
    let keys: Vec<_> = batch
        .iter()
        .map(|event| (event.key.as_str(), event.app_id.as_str()))
        .collect();
    let known = known_hashes(connection, &keys).await?;
    let head: i64 = sqlx::query_scalar("select position from log_head")
        .fetch_one(&mut *connection)
        .await?;

    let mut next = head;
    let mut place = || {
        next += 1;
        Position(next)
    };
    let mut appended = Vec::with_capacity(batch.len());
    let mut fresh: Vec<Placed<'_>> = Vec::with_capacity(batch.len());
    for (event, known) in batch.iter().zip(known) {
        let (outcome, key) = match known {
            None => (Appended::New(place()), event.key.clone()),
            Some(hash) if hash == event.body_hash.0 => (Appended::Duplicate, event.key.clone()),
            Some(_) => {
                let key = event.key.altered(&event.body_hash);
                let seen = known_hashes(connection, &[(key.as_str(), &event.app_id)]).await?;
                match seen.as_slice() {
                    [Some(_)] => (Appended::Duplicate, key),
                    _ => (Appended::Altered(place(), key.clone()), key),
                }
            }
        };
        if let Appended::New(position) | Appended::Altered(position, _) = outcome {
            fresh.push((position, key, event));
        }
        appended.push(outcome);
    }
    if fresh.is_empty() {
        return Ok(appended);
    }
    for (run, rows) in runs(&fresh) {
        insert_keys(connection, run, rows).await?;
        insert_events(connection, run, rows).await?;
    }
    sqlx::query("update log_head set position = $1")
        .bind(next)
        .execute(connection)
        .await?;
    Ok(appended)
}

// `or fail` spares SQLite the journal with which it could undo one statement: after an error the whole
// transaction is rolled back.

async fn insert_keys(
    connection: &mut SqliteConnection,
    run: &[Placed<'_>],
    rows: usize,
) -> Result<(), Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "insert or fail into event_keys (event_key, app_id, position, received_at, body_hash) \
         select * from (",
    );
    query.push_values(0..rows, |mut row, n| {
        let placed = run.get(n);
        row.push_bind(placed.map(|(_, key, _)| key.as_str()))
            .push_bind(placed.map(|(_, _, event)| event.app_id.as_str()))
            .push_bind(placed.map(|(position, _, _)| position.0))
            .push_bind(placed.map(|(_, _, event)| event.received_at.0))
            .push_bind(placed.map(|(_, _, event)| event.body_hash.0.as_slice()));
    });
    // Rows that fill up have no position.
    query.push(") where column3 is not null");
    query.build().execute(connection).await?;
    Ok(())
}

async fn insert_events(
    connection: &mut SqliteConnection,
    run: &[Placed<'_>],
    rows: usize,
) -> Result<(), Error> {
    let mut query = QueryBuilder::<Sqlite>::new(concat!(
        "insert or fail into events (",
        event_columns!(),
        ") select * from ("
    ));
    query.push_values(0..rows, |mut row, n| {
        let placed = run.get(n);
        let event = placed.map(|(_, _, event)| *event);
        row.push_bind(placed.map(|(position, _, _)| position.0))
            .push_bind(placed.map(|(_, key, _)| key.as_str()))
            .push_bind(event.map(|event| event.app_id.as_str()))
            .push_bind(event.map(|event| event.event_type.as_str()))
            .push_bind(event.and_then(|event| event.tenant.company_id.as_deref()))
            .push_bind(event.and_then(|event| event.tenant.location_id.as_deref()))
            .push_bind(event.and_then(|event| event.entity_id.as_deref()))
            .push_bind(event.map(|event| event.origin.as_str()))
            .push_bind(event.and_then(|event| event.signature.as_deref()))
            .push_bind(event.map(|event| event.received_at.0))
            .push_bind(event.map(|event| event.body_hash.0.as_slice()))
            .push_bind(event.map(|event| event.body.as_ref()));
    });
    query.push(") where column1 is not null");
    query.build().execute(connection).await?;
    Ok(())
}
