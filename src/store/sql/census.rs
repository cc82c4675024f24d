//! Statements about answers and tenants, for both databases, as `sql` has the others.

/// `greatest` is the function for the greatest of several values.
macro_rules! census_statements {
    ($database:ty, $connection:ty, $row:ty, $greatest:literal) => {
        use crate::store::census::{
            ANSWERS_KEPT, Answers, Counted, Heard, SILENCE_FACTOR, SILENCE_KNOWN, SILENCE_LEAST, Silent, TENANTS_KEPT, Tenants, TokenCensus,
        };

        const HOUR: i64 = 3_600_000_000;

        /// Who is silent, of `tenants t`: $1 is now, $2 the factor, $3 the least, $4 since when it must be known. When GHL sends
        /// nobody anything that is every tenant, so the uninstalled ones are looked for once and not for each.
        const IS_SILENT: &str = concat!(
            "$1 - t.last_at > ", $greatest, "($2 * t.longest_gap, $3) and t.first_at < $4 and t.tenant not in \
             (select i.tenant from installations i where i.state = 'uninstalled')"
        );

        /// The first hour that counts.
        fn oldest_hour(now: Micros) -> i64 {
            (now.0 - micros(ANSWERS_KEPT)) / HOUR
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn note_answers(
            conn: &mut $connection,
            answers: Answers,
            now: Micros,
        ) -> Result<(), Error> {
            sqlx::query(
                "insert into webhook_answers (hour, ok, failed) values ($1, $2, $3) on conflict (hour) do update \
                 set ok = webhook_answers.ok + excluded.ok, failed = webhook_answers.failed + excluded.failed",
            )
            .bind(now.0 / HOUR)
            .bind(answers.ok)
            .bind(answers.failed)
            .execute(&mut *conn)
            .await?;
            sqlx::query("delete from webhook_answers where hour < $1")
                .bind(oldest_hour(now))
                .execute(conn)
                .await?;
            Ok(())
        }

        pub(crate) async fn answers(conn: &mut $connection, now: Micros) -> Result<Answers, Error> {
            let row = sqlx::query(
                "select cast(coalesce(sum(ok), 0) as bigint) as ok, cast(coalesce(sum(failed), 0) as bigint) as failed \
                 from webhook_answers where hour >= $1",
            )
            .bind(oldest_hour(now))
            .fetch_one(conn)
            .await?;
            Ok(Answers {
                ok: row.try_get("ok")?,
                failed: row.try_get("failed")?,
            })
        }

        pub(crate) async fn count_on(conn: &mut $connection, limit: i64) -> Result<Counted, Error> {
            let row = sqlx::query(
                "select h.position as head, c.position as counted from log_head h, cursors c where c.reader = 'census'",
            )
            .fetch_one(&mut *conn)
            .await?;
            let (head, after): (i64, i64) = (row.try_get("head")?, row.try_get("counted")?);
            let upto = head.min(after.saturating_add(limit));
            let rows = sqlx::query(
                "select tenant, min(received_at) as first_at, max(received_at) as last_at, coalesce(max(gap), 0) as longest_gap \
                 from (select coalesce(location_id, company_id) as tenant, received_at, \
                              received_at - lag(received_at) over (partition by coalesce(location_id, company_id) order by position) as gap \
                       from events where position > $1 and position <= $2 and origin = 'webhook') heard \
                 where tenant is not null group by tenant order by tenant",
            )
            .bind(after)
            .bind(upto)
            .fetch_all(conn)
            .await?;
            let tenants = rows.iter().map(|row| {
                Ok(Heard {
                    tenant: row.try_get("tenant")?,
                    first_at: Micros(row.try_get("first_at")?),
                    last_at: Micros(row.try_get("last_at")?),
                    longest_gap: row.try_get("longest_gap")?,
                })
            });
            Ok(Counted {
                after: Position(after),
                upto: Position(upto),
                is_end: upto == head,
                tenants: tenants.collect::<Result<_, Error>>()?,
            })
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn keep_count(conn: &mut $connection, counted: &Counted, now: Micros) -> Result<bool, Error> {
            let moved = sqlx::query("update cursors set position = $2 where reader = 'census' and position = $1")
                .bind(counted.after.0)
                .bind(counted.upto.0)
                .execute(&mut *conn)
                .await?;
            if moved.rows_affected() == 0 {
                return Ok(false);
            }
            // SQLite takes some thousand values in one statement.
            for some in counted.tenants.chunks(500) {
                let mut query = sqlx::QueryBuilder::<$database>::new(
                    "insert into tenants (tenant, first_at, last_at, longest_gap) ",
                );
                query.push_values(some, |mut values, heard| {
                    values.push_bind(heard.tenant.clone());
                    values.push_bind(heard.first_at.0);
                    values.push_bind(heard.last_at.0);
                    values.push_bind(heard.longest_gap);
                });
                // The longest gap fades by an hour in fourteen: a weekend is remembered until the next one.
                query.push(concat!(
                    " on conflict (tenant) do update set longest_gap = ", $greatest,
                    "(tenants.longest_gap - (excluded.last_at - tenants.last_at) / 14, excluded.first_at - tenants.last_at, \
                      excluded.longest_gap), \
                     last_at = ", $greatest, "(tenants.last_at, excluded.last_at)"
                ));
                query.build().execute(&mut *conn).await?;
            }
            // Who is gone for so long comes back as somebody new.
            sqlx::query("delete from tenants where last_at < $1")
                .bind(now.0 - micros(TENANTS_KEPT))
                .execute(conn)
                .await?;
            Ok(true)
        }

        pub(crate) async fn tenants(conn: &mut $connection, now: Micros) -> Result<Tenants, Error> {
            let counts = format!("select count(*) as known, count(case when {IS_SILENT} then 1 end) as silent from tenants t where t.last_at >= $5"
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(counts))
                .bind(now.0)
                .bind(SILENCE_FACTOR)
                .bind(micros(SILENCE_LEAST))
                .bind(now.0 - micros(SILENCE_KNOWN))
                .bind(now.0 - micros(TENANTS_KEPT))
                .fetch_one(conn)
                .await?;
            Ok(Tenants { known: row.try_get("known")?, silent: row.try_get("silent")? })
        }

        pub(crate) async fn silent_tenants(conn: &mut $connection, now: Micros, limit: i64) -> Result<Vec<Silent>, Error> {
            let silent = format!(
                "select t.tenant, t.last_at, t.longest_gap from tenants t where t.last_at >= $6 and {IS_SILENT} order by t.longest_gap, t.tenant limit $5"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(silent))
                .bind(now.0)
                .bind(SILENCE_FACTOR)
                .bind(micros(SILENCE_LEAST))
                .bind(now.0 - micros(SILENCE_KNOWN))
                .bind(limit)
                .bind(now.0 - micros(TENANTS_KEPT))
                .fetch_all(conn)
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(Silent {
                        tenant: row.try_get("tenant")?,
                        last_at: Micros(row.try_get("last_at")?),
                        longest_gap: row.try_get("longest_gap")?,
                    })
                })
                .collect()
        }

        pub(crate) async fn token_census(conn: &mut $connection, now: Micros) -> Result<TokenCensus, Error> {
            let row = sqlx::query(
                "select count(case when state <> 'reauthorise' and expires_at > $1 then 1 end), \
                 min(case when state <> 'reauthorise' and expires_at > $1 then expires_at end), \
                 count(case when state <> 'reauthorise' and expires_at <= $1 then 1 end), \
                 count(case when state = 'reauthorise' then 1 end) from tokens",
            )
            .bind(now.0)
            .fetch_one(conn)
            .await?;
            Ok(TokenCensus {
                good: row.try_get(0)?,
                next_expiry: row.try_get::<Option<i64>, _>(1)?.map(Micros),
                expired: row.try_get(2)?,
                reauthorise: row.try_get(3)?,
            })
        }
    };
}

pub(crate) use census_statements;
