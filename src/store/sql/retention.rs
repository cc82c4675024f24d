//! Statements that remove what is old, for both databases, as `sql` has the others.

macro_rules! retention_statements {
    ($database:ty, $connection:ty, $row:ty) => {
        use crate::store::{Cutoff, Pruned, Swept};

        /// Deletes a bounded run from the old end of the log: behind every reader, older than the
        /// cutoff, and neither a dead letter nor held, nor of a call that is still open.
        pub(crate) async fn prune_events(
            conn: &mut $connection,
            before: Micros,
            batch: i64,
        ) -> Result<u64, Error> {
            let done = sqlx::query(
                "delete from events where position in (\
                   select e.position from events e \
                   where e.position <= (select min(c.position) from cursors c where c.reader <> 'census') \
                     and not exists (select 1 from dead_letters d where d.position = e.position) \
                     and not exists (select 1 from held_events w where w.position = e.position) \
                     and not exists (select 1 from follow_ups f where f.position = e.position \
                                     and f.state in ('pending', 'dead')) \
                   order by e.position limit $2\
                 ) and received_at < $1",
            )
            .bind(before.0)
            .bind(batch)
            .execute(conn)
            .await?;
            Ok(done.rows_affected())
        }

        /// Looks at the next `batch` keys in key order after `after`, deletes the old ones among them,
        /// and returns how many and where it stopped. A sweep needs no index on time, which every
        /// append would pay for.
        pub(crate) async fn prune_keys(
            conn: &mut $connection,
            after: &(String, String),
            before: Micros,
            batch: i64,
        ) -> Result<(u64, Option<(String, String)>), Error> {
            let last = sqlx::query(
                "select event_key, app_id from event_keys where (event_key, app_id) > ($1, $2) \
                 order by event_key, app_id limit 1 offset $3",
            )
            .bind(after.0.as_str())
            .bind(after.1.as_str())
            .bind(batch - 1)
            .fetch_optional(&mut *conn)
            .await?;
            let last = match &last {
                Some(row) => Some((row.try_get::<String, _>("event_key")?, row.try_get::<String, _>("app_id")?)),
                None => None,
            };
            let mut query = sqlx::QueryBuilder::<$database>::new("delete from event_keys where (event_key, app_id) > (");
            query.push_bind(after.0.clone()).push(", ").push_bind(after.1.clone()).push(")");
            // Said only where there is one: a bound that may be null is none to SQLite, which then reads on to the end of the
            // tree, while nothing can be appended.
            if let Some((key, app_id)) = &last {
                query.push(" and (event_key, app_id) <= (").push_bind(key.clone());
                query.push(", ").push_bind(app_id.clone()).push(")");
            }
            query.push(" and received_at < ").push_bind(before.0);
            query.push(" and position <= (select min(c.position) from cursors c where c.reader <> 'census')");
            let done = query.build().execute(conn).await?;
            Ok((done.rows_affected(), last))
        }

        /// The same where types are kept for times of their own: looks at a run of the log behind `after`, and returns
        /// how many went and where it stopped, or nothing at the end of what may be old enough.
        pub(crate) async fn prune_by_type(
            conn: &mut $connection,
            cutoff: &Cutoff,
            others_before: Micros,
            after: Position,
        ) -> Result<(u64, Option<Position>), Error> {
            let run = sqlx::query(
                "select max(position) as upto, min(received_at) as oldest from (\
                   select position, received_at from events where position > $1 \
                   and position <= (select min(c.position) from cursors c where c.reader <> 'census') \
                   order by position limit $2) run",
            )
            .bind(after.0)
            .bind(cutoff.batch)
            .fetch_one(&mut *conn)
            .await?;
            let (upto, oldest): (Option<i64>, Option<i64>) = (run.try_get("upto")?, run.try_get("oldest")?);
            let latest = cutoff.bodies_before_of.iter().map(|(_, before)| *before).fold(others_before, Micros::max);
            let (Some(upto), Some(oldest)) = (upto, oldest) else {
                return Ok((0, None));
            };
            if latest.0 <= oldest {
                return Ok((0, None));
            }
            let mut query = sqlx::QueryBuilder::<$database>::new("delete from events where position > ");
            query.push_bind(after.0).push(" and position <= ").push_bind(upto);
            query.push(
                " and not exists (select 1 from dead_letters d where d.position = events.position) \
                  and not exists (select 1 from held_events w where w.position = events.position) \
                  and not exists (select 1 from follow_ups f where f.position = events.position \
                                  and f.state in ('pending', 'dead')) \
                  and received_at < case event_type",
            );
            for (event_type, before) in &cutoff.bodies_before_of {
                query.push(" when ").push_bind(event_type.clone()).push(" then ").push_bind(before.0);
            }
            query.push(" else ").push_bind(others_before.0).push(" end");
            let gone = query.build().execute(conn).await?.rows_affected();
            Ok((gone, Some(Position(upto))))
        }

        /// Removes what is old, a bounded run of each: events that came before `events_before`, unless their type is
        /// kept for a time of its own. The second value is where the sweeps stopped.
        pub(crate) async fn prune(
            conn: &mut $connection,
            cutoff: &Cutoff,
            events_before: Micros,
            after: &Swept,
        ) -> Result<(Pruned, Swept), Error> {
            let follow_ups = prune_follow_ups(conn, cutoff.bodies_before, cutoff.batch).await?;
            let (events, event) = match cutoff.bodies_before_of.is_empty() {
                true => (prune_events(conn, events_before, cutoff.batch).await?, None),
                false => prune_by_type(conn, cutoff, events_before, after.event).await?,
            };
            let (keys, key) = prune_keys(conn, &after.key, cutoff.keys_before, cutoff.batch).await?;
            let swept = Swept { key: key.unwrap_or_default(), event: event.unwrap_or_default() };
            Ok((Pruned { events, keys, follow_ups, is_more: event.is_some() }, swept))
        }
    };
}

pub(crate) use retention_statements;
