//! Statements about replays, for both databases, as `sql` has the others.

macro_rules! replay_statements {
    ($database:ty, $connection:ty, $row:ty) => {
        use crate::store::replays::{Replay, ReplayCount, ReplayStep};

        fn replay_of(row: &$row) -> Result<Replay, Error> {
            Ok(Replay {
                id: row.try_get("id")?,
                asked_at: Micros(row.try_get("asked_at")?),
                who: row.try_get("who")?,
                filter: EventRange {
                    event_type: row.try_get("event_type")?,
                    tenant: row.try_get("tenant")?,
                    after: Position(row.try_get("after")?),
                    upto: Position(row.try_get("upto")?),
                },
                rate: row.try_get("rate")?,
                matched: row.try_get("matched")?,
                state: row.try_get("state")?,
                position: Position(row.try_get("position")?),
                published: row.try_get("published")?,
                failed: row.try_get("failed")?,
                detail: row.try_get("detail")?,
                ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Micros),
            })
        }

        pub(crate) async fn count_replay(
            conn: &mut $connection,
            filter: &EventRange,
        ) -> Result<ReplayCount, Error> {
            let end = filter.upto.0.min(filter.after.0.saturating_add(RANGE_LOOK));
            let mut query = sqlx::QueryBuilder::<$database>::new("select e.event_type, count(*) as events ");
            push_range(&mut query, filter, end);
            query.push(UNPARKED).push(" group by e.event_type order by e.event_type");
            let rows = query.build().fetch_all(&mut *conn).await?;
            let types = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            // Retention leaves holes: go on at the next one that is there.
            let next: Option<i64> =
                sqlx::query_scalar("select min(position) from events where position > $1 and position <= $2")
                    .bind(end)
                    .bind(filter.upto.0)
                    .fetch_one(conn)
                    .await?;
            Ok(ReplayCount {
                types: types.collect::<Result<_, Error>>()?,
                next: next.map(|next| Position(next - 1)),
            })
        }

        pub(crate) async fn ask_replay(
            conn: &mut $connection,
            filter: &EventRange,
            who: &str,
            rate: i64,
            matched: i64,
            now: Micros,
        ) -> Result<i64, Error> {
            let id = sqlx::query_scalar(
                "insert into replays (asked_at, who, event_type, tenant, after, upto, rate, matched, state, position) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, 'running', $5) returning id",
            )
            .bind(now.0)
            .bind(who)
            .bind(filter.event_type.as_deref())
            .bind(filter.tenant.as_deref())
            .bind(filter.after.0)
            .bind(filter.upto.0)
            .bind(rate)
            .bind(matched)
            .fetch_one(conn)
            .await?;
            Ok(id)
        }

        pub(crate) async fn replays(conn: &mut $connection, limit: i64) -> Result<Vec<Replay>, Error> {
            sqlx::query("select * from replays order by id desc limit $1")
                .bind(limit)
                .fetch_all(conn)
                .await?
                .iter()
                .map(replay_of)
                .collect()
        }

        pub(crate) async fn replay(conn: &mut $connection, id: i64) -> Result<Option<Replay>, Error> {
            sqlx::query("select * from replays where id = $1")
                .bind(id)
                .fetch_optional(conn)
                .await?
                .as_ref()
                .map(replay_of)
                .transpose()
        }

        pub(crate) async fn cancel_replay(conn: &mut $connection, id: i64, now: Micros) -> Result<bool, Error> {
            let done = sqlx::query("update replays set state = 'cancelled', ended_at = $2 where id = $1 and state = 'running'")
                .bind(id)
                .bind(now.0)
                .execute(conn)
                .await?;
            Ok(0 < done.rows_affected())
        }

        pub(crate) async fn running_replays(conn: &mut $connection, limit: i64) -> Result<Vec<Replay>, Error> {
            sqlx::query("select * from replays where state = 'running' order by id limit $1")
                .bind(limit)
                .fetch_all(conn)
                .await?
                .iter()
                .map(replay_of)
                .collect()
        }

        /// The next events of a replay, bounded as `read` is, and up to where there is no other.
        pub(crate) async fn read_replay(
            conn: &mut $connection,
            replay: &Replay,
            limit: i64,
            max_bytes: i64,
        ) -> Result<(Vec<Recorded>, Position), Error> {
            let rest = EventRange { after: replay.position, ..replay.filter.clone() };
            read_some(conn, &rest, UNPARKED, limit, max_bytes).await
        }

        /// Moves a replay's cursor, and ends it at its end. One that was cancelled meanwhile only counts.
        pub(crate) async fn settle_replay(conn: &mut $connection, step: &ReplayStep, now: Micros) -> Result<(), Error> {
            sqlx::query(
                "update replays set published = published + $3, failed = failed + $4, detail = coalesce($5, detail), \
                   position = case when state = 'running' then $2 else position end, \
                   ended_at = case when state = 'running' and upto <= $2 then $6 else ended_at end, \
                   state = case when state = 'running' and upto <= $2 then 'done' else state end \
                 where id = $1 and position <= $2",
            )
            .bind(step.id)
            .bind(step.upto.0)
            .bind(step.published)
            .bind(step.failed)
            .bind(step.detail.as_deref())
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(())
        }
    };
}

pub(crate) use replay_statements;
