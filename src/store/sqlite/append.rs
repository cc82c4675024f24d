//! The append on SQLite: what is known is looked up, what is new gets the next positions, all inside
//! the writer's transaction. Statements of many rows keep the cost of an event low.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::super::sql::event_columns;
use super::super::{Appended, Error};
use crate::event::{Event, Position};

/// Rows of one multi-row statement. A few fixed sizes, so that few statements are prepared.
const ROWS: [usize; 4] = [128, 32, 8, 1];

/// Splits a batch into runs of the sizes in [`ROWS`].
fn runs<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = ROWS.into_iter().find(|size| *size <= rest.len())?;
        let (run, tail) = rest.split_at(size);
        rest = tail;
        Some(run)
    })
}

/// The stored hash of each key, in the order asked; `None` for a key that is not known.
async fn known_hashes(
    connection: &mut SqliteConnection,
    keys: &[(&str, &str)],
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut hashes = vec![None; keys.len()];
    let mut start = 0;
    for run in runs(keys) {
        let mut query = QueryBuilder::<Sqlite>::new("with asked(n, event_key, app_id) as (");
        query.push_values(run.iter().enumerate(), |mut row, (n, (key, app))| {
            row.push_bind(n as i64).push_bind(*key).push_bind(*app);
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

/// Appends a batch; the caller begins and commits.
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
    let mut fresh = Vec::with_capacity(batch.len());
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
    // `or fail` spares SQLite the journal with which it could undo one statement: after any error here the
    // caller rolls the whole transaction back.
    for run in runs(&fresh) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "insert or fail into event_keys (event_key, app_id, position, received_at, body_hash) ",
        );
        query.push_values(run, |mut row, (position, key, event)| {
            row.push_bind(key.as_str())
                .push_bind(event.app_id.as_str())
                .push_bind(position.0)
                .push_bind(event.received_at.0)
                .push_bind(event.body_hash.0.as_slice());
        });
        query.build().execute(&mut *connection).await?;
        let mut query = QueryBuilder::<Sqlite>::new(concat!(
            "insert or fail into events (",
            event_columns!(),
            ") "
        ));
        query.push_values(run, |mut row, (position, key, event)| {
            row.push_bind(position.0)
                .push_bind(key.as_str())
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
        query.build().execute(&mut *connection).await?;
    }
    sqlx::query("update log_head set position = $1")
        .bind(next)
        .execute(connection)
        .await?;
    Ok(appended)
}
