//! Statements about held tenants and their events, for both databases, as `sql` has the others.

macro_rules! held_statements {
    ($database:ty, $connection:ty, $row:ty) => {
        use crate::store::{Held, HeldTenant, SettledHeld};
        use sqlx::QueryBuilder;

        /// Rows of one statement at most.
        const HELD_ROWS: usize = 512;

        /// Events that are held no more, by their tenants.
        type HeldNoMore = std::collections::BTreeMap<String, i64>;

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

        /// Deletes rows of held events; how many were there, counted in `gone` as well. For `release_held`,
        /// after the last of them: whoever removes held events has rows of events first, then of tenants, then the cursor.
        async fn no_longer_held(
            conn: &mut $connection,
            positions: &[i64],
            gone: &mut HeldNoMore,
        ) -> Result<i64, Error> {
            let mut query = QueryBuilder::<$database>::new("delete from held_events where position in (");
            let mut places = query.separated(", ");
            for position in positions {
                places.push_bind(*position);
            }
            query.push(") returning tenant");
            let rows = query.build().fetch_all(conn).await?;
            for row in &rows {
                *gone.entry(row.try_get("tenant")?).or_insert(0) += 1;
            }
            Ok(rows.len() as i64)
        }

        /// Takes from each tenant what is held no more; those of which nothing is.
        async fn release_held(conn: &mut $connection, gone: HeldNoMore) -> Result<Vec<String>, Error> {
            for (tenant, events) in gone {
                sqlx::query("update held_tenants set events = events - $2 where tenant = $1")
                    .bind(tenant)
                    .bind(events)
                    .execute(&mut *conn)
                    .await?;
            }
            let released = sqlx::query_scalar("delete from held_tenants where events = 0 returning tenant");
            Ok(released.fetch_all(conn).await?)
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn settle_held(
            conn: &mut $connection,
            settled: &[SettledHeld],
            now: Micros,
        ) -> Result<Vec<String>, Error> {
            // A person may be erasing the same ones: what is deleted here is what counts.
            let (mut published, mut gone) = (0, HeldNoMore::new());
            for one in settled {
                for run in one.published.chunks(HELD_ROWS) {
                    let positions: Vec<_> = run.iter().map(|position| position.0).collect();
                    published += no_longer_held(conn, &positions, &mut gone).await?;
                }
                for parked in &one.parked {
                    if no_longer_held(conn, &[parked.position.0], &mut gone).await? == 1 {
                        park(conn, parked, now).await?;
                    }
                }
            }
            let released = release_held(conn, gone).await?;
            sqlx::query("update cursors set published = published + $2 where reader = $1")
                .bind(RELAY)
                .bind(published)
                .execute(&mut *conn)
                .await?;
            Ok(released)
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
