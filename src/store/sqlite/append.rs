//! The append on SQLite: what is known is looked up, what is new gets the next positions, all inside
//! one transaction.
//!
//! Every query crosses to SQLite's thread and back, and on a busy machine waits for a processor both times. So a
//! batch is few queries, some of two statements, and statements have many rows. Their number of rows is one of a
//! few, filled up with rows that do nothing, so that few different statements are ever prepared.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::super::sql::event_columns;
use super::super::{Appended, Error};
use super::keys::{self, YoungKeys};
use crate::event::{Event, EventKey, Position};

/// Rows of one statement at most; with 12 columns far from SQLite's limit of 32,766 variables.
const ROWS: usize = 512;

/// Statements have powers of two of rows up to this, and multiples of it beyond.
const STEP: usize = 32;

/// Splits a batch into runs, each with the number of rows that its statement has.
fn runs<T>(batch: &[T]) -> impl Iterator<Item = (&[T], usize)> {
    let rows = |count: usize| match count {
        ..STEP => count.next_power_of_two(),
        _ => count.next_multiple_of(STEP),
    };
    batch.chunks(ROWS).map(move |run| (run, rows(run.len())))
}

/// A key with its app, as it is asked for.
type Asked<'a> = (&'a EventKey, &'a str);

/// The hash that came with each key, in the order asked; `None` for a key that is not known.
async fn known_hashes(
    connection: &mut SqliteConnection,
    young: &YoungKeys,
    asked: &[Asked<'_>],
) -> Result<Vec<Option<[u8; 32]>>, Error> {
    let of = |(key, app_id): &Asked<'_>| young.hash_of(app_id, key);
    let mut hashes: Vec<_> = asked.iter().map(of).collect();
    let others = (0..asked.len()).filter(|n| hashes[*n].is_none());
    let others: Vec<_> = others.collect();
    for (run, rows) in runs(&others) {
        let mut query = QueryBuilder::<Sqlite>::new("with asked(n, event_key, app_id) as (");
        query.push_values(0..rows, |mut row, n| {
            let n = run.get(n).copied();
            let asked = n.map(|n| asked[n]);
            row.push_bind(n.map(|n| n as i64))
                .push_bind(asked.map(|(key, _)| key.as_str()))
                .push_bind(asked.map(|(_, app_id)| app_id));
        });
        query.push(
            ") select n, body_hash from asked join event_keys k \
             on k.event_key = asked.event_key and k.app_id = asked.app_id",
        );
        for row in query.build().fetch_all(&mut *connection).await? {
            let n: i64 = row.try_get(0)?;
            let n = usize::try_from(n).map_err(|_| Error::Corrupt("a row number"))?;
            let hash: Vec<u8> = row.try_get(1)?;
            let hash = hash.try_into();
            hashes[n] = Some(hash.map_err(|_| Error::Corrupt("event_keys.body_hash"))?);
        }
    }
    Ok(hashes)
}

/// An event with the place and the key that it gets.
pub(super) type Placed<'a> = (Position, EventKey, &'a Event);

/// What is so once the append is committed.
pub(super) struct Done<'a> {
    /// What became of each event.
    pub(super) appended: Vec<Appended>,
    /// New events whose keys the tree has not.
    pub(super) young: Vec<Placed<'a>>,
    /// The head of the log.
    pub(super) head: Position,
}

/// Begins a transaction and appends a batch in it; the caller commits, and after any error gives the connection up,
/// which rolls it back. The young keys take what others appended; what is new they get from the caller, who knows
/// whether the commit came through.
pub(super) async fn append<'a>(
    connection: &mut SqliteConnection,
    young: &mut YoungKeys,
    batch: &'a [Event],
) -> Result<Done<'a>, Error> {
    let head = begin(connection).await?;
    if !young.reaches(head) {
        young.follow(connection, head).await?;
    }
    let asked = batch.iter().map(|event| (&event.key, &*event.app_id));
    let known = known_hashes(connection, young, &asked.collect::<Vec<_>>()).await?;

    let mut next = head;
    let mut place = || {
        next.0 += 1;
        next
    };
    let mut appended = Vec::with_capacity(batch.len());
    let mut fresh: Vec<Placed<'_>> = Vec::with_capacity(batch.len());
    for (event, known) in batch.iter().zip(known) {
        let (outcome, key) = match known {
            None => (Appended::New(place()), event.key.clone()),
            Some(hash) if hash == event.body_hash.0 => (Appended::Duplicate, event.key.clone()),
            Some(_) => {
                let key = event.key.altered(&event.body_hash);
                let asked = [(&key, &*event.app_id)];
                match known_hashes(connection, young, &asked).await?[..] {
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
    for (run, rows) in runs(&fresh) {
        insert_events(connection, run, rows).await?;
    }
    if young.is_full() {
        keys::insert_at_once(connection, std::mem::take(&mut fresh)).await?;
    }
    Ok(Done {
        appended,
        young: fresh,
        head: next,
    })
}

/// Begins the transaction; the head of the log.
async fn begin(connection: &mut SqliteConnection) -> Result<Position, Error> {
    let head = sqlx::query_scalar("begin immediate; select position from log_head");
    Ok(Position(head.fetch_one(connection).await?))
}

/// Writes events into the log, and moves its head to the last of them.
///
/// `or fail` spares SQLite the journal with which it could undo one statement: after an error the whole
/// transaction is rolled back.
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
    query.push(") where column1 is not null; update log_head set position = ");
    query.push_bind(run.last().map(|(position, _, _)| position.0));
    query.build().execute(connection).await?;
    Ok(())
}
