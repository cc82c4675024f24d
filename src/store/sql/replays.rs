//! Statements about replays, for both databases, as `sql` has the others.

macro_rules! replay_statements {
    ($database:ty, $connection:ty, $row:ty) => {
        use crate::store::replays::{REPLAY_LOOK, Replay, ReplayCount, ReplayFilter, ReplayStep};

        fn replay_of(row: &$row) -> Result<Replay, Error> {
            Ok(Replay {
                id: row.try_get("id")?,
                asked_at: Micros(row.try_get("asked_at")?),
                who: row.try_get("who")?,
                filter: ReplayFilter {
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

        /// `from events e where …`: what was published and is asked for, in (after, upto].
        fn push_replayed(query: &mut sqlx::QueryBuilder<$database>, filter: &ReplayFilter, after: i64, upto: i64) {
            query.push("from events e where e.position > ").push_bind(after);
            query.push(" and e.position <= ").push_bind(upto);
            query.push(
                " and not exists (select 1 from dead_letters d where d.position = e.position) \
                  and not exists (select 1 from held_events w where w.position = e.position)",
            );
            if let Some(event_type) = &filter.event_type {
                query.push(" and e.event_type = ").push_bind(event_type.clone());
            }
            if let Some(tenant) = &filter.tenant {
                query.push(" and (e.location_id = ").push_bind(tenant.clone());
                query.push(" or e.company_id = ").push_bind(tenant.clone()).push(")");
            }
        }

        pub(crate) async fn count_replay(
            conn: &mut $connection,
            filter: &ReplayFilter,
        ) -> Result<ReplayCount, Error> {
            let end = filter.upto.0.min(filter.after.0.saturating_add(REPLAY_LOOK));
            let mut query = sqlx::QueryBuilder::<$database>::new("select e.event_type, count(*) as events ");
            push_replayed(&mut query, filter, filter.after.0, end);
            query.push(" group by e.event_type order by e.event_type");
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
            filter: &ReplayFilter,
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
            let after = replay.position.0;
            let end = replay.filter.upto.0.min(after.saturating_add(REPLAY_LOOK));
            let mut query = sqlx::QueryBuilder::<$database>::new(concat!(
                "select ",
                event_columns!(),
                " from events where position in (\
                   select position from (\
                     select position, sum(size) over (order by position) - size as before from (\
                       select e.position, length(e.body) as size "
            ));
            push_replayed(&mut query, &replay.filter, after, end);
            query.push(" order by e.position limit ").push_bind(limit);
            query.push(") run) sized where before < ").push_bind(max_bytes).push(") order by position");
            let rows = query.build().fetch_all(&mut *conn).await?;
            let events = rows.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
            if let Some(last) = events.last() {
                let upto = last.position;
                return Ok((events, upto));
            }
            // Retention leaves holes: the next look begins where something is.
            let next: Option<i64> =
                sqlx::query_scalar("select min(position) from events where position > $1 and position <= $2")
                    .bind(end)
                    .bind(replay.filter.upto.0)
                    .fetch_one(conn)
                    .await?;
            Ok((events, next.map_or(replay.filter.upto, |next| Position(next - 1))))
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
