//! Statements about held tenants and their events, for both databases, as `sql` has the others.

macro_rules! held_statements {
    ($database:ty, $connection:ty, $row:ty) => {
        use crate::store::{Held, HeldTenant, SettledHeld};
        use sqlx::QueryBuilder;

        /// Rows of one statement at most.
        const HELD_ROWS: usize = 512;

        /// Makes events wait, and their tenant a held one.
        async fn hold(conn: &mut $connection, held: &Held, now: Micros) -> Result<(), Error> {
            sqlx::query(
                "insert into held_tenants (tenant, reason, detail, since, events) values ($1, $2, $3, $4, $5) \
                 on conflict (tenant) do update set events = held_tenants.events + excluded.events",
            )
            .bind(held.tenant.as_str())
            .bind(held.reason)
            .bind(held.detail.as_str())
            .bind(now.0)
            .bind(held.positions.len() as i64)
            .execute(&mut *conn)
            .await?;
            for run in held.positions.chunks(HELD_ROWS) {
                let mut query = QueryBuilder::<$database>::new("insert into held_events (position, tenant) ");
                query.push_values(run, |mut row, position| {
                    row.push_bind(position.0).push_bind(held.tenant.as_str());
                });
                query.build().execute(&mut *conn).await?;
            }
            Ok(())
        }

        pub(crate) async fn held(
            conn: &mut $connection,
            tenant: &str,
            limit: i64,
            max_bytes: i64,
        ) -> Result<Vec<Recorded>, Error> {
            sqlx::query(concat!(
                "select ",
                event_columns!(),
                " from events where position in (\
                   select position from (\
                     select position, sum(size) over (order by position) - size as before from (\
                       select e.position, length(e.body) as size \
                       from held_events w join events e on e.position = w.position \
                       where w.tenant = $1 order by w.position limit $2\
                     ) run\
                   ) sized where before < $3) \
                 order by position"
            ))
            .bind(tenant)
            .bind(limit)
            .bind(max_bytes)
            .fetch_all(conn)
            .await?
            .iter()
            .map(recorded)
            .collect()
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn settle_held(
            conn: &mut $connection,
            settled: &[SettledHeld],
            now: Micros,
        ) -> Result<Vec<String>, Error> {
            let mut published = 0;
            for one in settled {
                for parked in &one.parked {
                    // A person may have erased it meanwhile.
                    let is_held: bool = sqlx::query_scalar("select exists (select 1 from held_events where position = $1)")
                        .bind(parked.position.0)
                        .fetch_one(&mut *conn)
                        .await?;
                    if is_held {
                        park(conn, parked, now).await?;
                    }
                }
                let parked: Vec<_> = one.parked.iter().map(|parked| parked.position).collect();
                let published_runs = one.published.chunks(HELD_ROWS).map(|run| (run, true));
                let parked_runs = parked.chunks(HELD_ROWS).map(|run| (run, false));
                for (run, is_published) in published_runs.chain(parked_runs) {
                    let mut query = QueryBuilder::<$database>::new("delete from held_events where position in (");
                    let mut places = query.separated(", ");
                    for position in run {
                        places.push_bind(position.0);
                    }
                    query.push(")");
                    let gone = query.build().execute(&mut *conn).await?.rows_affected() as i64;
                    published += if is_published { gone } else { 0 };
                    sqlx::query("update held_tenants set events = events - $2 where tenant = $1")
                        .bind(one.tenant.as_str())
                        .bind(gone)
                        .execute(&mut *conn)
                        .await?;
                }
            }
            sqlx::query("update cursors set published = published + $2 where reader = $1")
                .bind(RELAY)
                .bind(published)
                .execute(&mut *conn)
                .await?;
            let released = sqlx::query_scalar("delete from held_tenants where events = 0 returning tenant");
            Ok(released.fetch_all(conn).await?)
        }

        pub(crate) async fn held_tenants(conn: &mut $connection) -> Result<Vec<HeldTenant>, Error> {
            let rows = sqlx::query("select tenant, reason, detail, since, events from held_tenants order by since, tenant")
                .fetch_all(conn)
                .await?;
            let tenant = |row: &$row| {
                Ok(HeldTenant {
                    tenant: row.try_get("tenant")?,
                    reason: row.try_get("reason")?,
                    detail: row.try_get("detail")?,
                    since: Micros(row.try_get("since")?),
                    events: row.try_get("events")?,
                })
            };
            rows.iter().map(tenant).collect()
        }
    };
}

pub(crate) use held_statements;
