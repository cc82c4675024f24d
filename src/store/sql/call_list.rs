//! Statements about calls that people ask for, and their end by age, for both databases, as `sql` has the others.

macro_rules! call_list_statements {
    ($connection:ty, $row:ty) => {
        use crate::store::{Attempt, FollowUp, FollowUpCounts, FollowUpFilter, WhichCalls};

        fn follow_up_of(row: &$row) -> Result<FollowUp, Error> {
            Ok(FollowUp {
                id: row.try_get("id")?,
                position: Position(row.try_get("position")?),
                rule: row.try_get("rule")?,
                app_id: row.try_get("app_id")?,
                tenant: row.try_get("tenant")?,
                entity_id: row.try_get("entity_id")?,
                state: row.try_get("state")?,
                due_at: Micros(row.try_get("due_at")?),
                claimed: row.try_get("claimed")?,
                attempt: row.try_get("attempt")?,
                progress: row.try_get("progress")?,
                planned_at: Micros(row.try_get("planned_at")?),
                ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Micros),
                status: row.try_get("status")?,
                reason: row.try_get("reason")?,
                detail: row.try_get("detail")?,
            })
        }

        pub(crate) async fn follow_ups(
            conn: &mut $connection,
            filter: &FollowUpFilter,
        ) -> Result<Vec<FollowUp>, Error> {
            sqlx::query(
                "select * from follow_ups where ($1 is null or state = $1) and ($2 is null or rule = $2 or substr(rule, 1, length($2) + 1) = $2 || '/') \
                 and ($3 is null or tenant = $3) and ($5 is null or position = $5) and id < $6 order by id desc limit $4",
            )
            .bind(filter.state.as_deref())
            .bind(filter.rule.as_deref())
            .bind(filter.tenant.as_deref())
            .bind(filter.limit)
            .bind(filter.position.map(|position| position.0))
            .bind(filter.before.unwrap_or(i64::MAX))
            .fetch_all(conn)
            .await?
            .iter()
            .map(follow_up_of)
            .collect()
        }

        pub(crate) async fn follow_up(conn: &mut $connection, id: i64) -> Result<Option<FollowUp>, Error> {
            sqlx::query("select * from follow_ups where id = $1")
                .bind(id)
                .fetch_optional(conn)
                .await?
                .as_ref()
                .map(follow_up_of)
                .transpose()
        }

        pub(crate) async fn attempts(conn: &mut $connection, id: i64) -> Result<Vec<Attempt>, Error> {
            let rows = sqlx::query(
                "select at, cast(status as bigint) as status, reason, detail from follow_up_attempts \
                 where follow_up_id = $1 order by at",
            )
            .bind(id)
            .fetch_all(conn)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(Attempt {
                        at: Micros(row.try_get("at")?),
                        status: row.try_get("status")?,
                        reason: row.try_get("reason")?,
                        detail: row.try_get("detail")?,
                    })
                })
                .collect()
        }

        pub(crate) async fn follow_up_counts(conn: &mut $connection) -> Result<FollowUpCounts, Error> {
            let row = sqlx::query(
                "select (select count(*) from follow_ups where state = 'pending') as pending, \
                        (select count(*) from follow_ups where state = 'dead') as dead, \
                        (select min(planned_at) from follow_ups where state = 'pending') as oldest",
            )
            .fetch_one(conn)
            .await?;
            Ok(FollowUpCounts {
                pending: row.try_get("pending")?,
                dead: row.try_get("dead")?,
                oldest_pending_at: row.try_get::<Option<i64>, _>("oldest")?.map(Micros),
            })
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn retry_parked(
            conn: &mut $connection,
            which: &WhichCalls,
            now: Micros,
        ) -> Result<u64, Error> {
            let (id, rule) = match which {
                WhichCalls::One(id) => (Some(*id), None),
                WhichCalls::Rule(rule) => (None, Some(rule.as_str())),
                WhichCalls::All => (None, None),
            };
            let rows = sqlx::query(
                "select distinct app_id, tenant from follow_ups where state = 'dead' \
                 and ($1 is null or id = $1) and ($2 is null or rule = $2 or substr(rule, 1, length($2) + 1) = $2 || '/')",
            )
            .bind(id)
            .bind(rule)
            .fetch_all(&mut *conn)
            .await?;
            let mut tenants = Vec::new();
            for row in &rows {
                tenants.push((row.try_get::<String, _>("app_id")?, row.try_get::<String, _>("tenant")?));
            }
            lock_budgets(conn, &tenants.iter().map(|(app, tenant)| (app.as_str(), tenant.as_str())).collect()).await?;
            // One that was parked since has its tenant here too.
            let retried = sqlx::query(
                "update follow_ups set state = 'pending', due_at = $3, attempt = 0, ended_at = null, reason = null \
                 where state = 'dead' and ($1 is null or id = $1) and ($2 is null or rule = $2 or substr(rule, 1, length($2) + 1) = $2 || '/') \
                 returning app_id, tenant",
            )
            .bind(id)
            .bind(rule)
            .bind(now.0)
            .fetch_all(&mut *conn)
            .await?;
            let mut woken = BTreeSet::new();
            for row in &retried {
                woken.insert((row.try_get::<String, _>("app_id")?, row.try_get::<String, _>("tenant")?));
            }
            for (app_id, tenant) in &woken {
                wake_at(conn, app_id, tenant, now.0).await?;
            }
            Ok(retried.len() as u64)
        }

        /// Ends calls that wait or are parked. One that is being made is left to its end.
        pub(crate) async fn cancel_waiting(
            conn: &mut $connection,
            which: &WhichCalls,
            now: Micros,
        ) -> Result<u64, Error> {
            let (id, rule) = match which {
                WhichCalls::One(id) => (Some(*id), None),
                WhichCalls::Rule(rule) => (None, Some(rule.as_str())),
                WhichCalls::All => (None, None),
            };
            let ended = sqlx::query(
                "update follow_ups set state = 'cancelled', reason = 'by_hand', ended_at = $3 \
                 where (state = 'dead' or (state = 'pending' and not claimed)) \
                 and ($1 is null or id = $1) and ($2 is null or rule = $2 or substr(rule, 1, length($2) + 1) = $2 || '/')",
            )
            .bind(id)
            .bind(rule)
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(ended.rows_affected())
        }

        /// Calls that ended before the cutoff, a bounded run; parked ones stay.
        pub(crate) async fn prune_follow_ups(
            conn: &mut $connection,
            before: Micros,
            batch: i64,
        ) -> Result<u64, Error> {
            let done = sqlx::query(
                "delete from follow_ups where id in (select id from follow_ups \
                 where state in ('done', 'cancelled', 'merged') and ended_at < $1 order by ended_at limit $2)",
            )
            .bind(before.0)
            .bind(batch)
            .execute(conn)
            .await?;
            Ok(done.rows_affected())
        }
    };
}

pub(crate) use call_list_statements;
