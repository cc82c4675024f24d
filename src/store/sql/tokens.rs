//! Statements about tokens, and about the states of authorisations, for both databases, as `sql` has the others.

macro_rules! token_statements {
    ($connection:ty, $row:ty) => {
        use crate::store::{Begun, NewToken, OauthState, RefreshEnd, SealedToken};

        fn sealed_token_of(row: &$row) -> Result<SealedToken, Error> {
            let account: String = row.try_get("account")?;
            Ok(SealedToken {
                account: Account::parse(&account).ok_or(Error::Corrupt("tokens.account"))?,
                company_id: row.try_get("company_id")?,
                access: row.try_get("access_token")?,
                refresh: row.try_get("refresh_token")?,
                previous: row.try_get("previous_refresh_token")?,
                scope: row.try_get("scope")?,
                expires_at: Micros(row.try_get("expires_at")?),
                reauthorise: row.try_get::<String, _>("state")? == "reauthorise",
                obtained_at: Micros(row.try_get("obtained_at")?),
                version: row.try_get("version")?,
                refreshing_until: row.try_get::<Option<i64>, _>("refreshing_until")?.map(Micros),
                unknown_refreshes: row.try_get("unknown_refreshes")?,
            })
        }

        pub(crate) async fn token(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
        ) -> Result<Option<SealedToken>, Error> {
            sqlx::query("select * from tokens where app_id = $1 and tenant = $2")
                .bind(app_id)
                .bind(tenant)
                .fetch_optional(conn)
                .await?
                .as_ref()
                .map(sealed_token_of)
                .transpose()
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn put_token(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            token: &NewToken,
            now: Micros,
        ) -> Result<bool, Error> {
            // A row that was erased comes back with a higher version: whoever began to refresh the one before
            // does not end it on this one.
            let kept = sqlx::query(
                "insert into tokens (app_id, tenant, account, company_id, access_token, refresh_token, scope, obtained_at, \
                        expires_at, state, version) \
                 select $1, $2, $3, $4, $5, $6, $7, $8, $9, 'usable', $8 \
                 where not ($10 and exists (select 1 from installations i where i.app_id = $1 and i.tenant = $2 \
                                            and i.state = 'uninstalled')) \
                 on conflict (app_id, tenant) do update set account = excluded.account, \
                        company_id = coalesce(excluded.company_id, tokens.company_id), \
                        access_token = excluded.access_token, \
                        previous_refresh_token = case when excluded.refresh_token is null \
                            then tokens.previous_refresh_token else tokens.refresh_token end, \
                        refresh_token = coalesce(excluded.refresh_token, tokens.refresh_token), \
                        scope = excluded.scope, obtained_at = excluded.obtained_at, expires_at = excluded.expires_at, \
                        state = 'usable', version = tokens.version + 1, refreshing_until = null, unknown_refreshes = 0",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(token.account.as_str())
            .bind(token.company_id.as_deref())
            .bind(token.access.as_slice())
            .bind(token.refresh.as_deref())
            .bind(token.scope.as_str())
            .bind(now.0)
            .bind(now.0 + micros(token.life))
            .bind(token.minted)
            .execute(&mut *conn)
            .await?;
            if kept.rows_affected() == 0 {
                return Ok(false);
            }
            // Who has a token is installed, whether or not the INSTALL has come, or ever comes: until it does, this is
            // when. Any event of the installation's life is newer than that. An INSTALL may have said no company.
            sqlx::query(
                "insert into installations (app_id, tenant, account, company_id, state, generation, changed_at, installed_at) \
                 values ($1, $2, $3, $4, 'installed', 1, 0, $5) on conflict (app_id, tenant) do update \
                 set company_id = excluded.company_id \
                 where installations.company_id is null and excluded.company_id is not null",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(token.account.as_str())
            .bind(token.company_id.as_deref())
            .bind(now.0)
            .execute(&mut *conn)
            .await?;
            wake(conn, app_id, tenant, now).await?;
            Ok(true)
        }

        pub(crate) async fn begin_refresh(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            version: i64,
            lease: Duration,
            now: Micros,
        ) -> Result<Option<Begun>, Error> {
            // One whose time is over without an end: nobody knows what became of it.
            let begun = sqlx::query(
                "update tokens set version = version + 1, refreshing_until = $5, \
                        unknown_refreshes = unknown_refreshes + case when refreshing_until is null then 0 else 1 end \
                 where app_id = $1 and tenant = $2 and version = $3 and state = 'usable' \
                   and (refreshing_until is null or refreshing_until <= $4) returning version, obtained_at",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(version)
            .bind(now.0)
            .bind(now.0 + micros(lease))
            .fetch_optional(conn)
            .await?;
            let Some(row) = begun else { return Ok(None) };
            Ok(Some(Begun {
                version: row.try_get("version")?,
                obtained_at: Micros(row.try_get("obtained_at")?),
            }))
        }

        pub(crate) async fn complete_refresh(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            begun: Begun,
            token: &NewToken,
            now: Micros,
        ) -> Result<bool, Error> {
            // Whatever became of refreshes that began since: `Installations::complete_refresh` says why.
            let done = sqlx::query(
                "update tokens set access_token = $4, \
                        previous_refresh_token = case when $5 is null then previous_refresh_token else refresh_token end, \
                        refresh_token = coalesce($5, refresh_token), \
                        scope = case when $6 = '' then scope else $6 end, obtained_at = $7, expires_at = $8, \
                        version = version + 1, refreshing_until = null, unknown_refreshes = 0, state = 'usable' \
                 where app_id = $1 and tenant = $2 and $3 <= version and obtained_at = $9",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(begun.version)
            .bind(token.access.as_slice())
            .bind(token.refresh.as_deref())
            .bind(token.scope.as_str())
            .bind(now.0)
            .bind(now.0 + micros(token.life))
            .bind(begun.obtained_at.0)
            .execute(conn)
            .await?;
            Ok(done.rows_affected() == 1)
        }

        pub(crate) async fn fail_refresh(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            version: i64,
            end: RefreshEnd,
        ) -> Result<bool, Error> {
            let done = sqlx::query(
                "update tokens set refreshing_until = null, \
                        unknown_refreshes = unknown_refreshes + case when $4 = 'unknown' then 1 else 0 end, \
                        state = case when $4 = 'refused' then 'reauthorise' else state end \
                 where app_id = $1 and tenant = $2 and version = $3",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(version)
            .bind(match end {
                RefreshEnd::NothingSpent => "nothing",
                RefreshEnd::Unknown => "unknown",
                RefreshEnd::Refused => "refused",
            })
            .execute(conn)
            .await?;
            Ok(done.rows_affected() == 1)
        }

        pub(crate) async fn expire_token(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            version: i64,
        ) -> Result<(), Error> {
            sqlx::query("update tokens set expires_at = 0 where app_id = $1 and tenant = $2 and version = $3")
                .bind(app_id)
                .bind(tenant)
                .bind(version)
                .execute(conn)
                .await?;
            Ok(())
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn put_oauth_state(
            conn: &mut $connection,
            app_id: &str,
            state: &OauthState,
            life: Duration,
            most: i64,
            now: Micros,
        ) -> Result<(), Error> {
            sqlx::query(
                "delete from oauth_states where expires_at <= $1 or state_hash in (\
                   select state_hash from oauth_states order by expires_at desc limit $3 offset $2)",
            )
            .bind(now.0)
            .bind(most - 1)
            .bind(most)
            .execute(&mut *conn)
            .await?;
            sqlx::query(
                "insert into oauth_states (state_hash, app_id, cookie_hash, expires_at) values ($1, $2, $3, $4)",
            )
            .bind(state.state_hash.as_slice())
            .bind(app_id)
            .bind(state.cookie_hash.as_slice())
            .bind(now.0 + micros(life))
            .execute(conn)
            .await?;
            Ok(())
        }

        pub(crate) async fn take_oauth_state(
            conn: &mut $connection,
            state: &OauthState,
            now: Micros,
        ) -> Result<Option<String>, Error> {
            let row = sqlx::query(
                "delete from oauth_states where state_hash = $1 returning app_id, cookie_hash, expires_at",
            )
            .bind(state.state_hash.as_slice())
            .fetch_optional(conn)
            .await?;
            let Some(row) = row else { return Ok(None) };
            // Both are hashes of what the caller does not choose freely: comparing them tells nothing.
            let cookie: Vec<u8> = row.try_get("cookie_hash")?;
            let expires_at: i64 = row.try_get("expires_at")?;
            let good = cookie == state.cookie_hash && now.0 < expires_at;
            Ok(match good {
                true => Some(row.try_get("app_id")?),
                false => None,
            })
        }

        pub(crate) async fn tokens_to_reseal(
            conn: &mut $connection,
            key: &str,
            after: (&str, &str),
            limit: i64,
        ) -> Result<Vec<(String, String, SealedToken)>, Error> {
            let prefix = crate::seal::prefix_of(key);
            let length = prefix.len() as i32;
            let rows = sqlx::query(
                "select * from tokens where (app_id, tenant) > ($4, $5) and (substr(access_token, 1, $2) <> $1 \
                 or substr(coalesce(refresh_token, $1), 1, $2) <> $1 \
                 or substr(coalesce(previous_refresh_token, $1), 1, $2) <> $1) order by app_id, tenant limit $3",
            )
            .bind(prefix)
            .bind(length)
            .bind(limit)
            .bind(after.0)
            .bind(after.1)
            .fetch_all(conn)
            .await?;
            let mut tokens = Vec::with_capacity(rows.len());
            for row in &rows {
                tokens.push((row.try_get("app_id")?, row.try_get("tenant")?, sealed_token_of(row)?));
            }
            Ok(tokens)
        }

        pub(crate) async fn reseal_token(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            token: &SealedToken,
        ) -> Result<bool, Error> {
            let done = sqlx::query(
                "update tokens set access_token = $4, refresh_token = $5, previous_refresh_token = $6 \
                 where app_id = $1 and tenant = $2 and version = $3",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(token.version)
            .bind(token.access.as_slice())
            .bind(token.refresh.as_deref())
            .bind(token.previous.as_deref())
            .execute(conn)
            .await?;
            Ok(done.rows_affected() == 1)
        }
    };
}

pub(crate) use token_statements;
