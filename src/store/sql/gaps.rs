//! Statements about acceptance and about what the log has of records, for both databases, as `sql` has the others.

macro_rules! gap_statements {
    ($database:ty, $connection:ty, $row:ty, $locking:literal) => {
        use crate::store::{Gap, Known, Restored};

        /// A daemon's beat is so much older than the newest event at most.
        const RESTORE_MARGIN: Duration = Duration::from_secs(60);

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn beat(conn: &mut $connection, silence: Duration, now: Micros) -> Result<(), Error> {
            let last: Option<i64> = sqlx::query_scalar(concat!("select until_at from acceptance", $locking))
                .fetch_optional(&mut *conn)
                .await?;
            if let Some(last) = last
                && last.saturating_add(micros(silence)) < now.0
            {
                sqlx::query(
                    "insert into gaps (since_at, until_at) values ($1, $2) on conflict (since_at) do nothing",
                )
                .bind(last)
                .bind(now.0)
                .execute(&mut *conn)
                .await?;
            }
            // A clock that was set back takes nothing away.
            sqlx::query(
                "insert into acceptance (id, until_at) values (1, $1) on conflict (id) do update \
                 set until_at = excluded.until_at where acceptance.until_at < excluded.until_at",
            )
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(())
        }

        pub(crate) async fn gaps(conn: &mut $connection, limit: i64) -> Result<Vec<Gap>, Error> {
            let rows = sqlx::query("select since_at, until_at, repaired_at, is_restore from gaps order by since_at desc limit $1")
                .bind(limit)
                .fetch_all(conn)
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(Gap {
                        since: Micros(row.try_get("since_at")?),
                        until: Micros(row.try_get("until_at")?),
                        repaired_at: row.try_get::<Option<i64>, _>("repaired_at")?.map(Micros),
                        is_restore: row.try_get("is_restore")?,
                    })
                })
                .collect()
        }

        pub(crate) async fn gap_repaired(conn: &mut $connection, since: Micros, now: Micros) -> Result<(), Error> {
            sqlx::query("update gaps set repaired_at = $2 where since_at = $1 and repaired_at is null")
                .bind(since.0)
                .bind(now.0)
                .execute(conn)
                .await?;
            Ok(())
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn restored(conn: &mut $connection, head: Position, now: Micros) -> Result<Restored, Error> {
            // Locked, so that nobody appends in between.
            let from: i64 = sqlx::query_scalar(concat!("select position from log_head", $locking)).fetch_one(&mut *conn).await?;
            if head.0 < from {
                return Ok(Restored::Beyond(Position(from)));
            }
            // The keys are written and the census is moved; what is not yet published or planned must not be passed over.
            let behind: i64 = sqlx::query_scalar(
                "select min(position) from cursors where reader not in ('keys', 'census')",
            )
            .fetch_one(&mut *conn)
            .await?;
            if behind < from {
                return Ok(Restored::Waits(from - behind));
            }
            sqlx::query("update cursors set position = $1").bind(head.0).execute(&mut *conn).await?;
            sqlx::query("update log_head set position = $1, skipped = skipped + $1 - position")
                .bind(head.0)
                .execute(&mut *conn)
                .await?;
            // The daemon that published the rest of the copy has noted the gap already.
            let noted: Option<i64> = sqlx::query_scalar("select max(since_at) from gaps").fetch_one(&mut *conn).await?;
            let copied: Option<i64> = sqlx::query_scalar(
                "select max(received_at) from events where position > $1 - 1000 and origin = 'webhook'",
            )
            .bind(from)
            .fetch_one(&mut *conn)
            .await?;
            let until: Option<i64> = sqlx::query_scalar("select until_at from acceptance").fetch_optional(&mut *conn).await?;
            // What was noted before the copy's newest event is an older gap.
            let noted = noted.filter(|noted| copied.is_none_or(|copied| copied - micros(RESTORE_MARGIN) < *noted));
            let since = noted.or(until);
            if let Some(since) = since {
                sqlx::query(
                    "insert into gaps (since_at, until_at, is_restore) values ($1, $2, true) on conflict (since_at) do update \
                     set until_at = excluded.until_at, repaired_at = null, is_restore = true",
                )
                .bind(since)
                .bind(now.0)
                .execute(&mut *conn)
                .await?;
            }
            sqlx::query("update acceptance set until_at = $1").bind(now.0).execute(conn).await?;
            Ok(Restored::Raised { from: Position(from), since: since.map(Micros) })
        }

        /// By halving: there is no index by time, which every append would pay for.
        pub(crate) async fn place_at(conn: &mut $connection, time: Micros) -> Result<Position, Error> {
            let head: i64 = sqlx::query_scalar("select position from log_head").fetch_one(&mut *conn).await?;
            let (mut low, mut high) = (0, head);
            while low < high {
                let middle = low + (high - low) / 2;
                // The next one that is still there: retention takes the oldest.
                let next = sqlx::query(
                    "select position, received_at from events where position > $1 order by position limit 1",
                )
                .bind(middle)
                .fetch_optional(&mut *conn)
                .await?;
                let Some(next) = next else {
                    high = middle;
                    continue;
                };
                let (position, received_at): (i64, i64) = (next.try_get(0)?, next.try_get(1)?);
                if received_at < time.0 {
                    low = position.min(high);
                } else {
                    high = middle;
                }
            }
            Ok(Position(low))
        }

        pub(crate) async fn known(
            conn: &mut $connection,
            app_id: &str,
            location_id: &str,
            records: &[String],
            after: Position,
            upto: Position,
        ) -> Result<Vec<Known>, Error> {
            if records.is_empty() {
                return Ok(Vec::new());
            }
            let mut query = sqlx::QueryBuilder::<$database>::new(
                "select entity_id, max(received_at) as received_at from events where position > ",
            );
            query.push_bind(after.0).push(" and position <= ").push_bind(upto.0);
            query.push(" and app_id = ").push_bind(app_id.to_owned());
            query.push(" and location_id = ").push_bind(location_id.to_owned());
            query.push(" and entity_id in (");
            let mut list = query.separated(", ");
            for record in records {
                list.push_bind(record.clone());
            }
            query.push(") group by entity_id");
            let rows = query.build().fetch_all(conn).await?;
            rows.iter()
                .map(|row| {
                    Ok(Known {
                        entity_id: row.try_get("entity_id")?,
                        received_at: Micros(row.try_get("received_at")?),
                    })
                })
                .collect()
        }
    };
}

pub(crate) use gap_statements;
