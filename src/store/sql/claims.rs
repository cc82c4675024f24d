//! Statements about calls that are claimed and ended, for both databases, as `sql` has the others.
//!
//! Whoever does holds the tenant's budget first (see `budgets`). `$locking` and `$skipping` are what Postgres needs for
//! that; SQLite has one writer.

macro_rules! claim_statements {
    ($database:ty, $connection:ty, $row:ty, $locking:literal, $skipping:literal) => {
        use crate::store::{CLAIM_LOST, Claimed, ClaimedRow, Ended, NO_TOKEN, Next};
        use std::collections::BTreeMap;

        /// Tenants of one claim at most.
        const CLAIM_TENANTS: i64 = 64;

        /// Takes back what claims of a tenant left that are over without an end; how many.
        async fn take_back(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            now: Micros,
        ) -> Result<u64, Error> {
            let lost = sqlx::query(
                "update follow_ups set claimed = false, reason = $4, detail = null \
                 where app_id = $1 and tenant = $2 and claimed and due_at <= $3",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(now.0)
            .bind(CLAIM_LOST)
            .execute(conn)
            .await?;
            Ok(lost.rows_affected())
        }

        /// Parks a call whose event is gone from the log, as after a restore.
        async fn park_without_event(conn: &mut $connection, id: i64, now: Micros) -> Result<(), Error> {
            sqlx::query(
                "update follow_ups set state = 'dead', reason = 'no_event', ended_at = $2, \
                        detail = 'its event is not in the log any more' where id = $1",
            )
            .bind(id)
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(())
        }

        /// What a claim takes; the second value is when to look again. Everything but the beginning and the end of
        /// the transaction: a claim that nobody comes to know of would hold its tenant's budget for a lease.
        pub(crate) async fn claim(
            conn: &mut $connection,
            wanted: u32,
            limits: &Limits,
            lease: Duration,
            now: Micros,
        ) -> Result<(Vec<Claimed>, Option<i64>), Error> {
            let tenants = sqlx::query(concat!(
                "select app_id, tenant, budget from call_budgets where next_at <= $1 \
                 order by served_at, app_id, tenant limit $2", $skipping
            ))
            .bind(now.0)
            .bind(CLAIM_TENANTS.min(i64::from(wanted)))
            .fetch_all(&mut *conn)
            .await?;
            let (mut claimed, mut left) = (Vec::new(), wanted);
            for (n, row) in tenants.iter().enumerate() {
                let app_id: String = row.try_get("app_id")?;
                let tenant: String = row.try_get("tenant")?;
                let mut budget = Budget::from_text(&row.try_get::<String, _>("budget")?);
                // Everybody gets the same share of what is left.
                let sharing = u32::try_from(tenants.len() - n).unwrap_or(1);
                let share = left.div_ceil(sharing);
                // Their calls may have been made until now.
                for _ in 0..take_back(conn, &app_id, &tenant, now).await? {
                    budget.end(limits, None, now);
                }
                let room = match tenant.is_empty() || crate::failpoints::mutant("mutant.M18") {
                    true => share,
                    false => budget.room(limits, now).min(share),
                };
                let taken = take_due(conn, &app_id, &tenant, room, lease, now).await?;
                let count = u32::try_from(taken.len()).unwrap_or(left);
                left -= count;
                budget.begin(count, now);
                keep_budget(conn, (&app_id, &tenant), &budget, Some(now), limits, now).await?;
                claimed.extend(taken);
            }
            let next_at = sqlx::query_scalar("select min(next_at) from call_budgets")
                .fetch_one(&mut *conn)
                .await?;
            Ok((with_events(conn, claimed).await?, next_at))
        }

        /// Claims what is due of a tenant, as far as there is room for it.
        async fn take_due(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            room: u32,
            lease: Duration,
            now: Micros,
        ) -> Result<Vec<ClaimedRow>, Error> {
            // The first of its rule and record, by the index that has them in order: before Postgres knows how many
            // rows there are, it would look for an earlier one among all that the tenant has waiting.
            let due = sqlx::query(
                "select f.id, f.position, f.rule, f.lease, f.attempt, f.progress, f.reason, \
                        exists (select 1 from events e where e.position = f.position) as has_event \
                 from follow_ups f \
                 where f.app_id = $1 and f.tenant = $2 and f.state = 'pending' and not f.claimed and f.due_at <= $3 \
                 and (f.entity_id is null or f.id = (\
                    select b.id from follow_ups b where b.rule = f.rule and b.app_id = f.app_id \
                    and b.tenant = f.tenant and b.entity_id = f.entity_id and b.state = 'pending' \
                    order by b.id limit 1)) \
                 order by f.due_at, f.id limit $4",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(now.0)
            .bind(i64::from(room))
            .fetch_all(&mut *conn)
            .await?;
            let mut taken = Vec::with_capacity(due.len());
            for row in &due {
                let id: i64 = row.try_get("id")?;
                if !row.try_get::<bool, _>("has_event")? {
                    park_without_event(conn, id, now).await?;
                    continue;
                }
                let lease_before: i64 = row.try_get("lease")?;
                let attempt: i64 = row.try_get("attempt")?;
                let reason: Option<String> = row.try_get("reason")?;
                taken.push(ClaimedRow {
                    id,
                    lease: lease_before + 1,
                    rule: row.try_get("rule")?,
                    tenant: tenant.to_owned(),
                    attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
                    progress: row.try_get("progress")?,
                    taken_over: reason.as_deref() == Some(CLAIM_LOST),
                    position: row.try_get("position")?,
                });
            }
            if !taken.is_empty() {
                let mut query = sqlx::QueryBuilder::<$database>::new(
                    "update follow_ups set claimed = true, lease = lease + 1, due_at = ",
                );
                query.push_bind(now.0 + micros(lease)).push(" where id in (");
                let mut list = query.separated(", ");
                for row in &taken {
                    list.push_bind(row.id);
                }
                query.push(")");
                query.build().execute(conn).await?;
            }
            Ok(taken)
        }

        /// Writes down ends; whether each claim was still held.
        pub(crate) async fn end(
            conn: &mut $connection,
            ended: &[Ended],
            limits: &Limits,
            now: Micros,
        ) -> Result<Vec<bool>, Error> {
            let mut of_tenants: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
            for (n, one) in ended.iter().enumerate() {
                of_tenants.entry((one.app_id.as_str(), one.tenant.as_str())).or_default().push(n);
            }
            let mut held = vec![false; ended.len()];
            for ((app_id, tenant), places) in of_tenants {
                let text: Option<String> = sqlx::query_scalar(concat!(
                    "select budget from call_budgets where app_id = $1 and tenant = $2", $locking
                ))
                .bind(app_id)
                .bind(tenant)
                .fetch_optional(&mut *conn)
                .await?;
                let mut budget = Budget::from_text(&text.unwrap_or_default());
                for n in places {
                    let one = &ended[n];
                    held[n] = end_one(conn, one, now).await?;
                    // A claim that somebody else took over was counted as ended then.
                    if held[n] {
                        match &one.told {
                            Some(told) => budget.end(limits, Some(told), now),
                            None => budget.unmade(),
                        }
                    }
                }
                keep_budget(conn, (app_id, tenant), &budget, None, limits, now).await?;
            }
            Ok(held)
        }

        async fn end_one(conn: &mut $connection, one: &Ended, now: Micros) -> Result<bool, Error> {
            // At an end the last call counts, too.
            let (state, due_at, attempt, progress, is_end) = match &one.next {
                Next::Done => ("done", now.0, None, None, true),
                Next::Cancelled => ("cancelled", now.0, None, None, true),
                Next::Park => ("dead", now.0, None, None, true),
                Next::Again { after, attempt, progress } => {
                    ("pending", now.0 + micros(*after), Some(i64::from(*attempt)), Some(progress.as_str()), false)
                }
            };
            let done = sqlx::query(
                "update follow_ups set state = $3, due_at = $4, claimed = false, attempt = coalesce($5, attempt + 1), \
                        progress = coalesce($6, progress), ended_at = $7, status = coalesce($8, status), \
                        reason = $9, detail = $10 \
                 where id = $1 and lease = $2 and state = 'pending' and claimed",
            )
            .bind(one.id)
            .bind(one.lease)
            .bind(state)
            .bind(due_at)
            .bind(attempt)
            .bind(progress.or(one.progress.as_deref()))
            .bind(is_end.then_some(now.0))
            .bind(one.status.map(i64::from))
            .bind(one.reason)
            .bind((!one.detail.is_empty()).then_some(one.detail.as_str()))
            .execute(&mut *conn)
            .await?;
            let held = done.rows_affected() == 1;
            if held && !is_end {
                cancel_gone(conn, one.id, now).await?;
            }
            if held && one.is_remembered() {
                note_attempt(conn, one, now).await?;
            }
            Ok(held)
        }

        /// Keeps what came of a call that is not the last one; the newest twenty, for some are made again for days.
        async fn note_attempt(conn: &mut $connection, one: &Ended, now: Micros) -> Result<(), Error> {
            sqlx::query(
                "insert into follow_up_attempts (follow_up_id, at, status, reason, detail) values ($1, $2, $3, $4, $5) \
                 on conflict do nothing",
            )
            .bind(one.id)
            .bind(now.0)
            .bind(one.status.map(i32::from))
            .bind(one.reason)
            .bind((!one.detail.is_empty()).then_some(one.detail.as_str()))
            .execute(&mut *conn)
            .await?;
            sqlx::query(
                "delete from follow_up_attempts where follow_up_id = $1 and at <= (\
                   select at from follow_up_attempts where follow_up_id = $1 order by at desc limit 1 offset 20)",
            )
            .bind(one.id)
            .execute(conn)
            .await?;
            Ok(())
        }

        /// Calls that wait for a token of a tenant, or of a location of it, are due.
        async fn wake(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            now: Micros,
        ) -> Result<(), Error> {
            // One statement a tenant, by its index: the app's whole backlog is not read.
            let tenants = with_calls_of(conn, app_id, tenant).await?;
            lock_budgets(conn, &tenants.iter().map(|tenant| (app_id, tenant.as_str())).collect()).await?;
            for tenant in tenants {
                let woken = sqlx::query(
                    "update follow_ups set due_at = $3 where app_id = $1 and tenant = $2 and state = 'pending' \
                     and not claimed and reason = $4 and $3 < due_at",
                )
                .bind(app_id)
                .bind(tenant.as_str())
                .bind(now.0)
                .bind(NO_TOKEN)
                .execute(&mut *conn)
                .await?;
                if 0 < woken.rows_affected() {
                    wake_at(conn, app_id, &tenant, now.0).await?;
                }
            }
            Ok(())
        }

        /// Puts the claimed calls and their events together.
        async fn with_events(
            conn: &mut $connection,
            claimed: Vec<ClaimedRow>,
        ) -> Result<Vec<Claimed>, Error> {
            if claimed.is_empty() {
                return Ok(Vec::new());
            }
            let mut query = sqlx::QueryBuilder::<$database>::new(concat!(
                "select ", event_columns!(), " from events where position in ("
            ));
            let mut list = query.separated(", ");
            for row in &claimed {
                list.push_bind(row.position);
            }
            query.push(")");
            let mut events = BTreeMap::new();
            for row in query.build().fetch_all(conn).await? {
                let event = recorded(&row)?;
                events.insert(event.position, event);
            }
            let mut calls = Vec::with_capacity(claimed.len());
            for row in claimed {
                let event = events.get(&Position(row.position)).cloned();
                calls.push(Claimed {
                    id: row.id,
                    lease: row.lease,
                    rule: row.rule,
                    tenant: row.tenant,
                    attempt: row.attempt,
                    progress: row.progress,
                    taken_over: row.taken_over,
                    event: event.ok_or(Error::Corrupt("follow_ups.position"))?,
                });
            }
            Ok(calls)
        }
    };
}

pub(crate) use claim_statements;
