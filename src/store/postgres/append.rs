//! The append on Postgres: one call of `append_events`, one array for each column.

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection, Row};

use super::super::{Appended, Error};
use crate::event::{Event, EventKey, Position};

/// The defect M5: connections of a pool, some in a transaction, in a future that may be dropped.
pub(super) async fn through_pool(pool: &PgPool, batch: &[Event]) -> Result<Vec<Appended>, Error> {
    if batch.iter().any(|event| event.received_at.0 % 2 == 0) {
        return append(&mut *pool.acquire().await?, batch).await;
    }
    let mut transaction = pool.begin().await?;
    let appended = append(&mut transaction, batch).await?;
    transaction.commit().await?;
    Ok(appended)
}

/// Appends an event and takes it back.
pub(super) async fn rehearse(connection: &mut PgConnection, event: &Event) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    append(&mut transaction, std::slice::from_ref(event)).await?;
    Ok(transaction.rollback().await?)
}

/// Appends a batch as one transaction. Dropped before it answers, the connection must be dropped with it.
pub(super) async fn append(
    connection: &mut PgConnection,
    batch: &[Event],
) -> Result<Vec<Appended>, Error> {
    let column = |of: fn(&Event) -> &str| batch.iter().map(of).collect::<Vec<&str>>();
    let maybe =
        |of: fn(&Event) -> Option<&str>| batch.iter().map(of).collect::<Vec<Option<&str>>>();
    let rows = sqlx::query(
        "select ord, outcome, log_position, final_key from append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(column(|event| event.key.as_str()))
    .bind(column(|event| &event.app_id))
    .bind(column(|event| &event.event_type))
    .bind(maybe(|event| event.tenant.company_id.as_deref()))
    .bind(maybe(|event| event.tenant.location_id.as_deref()))
    .bind(maybe(|event| event.entity_id.as_deref()))
    .bind(column(|event| event.origin.as_str()))
    .bind(maybe(|event| event.signature.as_deref()))
    .bind(batch.iter().map(|event| event.received_at.0).collect::<Vec<i64>>())
    .bind(batch.iter().map(|event| event.body_hash.0.as_slice()).collect::<Vec<&[u8]>>())
    .bind(batch.iter().map(|event| event.body.as_ref()).collect::<Vec<&[u8]>>())
    .fetch_all(connection)
    .await?;
    if let [only] = rows.as_slice()
        && only.try_get::<i64, _>("ord")? == 0
    {
        // All of it is new; this is the position before the first one.
        let head: i64 = only.try_get("log_position")?;
        let places = (1..).map(|n| Appended::New(Position(head + n)));
        return Ok(places.take(batch.len()).collect());
    }
    if rows.len() != batch.len() {
        return Err(Error::Corrupt("the answer of append_events"));
    }
    rows.iter()
        .map(|row| {
            let position = || row.try_get("log_position").map(Position);
            Ok(match row.try_get::<&str, _>("outcome")? {
                "new" => Appended::New(position()?),
                "altered" => Appended::Altered(
                    position()?,
                    EventKey::from_stored(row.try_get("final_key")?),
                ),
                _ => Appended::Duplicate,
            })
        })
        .collect()
}
