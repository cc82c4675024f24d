//! Statements that remove what a person wants removed, for both databases, as `sql` has the others.

/// `occurs` is the test whether the bytes bound next occur in a body, in two halves.
macro_rules! erasure_statements {
    ($database:ty, $connection:ty, $row:ty, $occurs:expr) => {
        use crate::store::erasure::{Beside, ERASE_LOOK, Erased, Found, Subject};

        /// Values of one statement at most.
        const ERASE_ROWS: usize = 512;

        /// Every reader is past it. The census loses a count at most, and keys are written when their event goes.
        const PASSED: &str = "(select min(c.position) from cursors c where c.reader not in ('census', 'keys'))";

        /// What is one's own of `events e`.
        fn push_subject(query: &mut sqlx::QueryBuilder<$database>, subject: &Subject) {
            match subject {
                Subject::Contact(id) => {
                    query.push("(e.entity_id = ").push_bind(id.clone()).push(" or ");
                    push_occurs(query, id);
                    query.push(")");
                }
                Subject::Tenant(id) => {
                    query.push("(e.location_id = ").push_bind(id.clone());
                    query.push(" or e.company_id = ").push_bind(id.clone()).push(")");
                }
            }
        }

        fn push_occurs(query: &mut sqlx::QueryBuilder<$database>, id: &str) {
            let (left, right): (&str, &str) = $occurs;
            query.push(left).push_bind(id.as_bytes().to_vec()).push(right);
        }

        pub(crate) async fn erasable_upto(conn: &mut $connection) -> Result<Position, Error> {
            let passed = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select {PASSED}"))).fetch_one(conn).await?;
            Ok(Position(passed))
        }

        /// The next place that is there behind a part of the log, as where to go on.
        async fn next_part(conn: &mut $connection, end: i64) -> Result<Option<Position>, Error> {
            let next: Option<i64> =
                sqlx::query_scalar("select min(position) from events where position > $1").bind(end).fetch_one(conn).await?;
            Ok(next.map(|next| Position(next - 1)))
        }

        pub(crate) async fn find_subject(
            conn: &mut $connection,
            subject: &Subject,
            after: Position,
        ) -> Result<Found, Error> {
            let end = after.0.saturating_add(ERASE_LOOK);
            let mut query = sqlx::QueryBuilder::<$database>::new("select count(*) as events, count(case when e.position > ");
            query.push(PASSED).push(" then 1 end) as waiting from events e where e.position > ").push_bind(after.0);
            query.push(" and e.position <= ").push_bind(end).push(" and ");
            push_subject(&mut query, subject);
            let row = query.build().fetch_one(&mut *conn).await?;
            Ok(Found {
                events: row.try_get("events")?,
                waiting: row.try_get("waiting")?,
                next: next_part(conn, end).await?,
            })
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn erase_events(
            conn: &mut $connection,
            subject: &Subject,
            after: Position,
        ) -> Result<Erased, Error> {
            let end = after.0.saturating_add(ERASE_LOOK);
            let mut query = sqlx::QueryBuilder::<$database>::new("select e.position, e.position <= ");
            query.push(PASSED).push(" as passed from events e where e.position > ").push_bind(after.0);
            query.push(" and e.position <= ").push_bind(end).push(" and ");
            push_subject(&mut query, subject);
            let (mut passed, mut waiting) = (Vec::new(), 0);
            for row in query.build().fetch_all(&mut *conn).await? {
                match row.try_get("passed")? {
                    true => passed.push(row.try_get("position")?),
                    false => waiting += 1,
                }
            }
            let mut erased = erase_positions(conn, &passed).await?;
            erased.left += waiting;
            erased.next = next_part(conn, end).await?;
            Ok(erased)
        }

        fn within(head: &'static str, positions: &[i64], tail: &'static str) -> sqlx::QueryBuilder<$database> {
            let mut query = sqlx::QueryBuilder::<$database>::new(head);
            query.push(" position in (");
            let mut places = query.separated(", ");
            for position in positions {
                places.push_bind(*position);
            }
            query.push(")").push(tail);
            query
        }

        /// Removes events that every reader has passed, with all that hangs on them.
        async fn erase_positions(conn: &mut $connection, positions: &[i64]) -> Result<Erased, Error> {
            let mut rows = Vec::new();
            for run in positions.chunks(ERASE_ROWS) {
                let mut called = within("select distinct app_id, tenant from follow_ups where", run, " and state = 'pending'");
                rows.extend(called.build().fetch_all(&mut *conn).await?);
            }
            let tenants = lock_found(conn, &rows).await?;
            let (mut erased, mut held) = (Erased::default(), HeldNoMore::new());
            for run in positions.chunks(ERASE_ROWS) {
                erase_run(conn, run, &mut erased, &mut held).await?;
            }
            release_held(conn, held).await?;
            if 0 < erased.discarded {
                sqlx::query("update cursors set discarded = discarded + $2 where reader = $1")
                    .bind(RELAY)
                    .bind(erased.discarded as i64)
                    .execute(&mut *conn)
                    .await?;
            }
            // The next of a call's rule and record need not wait until it would have been made: at once, whatever the time.
            for (app_id, tenant) in &tenants {
                wake_at(conn, app_id, tenant, 0).await?;
            }
            Ok(erased)
        }

        async fn erase_run(
            conn: &mut $connection,
            run: &[i64],
            erased: &mut Erased,
            held: &mut HeldNoMore,
        ) -> Result<(), Error> {
            // A call that is being made is left to its end, and so is its event.
            let ended = within("delete from follow_ups where", run, " and not (state = 'pending' and claimed)");
            erased.calls += execute(conn, ended).await?;
            let mut called = within("select distinct position from follow_ups where", run, "");
            let busy = called.build().fetch_all(&mut *conn).await?;
            let busy = busy.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<i64>, Error>>()?;
            erased.left += busy.len() as u64;
            let free: Vec<i64> = run.iter().copied().filter(|position| !busy.contains(position)).collect();
            if free.is_empty() {
                return Ok(());
            }
            execute(conn, within(
                "insert into event_keys (event_key, app_id, position, received_at, body_hash) \
                 select event_key, app_id, position, received_at, body_hash from events where",
                &free,
                " on conflict do nothing",
            ))
            .await?;
            // The relay may be settling the same ones: what it parks meanwhile is a dead letter by then.
            erased.discarded += no_longer_held(conn, &free, held).await? as u64;
            erased.discarded += execute(conn, within("delete from dead_letters where", &free, "")).await?;
            erased.events += execute(conn, within("delete from events where", &free, "")).await?;
            Ok(())
        }

        async fn execute(conn: &mut $connection, mut query: sqlx::QueryBuilder<$database>) -> Result<u64, Error> {
            Ok(query.build().execute(conn).await?.rows_affected())
        }

        async fn count_of(conn: &mut $connection, sql: &'static str, id: &str) -> Result<i64, Error> {
            Ok(sqlx::query_scalar(sql).bind(id).fetch_one(conn).await?)
        }

        pub(crate) async fn find_beside(conn: &mut $connection, subject: &Subject) -> Result<Beside, Error> {
            let id = subject.id();
            let mut query = sqlx::QueryBuilder::<$database>::new("select count(*) from quarantine e where ");
            push_occurs(&mut query, id);
            let quarantined = query.build_query_scalar().fetch_one(&mut *conn).await?;
            let mut beside = Beside { quarantined, ..Beside::default() };
            match subject {
                Subject::Contact(_) => {
                    beside.calls = count_of(conn, "select count(*) from follow_ups where entity_id = $1", id).await?;
                }
                Subject::Tenant(_) => {
                    beside.calls = count_of(conn, "select count(*) from follow_ups where tenant = $1", id).await?;
                    beside.installations = count_of(
                        conn,
                        "select count(*) from installations where (tenant = $1 or company_id = $1) and state = 'uninstalled'",
                        id,
                    )
                    .await?;
                    beside.installed = count_of(
                        conn,
                        "select count(*) from installations where (tenant = $1 or company_id = $1) and state = 'installed'",
                        id,
                    )
                    .await?;
                }
            }
            Ok(beside)
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn erase_beside(conn: &mut $connection, subject: &Subject) -> Result<Beside, Error> {
            let (id, mut beside) = (subject.id(), Beside::default());
            let mut query = sqlx::QueryBuilder::<$database>::new("delete from quarantine where id in (select e.id from quarantine e where ");
            push_occurs(&mut query, id);
            query.push(")");
            beside.quarantined = execute(conn, query).await? as i64;
            let calls = match subject {
                Subject::Contact(_) => "delete from follow_ups where entity_id = $1 and not (state = 'pending' and claimed)",
                Subject::Tenant(_) => "delete from follow_ups where tenant = $1 and not (state = 'pending' and claimed)",
            };
            // Whoever claims calls of these tenants has their budgets: what it has taken is claimed by then.
            let called = match subject {
                Subject::Contact(_) => "select distinct app_id, tenant from follow_ups where entity_id = $1 and state = 'pending'",
                Subject::Tenant(_) => "select distinct app_id, tenant from follow_ups where tenant = $1 and state = 'pending'",
            };
            let rows = sqlx::query(called).bind(id).fetch_all(&mut *conn).await?;
            lock_found(conn, &rows).await?;
            beside.calls = sqlx::query(calls).bind(id).execute(&mut *conn).await?.rows_affected() as i64;
            if matches!(subject, Subject::Tenant(_)) {
                for sql in [
                    "delete from subscriptions where (location_id = $1 or company_id = $1) and not exists \
                     (select 1 from installations i where i.app_id = subscriptions.app_id and i.tenant = subscriptions.location_id \
                      and i.state = 'installed')",
                    "delete from tokens where tenant in (select i.tenant from installations i where (i.tenant = $1 or i.company_id = $1) \
                      and i.state = 'uninstalled' and i.app_id = tokens.app_id)",
                    "delete from tenants where tenant = $1 or tenant in (select i.tenant from installations i \
                      where i.company_id = $1 and i.state = 'uninstalled')",
                ] {
                    sqlx::query(sql).bind(id).execute(&mut *conn).await?;
                }
                let over = "delete from installations where (tenant = $1 or company_id = $1) and state = 'uninstalled'";
                beside.installations = sqlx::query(over).bind(id).execute(&mut *conn).await?.rows_affected() as i64;
            }
            Ok(beside)
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn discard_dead_letters(
            conn: &mut $connection,
            selection: Selection,
            after: Position,
        ) -> Result<Erased, Error> {
            let sql = format!(
                "select d.position from dead_letters d where d.state = 'parked' and ($1 is null or d.position = $1) \
                 and d.position > $2 and d.position <= {PASSED} order by d.position limit $3"
            );
            let positions: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .bind(selection.bound())
                .bind(after.0)
                .bind(ERASE_LOOK)
                .fetch_all(&mut *conn)
                .await?;
            let mut erased = erase_positions(conn, &positions).await?;
            let is_full = positions.len() as i64 == ERASE_LOOK;
            erased.next = positions.last().filter(|_| is_full).map(|last| Position(*last));
            if erased.next.is_none() {
                let unread = format!(
                    "select count(*) from dead_letters d where d.state = 'parked' and ($1 is null or d.position = $1) \
                     and not (d.position <= {PASSED})"
                );
                let unread: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(unread))
                    .bind(selection.bound())
                    .fetch_one(conn)
                    .await?;
                erased.left += unread as u64;
            }
            Ok(erased)
        }
    };
}

pub(crate) use erasure_statements;
