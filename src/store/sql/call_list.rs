//! Statements about calls that people ask for, and their end by age, for both databases, as `sql` has the others.

macro_rules! call_list_statements {
    ($database:ty, $connection:ty, $row:ty) => {
        use crate::store::follow_ups::CALLS_LOOK;
        use crate::store::{Attempt, FollowUp, FollowUpPage, FollowUpCounts, FollowUpFilter, WhichCalls};

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

        /// A part of the calls, newest first: what has an index is found by it, the rest among the next 20,000.
        pub(crate) async fn follow_up_page(
            conn: &mut $connection,
            filter: &FollowUpFilter,
        ) -> Result<FollowUpPage, Error> {
            let newest: Option<i64> = sqlx::query_scalar("select max(id) from follow_ups").fetch_one(&mut *conn).await?;
            let before = newest.map_or(1, |newest| newest.saturating_add(1)).min(filter.before.unwrap_or(i64::MAX));
            let own = filter.rule.as_deref().is_some_and(|rule| rule.starts_with("hookwell."));
            let is_dead = filter.state.as_deref() == Some("dead");
            let floor = match own || is_dead || filter.position.is_some() {
                true => 0,
                false => before.saturating_sub(1).saturating_sub(CALLS_LOOK).max(0),
            };
            let mut query = sqlx::QueryBuilder::<$database>::new("select * from follow_ups where id < ");
            query.push_bind(before).push(" and id > ").push_bind(floor);
            if own {
                query.push(" and substr(rule, 1, 9) = 'hookwell.'");
            }
            if let Some(position) = filter.position {
                query.push(" and position = ").push_bind(position.0);
            }
            match filter.state.as_deref() {
                // In the words of the index.
                Some("dead") => {
                    query.push(" and state = 'dead'");
                }
                Some(state) => {
                    query.push(" and state = ").push_bind(state.to_owned());
                }
                None => (),
            }
            if let Some(rule) = &filter.rule {
                query.push(" and (rule = ").push_bind(rule.clone());
                query.push(" or substr(rule, 1, length(").push_bind(rule.clone());
                query.push(") + 1) = ").push_bind(format!("{rule}/")).push(")");
            }
            if let Some(tenant) = &filter.tenant {
                query.push(" and tenant = ").push_bind(tenant.clone());
            }
            query.push(" order by id desc limit ").push_bind(filter.limit);
            let rows = query.build().fetch_all(&mut *conn).await?;
            let rows = rows.iter().map(follow_up_of).collect::<Result<Vec<_>, _>>()?;
            let full = i64::try_from(rows.len()).is_ok_and(|found| filter.limit <= found);
            let next = match (full, rows.last()) {
                (true, Some(last)) => Some(last.id),
                _ if floor == 0 => None,
                // Retention leaves holes: go on at the next one that is there.
                _ => sqlx::query_scalar::<_, Option<i64>>("select max(id) from follow_ups where id <= $1")
                    .bind(floor)
                    .fetch_one(conn)
                    .await?
                    .map(|next| next + 1),
            };
            Ok(FollowUpPage { rows, next })
        }

        /// Parked calls, of a rule or all, and those among them of which nobody knows whether they were made; no more than
        /// `most` are looked at.
        pub(crate) async fn count_parked(
            conn: &mut $connection,
            rule: Option<&str>,
            most: i64,
        ) -> Result<(i64, i64), Error> {
            let row = sqlx::query(
                "select count(*) as parked, count(case when reason = 'outcome_unknown' then 1 end) as unknown from (\
                   select reason from follow_ups where state = 'dead' \
                   and ($1 is null or rule = $1 or substr(rule, 1, length($1) + 1) = $1 || '/') limit $2) found",
            )
            .bind(rule)
            .bind(most)
            .fetch_one(conn)
            .await?;
            Ok((row.try_get("parked")?, row.try_get("unknown")?))
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
            let (id, rule) = which.bounds();
            let rows = sqlx::query(
                "select distinct app_id, tenant from follow_ups where state = 'dead' \
                 and ($1 is null or id = $1) and ($2 is null or rule = $2 or substr(rule, 1, length($2) + 1) = $2 || '/')",
            )
            .bind(id)
            .bind(rule)
            .fetch_all(&mut *conn)
            .await?;
            lock_found(conn, &rows).await?;
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
            let (id, rule) = which.bounds();
            let rows = sqlx::query(
                "select distinct app_id, tenant from follow_ups where state = 'pending' and not claimed \
                 and ($1 is null or id = $1) and ($2 is null or rule = $2 or substr(rule, 1, length($2) + 1) = $2 || '/')",
            )
            .bind(id)
            .bind(rule)
            .fetch_all(&mut *conn)
            .await?;
            let tenants = lock_found(conn, &rows).await?;
            let ended = sqlx::query(
                "update follow_ups set state = 'cancelled', reason = 'by_hand', ended_at = $3 \
                 where (state = 'dead' or (state = 'pending' and not claimed)) \
                 and ($1 is null or id = $1) and ($2 is null or rule = $2 or substr(rule, 1, length($2) + 1) = $2 || '/')",
            )
            .bind(id)
            .bind(rule)
            .bind(now.0)
            .execute(&mut *conn)
            .await?;
            // The next of its rule and record need not wait until it would have been made.
            for (app_id, tenant) in &tenants {
                wake_at(conn, app_id, tenant, now.0).await?;
            }
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
