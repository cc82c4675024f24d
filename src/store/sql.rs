//! Statements that mean the same to Postgres and SQLite, written once.
//!
//! Times and positions are integers, ids are text, bodies are bytes, and both databases take `$1`
//! placeholders, so only the connection type differs: the macro stamps the functions out for each. What
//! really differs stands beside its backend. Every function works on one connection, within a transaction of its caller's where it is
//! more than one statement.

mod budgets;
mod call_list;
mod census;
mod claims;
mod erasure;
mod gaps;
mod held;
mod installations;
mod listing;
mod planning;
mod replays;
mod retention;
mod subscriptions;
mod tokens;

/// Columns of an event, in the order `recorded` reads them.
macro_rules! event_columns {
    () => {
        "position, event_key, app_id, event_type, company_id, location_id, entity_id, origin, signature, \
         received_at, body_hash, body"
    };
}

macro_rules! shared_statements {
    ($connection:ty, $row:ty) => {
        use crate::event::{BodyHash, Event, EventKey, Micros, Origin, Position, Recorded, Tenant, micros};
        use crate::store::{
            DeadLetter, Error, Ledger, Parked, Quarantined, QuarantineBounds, RELAY,
            Refused, Selection, Settled,
        };
        use sqlx::Row;

        pub(crate) fn recorded(row: &$row) -> Result<Recorded, Error> {
            let hash: Vec<u8> = row.try_get("body_hash")?;
            let body: Vec<u8> = row.try_get("body")?;
            let origin: String = row.try_get("origin")?;
            Ok(Recorded {
                position: Position(row.try_get("position")?),
                event: Event {
                    key: EventKey::from_stored(row.try_get("event_key")?),
                    app_id: row.try_get("app_id")?,
                    event_type: row.try_get("event_type")?,
                    tenant: Tenant { company_id: row.try_get("company_id")?, location_id: row.try_get("location_id")? },
                    entity_id: row.try_get("entity_id")?,
                    origin: Origin::parse(&origin).ok_or(Error::Corrupt("events.origin"))?,
                    signature: row.try_get("signature")?,
                    received_at: Micros(row.try_get("received_at")?),
                    body_hash: BodyHash(hash.try_into().map_err(|_| Error::Corrupt("events.body_hash"))?),
                    body: body.into(),
                },
            })
        }

        fn dead_letter_of(row: &$row) -> Result<DeadLetter, Error> {
            Ok(DeadLetter {
                position: Position(row.try_get("position")?),
                event_key: row.try_get("event_key")?,
                event_type: row.try_get("event_type")?,
                reason: row.try_get("reason")?,
                detail: row.try_get("detail")?,
                parked_at: Micros(row.try_get("parked_at")?),
                retries: row.try_get("retries")?,
                state: row.try_get("state")?,
            })
        }

        fn quarantined_of(row: &$row) -> Result<Quarantined, Error> {
            Ok(Quarantined {
                id: row.try_get("id")?,
                reason: row.try_get("reason")?,
                path: row.try_get("path")?,
                signature: row.try_get("signature")?,
                legacy_signature: row.try_get("legacy_signature")?,
                first_seen_at: Micros(row.try_get("first_seen_at")?),
                last_seen_at: Micros(row.try_get("last_seen_at")?),
                attempts: row.try_get("attempts")?,
                body: row.try_get("body")?,
            })
        }

        pub(crate) async fn ledger(conn: &mut $connection) -> Result<Ledger, Error> {
            let row = sqlx::query(
                "select h.position as head, h.position - h.skipped as accepted, c.position as done, c.published, c.discarded, \
                        (select count(*) from dead_letters) as parked, \
                        (select count(*) from dead_letters where state = 'retry') as retry, \
                        (select count(*) from quarantine) as quarantined, \
                        (select cast(coalesce(sum(t.events), 0) as bigint) from held_tenants t) as held, \
                        (select count(*) from held_tenants) as held_tenants, \
                        (select e.received_at from events e where e.position = \
                         (select min(w.position) from held_events w)) as oldest_held, \
                        (select e.received_at from events e where e.position > c.position \
                         order by e.position limit 1) as oldest \
                 from log_head h, cursors c where c.reader = $1",
            )
            .bind(RELAY)
            .fetch_one(conn)
            .await?;
            let accepted: i64 = row.try_get("accepted")?;
            let (head, done): (i64, i64) = (row.try_get("head")?, row.try_get("done")?);
            let held: i64 = row.try_get("held")?;
            // Whatever is held was received before what is not yet looked at.
            let oldest = match row.try_get("oldest_held")? {
                Some(held) => Some(held),
                None => row.try_get::<Option<i64>, _>("oldest")?,
            };
            Ok(Ledger {
                accepted,
                published: row.try_get("published")?,
                head: Position(head),
                pending: head - done + held,
                held,
                held_tenants: row.try_get("held_tenants")?,
                parked: row.try_get("parked")?,
                retry: row.try_get("retry")?,
                discarded: row.try_get("discarded")?,
                quarantined: row.try_get("quarantined")?,
                oldest_pending_at: oldest.map(Micros),
            })
        }

        pub(crate) async fn event_at(conn: &mut $connection, position: Position) -> Result<Option<Recorded>, Error> {
            sqlx::query(concat!("select ", event_columns!(), " from events where position = $1"))
                .bind(position.0)
                .fetch_optional(conn)
                .await?
                .as_ref()
                .map(recorded)
                .transpose()
        }

        pub(crate) async fn positions_of(conn: &mut $connection, key: &str) -> Result<Vec<Position>, Error> {
            let found = sqlx::query_scalar("select position from event_keys where event_key = $1 order by position")
                .bind(key)
                .fetch_all(conn)
                .await?;
            Ok(found.into_iter().map(Position).collect())
        }

        pub(crate) async fn dead_letters(conn: &mut $connection, limit: i64) -> Result<Vec<DeadLetter>, Error> {
            sqlx::query(
                "select d.position, e.event_key, e.event_type, d.reason, d.detail, d.parked_at, \
                        cast(d.retries as bigint) as retries, d.state \
                 from dead_letters d join events e on e.position = d.position order by d.position limit $1",
            )
            .bind(limit)
            .fetch_all(conn)
            .await?
            .iter()
            .map(dead_letter_of)
            .collect()
        }

        pub(crate) async fn dead_letter(
            conn: &mut $connection,
            position: Position,
        ) -> Result<Option<DeadLetter>, Error> {
            sqlx::query(
                "select d.position, e.event_key, e.event_type, d.reason, d.detail, d.parked_at, \
                        cast(d.retries as bigint) as retries, d.state \
                 from dead_letters d join events e on e.position = d.position where d.position = $1",
            )
            .bind(position.0)
            .fetch_optional(conn)
            .await?
            .as_ref()
            .map(dead_letter_of)
            .transpose()
        }

        pub(crate) async fn retry_dead_letters(conn: &mut $connection, selection: Selection) -> Result<u64, Error> {
            let done = sqlx::query(
                "update dead_letters set state = 'retry', retries = retries + 1 \
                 where state = 'parked' and ($1 is null or position = $1)",
            )
            .bind(selection.bound())
            .execute(conn)
            .await?;
            Ok(done.rows_affected())
        }

        pub(crate) async fn retries(
            conn: &mut $connection,
            after: Position,
            limit: i64,
        ) -> Result<Vec<Recorded>, Error> {
            sqlx::query(concat!(
                "select ", event_columns!(), " from events \
                 where position in (select d.position from dead_letters d where d.state = 'retry' and d.position > $1 \
                                    order by d.position limit $2) \
                 order by position"
            ))
            .bind(after.0)
            .bind(limit)
            .fetch_all(conn)
            .await?
            .iter()
            .map(recorded)
            .collect()
        }

        /// Moves the cursor; the condition keeps it from ever moving back.
        pub(crate) async fn move_cursor(
            conn: &mut $connection,
            upto: Position,
            published: i64,
        ) -> Result<(), Error> {
            sqlx::query("update cursors set position = $2, published = published + $3 where reader = $1 and position < $2")
                .bind(RELAY)
                .bind(upto.0)
                .bind(published)
                .execute(conn)
                .await?;
            Ok(())
        }

        pub(crate) async fn park(
            conn: &mut $connection,
            parked: &Parked,
            now: Micros,
        ) -> Result<(), Error> {
            sqlx::query(
                "insert into dead_letters (position, reason, detail, parked_at, state) values ($1, $2, $3, $4, 'parked')",
            )
            .bind(parked.position.0)
            .bind(parked.reason)
            .bind(parked.detail.as_str())
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(())
        }

        /// Parks a dead letter that was tried again, unless a person discarded it meanwhile.
        pub(crate) async fn park_again(conn: &mut $connection, parked: &Parked, now: Micros) -> Result<(), Error> {
            sqlx::query(
                "update dead_letters set reason = $2, detail = $3, parked_at = $4, state = 'parked' where position = $1",
            )
            .bind(parked.position.0)
            .bind(parked.reason)
            .bind(parked.detail.as_str())
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(())
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn settle(conn: &mut $connection, settled: &Settled, now: Micros) -> Result<(), Error> {
            for parked in &settled.parked {
                park(conn, parked, now).await?;
            }
            for held in &settled.held {
                hold(conn, held, now).await?;
            }
            move_cursor(conn, settled.upto, settled.published).await
        }

        pub(crate) async fn drop_dead_letter(conn: &mut $connection, position: Position) -> Result<(), Error> {
            let gone = sqlx::query("delete from dead_letters where position = $1").bind(position.0).execute(&mut *conn).await?;
            // Whoever discarded it meanwhile has counted it.
            sqlx::query("update cursors set published = published + $2 where reader = $1")
                .bind(RELAY)
                .bind(gone.rows_affected() as i64)
                .execute(conn)
                .await?;
            Ok(())
        }

        /// The inner query measures sizes only, so a batch of large bodies is never fetched whole.
        pub(crate) async fn read(
            conn: &mut $connection,
            after: Position,
            limit: i64,
            max_bytes: i64,
        ) -> Result<Vec<Recorded>, Error> {
            sqlx::query(concat!(
                "select ",
                event_columns!(),
                " from events where position > $1 and position <= (\
                   select max(position) from (\
                     select position, sum(size) over (order by position) - size as before from (\
                       select position, length(body) as size from events where position > $1 \
                       order by position limit $2\
                     ) run\
                   ) sized where before < $3) \
                 order by position"
            ))
            .bind(after.0)
            .bind(limit)
            .bind(max_bytes)
            .fetch_all(conn)
            .await?
            .iter()
            .map(recorded)
            .collect()
        }

        /// How far a reader is.
        pub(crate) async fn position_of(conn: &mut $connection, reader: &str) -> Result<Position, Error> {
            let position = sqlx::query_scalar("select position from cursors where reader = $1")
                .bind(reader)
                .fetch_one(conn)
                .await?;
            Ok(Position(position))
        }

        pub(crate) async fn refuse(conn: &mut $connection, refused: &Refused) -> Result<(), Error> {
            sqlx::query(
                "insert into quarantine (fingerprint, reason, path, signature, legacy_signature, first_seen_at, \
                                         last_seen_at, attempts, body) \
                 values ($1, $2, $3, $4, $5, $6, $6, 1, $7) \
                 on conflict (fingerprint) do update set last_seen_at = excluded.last_seen_at, \
                 attempts = quarantine.attempts + 1, reason = excluded.reason",
            )
            .bind(refused.fingerprint.as_slice())
            .bind(refused.reason)
            .bind(refused.path.as_str())
            .bind(refused.signature.as_deref())
            .bind(refused.legacy_signature.as_deref())
            .bind(refused.seen_at.0)
            .bind(refused.body.as_ref())
            .execute(conn)
            .await?;
            Ok(())
        }

        /// The newest stay: an operator looks into the quarantine because of what happens now.
        pub(crate) async fn trim_quarantine(conn: &mut $connection, bounds: QuarantineBounds) -> Result<(), Error> {
            sqlx::query(
                "delete from quarantine where id in (select id from (\
                   select id, row_number() over (order by last_seen_at desc, id desc) as place, \
                          sum(length(body)) over (order by last_seen_at desc, id desc) as bytes from quarantine\
                 ) kept where place > $1 or bytes > $2)",
            )
            .bind(bounds.entries)
            .bind(bounds.bytes)
            .execute(conn)
            .await?;
            Ok(())
        }

        pub(crate) async fn quarantined(conn: &mut $connection, limit: i64) -> Result<Vec<Quarantined>, Error> {
            sqlx::query(
                "select id, reason, path, signature, legacy_signature, first_seen_at, last_seen_at, attempts, \
                        substr(body, 1, 0) as body \
                 from quarantine order by last_seen_at desc, id desc limit $1",
            )
            .bind(limit)
            .fetch_all(conn)
            .await?
            .iter()
            .map(quarantined_of)
            .collect()
        }

        pub(crate) async fn quarantined_one(conn: &mut $connection, id: i64) -> Result<Option<Quarantined>, Error> {
            sqlx::query(
                "select id, reason, path, signature, legacy_signature, first_seen_at, last_seen_at, attempts, body \
                 from quarantine where id = $1",
            )
            .bind(id)
            .fetch_optional(conn)
            .await?
            .as_ref()
            .map(quarantined_of)
            .transpose()
        }

        pub(crate) async fn release_quarantined(conn: &mut $connection, id: i64) -> Result<(), Error> {
            sqlx::query("delete from quarantine where id = $1").bind(id).execute(conn).await?;
            Ok(())
        }
    };
}

pub(crate) use {
    budgets::budget_statements, call_list::call_list_statements, census::census_statements,
    claims::claim_statements, erasure::erasure_statements, event_columns, gaps::gap_statements,
    held::held_statements, installations::installation_statements, listing::listing_statements,
    planning::planning_statements, replays::replay_statements, retention::retention_statements,
    shared_statements, subscriptions::subscription_statements, tokens::token_statements,
};
