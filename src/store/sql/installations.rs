//! Statements about installations and tokens, for both databases, as `sql` has the others.

macro_rules! installation_statements {
    ($connection:ty, $row:ty) => {
        use crate::event::lifecycle::{Account, Deed, Details, Lifecycle};
        use crate::store::{
            Begun, Installation, InstallationFilter, NewToken, OauthState, RefreshEnd, SealedToken, TokenState,
        };

        /// What one event says of an installation, if nothing newer is known; on an uninstall the calls planned
        /// before it are cancelled, and tokens obtained before it are erased.
        async fn apply_lifecycle(
            conn: &mut $connection,
            position: Position,
            app_id: &str,
            life: &Lifecycle,
            now: Micros,
        ) -> Result<(), Error> {
            match life.deed {
                Deed::Installed | Deed::Updated => {
                    note_installed(conn, app_id, life).await?;
                    match says_company(life) {
                        true => wake(conn, app_id, &life.tenant, now).await,
                        false => Ok(()),
                    }
                }
                Deed::Uninstalled => {
                    if note_uninstalled(conn, app_id, life).await? {
                        cancel_calls(conn, position, app_id, &life.tenant, now).await?;
                        erase_tokens(conn, app_id, life).await?;
                    }
                    Ok(())
                }
            }
        }

        /// Whether an event may say first of which company a location is: calls that wait for a token have it minted
        /// from there. An INSTALL asks for a token itself.
        fn says_company(life: &Lifecycle) -> bool {
            life.deed == Deed::Updated && life.account == Account::Location && life.company_id.is_some()
        }

        async fn note_installed(conn: &mut $connection, app_id: &str, life: &Lifecycle) -> Result<(), Error> {
            // An update of what is not known to be installed says that it is.
            let is_install = life.deed == Deed::Installed;
            sqlx::query(
                "insert into installations (app_id, tenant, account, company_id, state, generation, changed_at, \
                        installed_at, company_name, user_id, plan_id, version_id, white_label_domain) \
                 select $1, $2, $3, $4, 'installed', 1, $5, case when $11 then $5 end, $6, $7, $8, $9, $10 \
                 where not exists (select 1 from installations c where c.app_id = $1 and c.tenant = $4 \
                                   and c.tenant <> $2 and c.state = 'uninstalled' and $5 < c.changed_at) \
                 on conflict (app_id, tenant) do update set \
                        account = excluded.account, \
                        company_id = coalesce(excluded.company_id, installations.company_id), \
                        generation = installations.generation + case when installations.state = 'uninstalled' then 1 else 0 end, \
                        installed_at = case when $11 then excluded.changed_at else installations.installed_at end, \
                        uninstalled_at = null, state = 'installed', changed_at = excluded.changed_at, \
                        company_name = coalesce(excluded.company_name, installations.company_name), \
                        user_id = coalesce(excluded.user_id, installations.user_id), \
                        plan_id = coalesce(excluded.plan_id, installations.plan_id), \
                        version_id = coalesce(excluded.version_id, installations.version_id), \
                        white_label_domain = coalesce(excluded.white_label_domain, installations.white_label_domain) \
                 where installations.changed_at <= excluded.changed_at \
                   and ($11 or installations.state = 'installed')",
            )
            .bind(app_id)
            .bind(life.tenant.as_str())
            .bind(life.account.as_str())
            .bind(life.company_id.as_deref())
            .bind(life.at.0)
            .bind(life.details.company_name.as_deref())
            .bind(life.details.user_id.as_deref())
            .bind(life.details.plan_id.as_deref())
            .bind(life.details.version_id.as_deref())
            .bind(life.details.white_label_domain.as_deref())
            .bind(is_install)
            .execute(conn)
            .await?;
            Ok(())
        }

        /// Whether it was news. What is not known is noted too: its INSTALL may come later and be older.
        async fn note_uninstalled(conn: &mut $connection, app_id: &str, life: &Lifecycle) -> Result<bool, Error> {
            let done = sqlx::query(
                "insert into installations (app_id, tenant, account, company_id, state, generation, changed_at, uninstalled_at) \
                 values ($1, $2, $3, $4, 'uninstalled', 0, $5, $5) \
                 on conflict (app_id, tenant) do update set \
                        state = 'uninstalled', uninstalled_at = excluded.changed_at, changed_at = excluded.changed_at \
                 where installations.changed_at <= excluded.changed_at",
            )
            .bind(app_id)
            .bind(life.tenant.as_str())
            .bind(life.account.as_str())
            .bind(life.company_id.as_deref())
            .bind(life.at.0)
            .execute(&mut *conn)
            .await?;
            let of_company = sqlx::query(
                "update installations set state = 'uninstalled', uninstalled_at = $3, changed_at = $3 \
                 where app_id = $1 and company_id = $2 and state = 'installed' and changed_at <= $3 and $4",
            )
            .bind(app_id)
            .bind(life.tenant.as_str())
            .bind(life.at.0)
            .bind(life.account == Account::Company)
            .execute(conn)
            .await?;
            Ok(0 < done.rows_affected() + of_company.rows_affected())
        }

        /// A company's are those that say so, and those of the locations that are marked with it.
        async fn erase_tokens(conn: &mut $connection, app_id: &str, life: &Lifecycle) -> Result<(), Error> {
            sqlx::query(
                "delete from tokens where app_id = $1 and obtained_at <= $3 and (tenant = $2 or ($4 and (company_id = $2 \
                 or tenant in (select i.tenant from installations i where i.app_id = $1 and i.company_id = $2 \
                               and i.state = 'uninstalled'))))",
            )
            .bind(app_id)
            .bind(life.tenant.as_str())
            .bind(life.at.0)
            .bind(life.account == Account::Company)
            .execute(conn)
            .await?;
            Ok(())
        }

        fn installation_of(row: &$row) -> Result<Installation, Error> {
            let moment = |name: &str| Ok::<_, Error>(row.try_get::<Option<i64>, _>(name)?.map(Micros));
            let account: String = row.try_get("account")?;
            let token_state: Option<String> = row.try_get("token_state")?;
            let token = match token_state {
                None => None,
                Some(state) => Some(TokenState {
                    expires_at: moment("expires_at")?.ok_or(Error::Corrupt("tokens.expires_at"))?,
                    reauthorise: state == "reauthorise",
                    refreshable: row.try_get("refreshable")?,
                    scope: row.try_get::<Option<String>, _>("scope")?.unwrap_or_default(),
                }),
            };
            Ok(Installation {
                app_id: row.try_get("app_id")?,
                tenant: row.try_get("tenant")?,
                account: Account::parse(&account).ok_or(Error::Corrupt("installations.account"))?,
                company_id: row.try_get("company_id")?,
                installed: row.try_get::<String, _>("state")? == "installed",
                generation: row.try_get("generation")?,
                changed_at: Micros(row.try_get("changed_at")?),
                installed_at: moment("installed_at")?,
                uninstalled_at: moment("uninstalled_at")?,
                details: Details {
                    company_name: row.try_get("company_name")?,
                    user_id: row.try_get("user_id")?,
                    plan_id: row.try_get("plan_id")?,
                    version_id: row.try_get("version_id")?,
                    white_label_domain: row.try_get("white_label_domain")?,
                },
                token,
                budget: Budget::from_text(&row.try_get::<Option<String>, _>("budget")?.unwrap_or_default()),
            })
        }

        pub(crate) async fn installations(
            conn: &mut $connection,
            filter: &InstallationFilter,
        ) -> Result<Vec<Installation>, Error> {
            let (app, tenant) = filter.after.clone().unwrap_or_default();
            sqlx::query(
                "select i.*, t.state as token_state, t.expires_at, t.scope, t.refresh_token is not null as refreshable, b.budget \
                 from installations i left join tokens t on t.app_id = i.app_id and t.tenant = i.tenant \
                 left join call_budgets b on b.app_id = i.app_id and b.tenant = i.tenant \
                 where ($1 is null or i.app_id = $1) and (not $2 or i.state = 'installed') \
                 and (i.app_id, i.tenant) > ($3, $4) and ($6 is null or i.company_id = $6 and i.tenant <> $6) \
                 order by i.app_id, i.tenant limit $5",
            )
            .bind(filter.app_id.as_deref())
            .bind(filter.installed)
            .bind(app)
            .bind(tenant)
            .bind(filter.limit)
            .bind(filter.company_id.as_deref())
            .fetch_all(conn)
            .await?
            .iter()
            .map(installation_of)
            .collect()
        }

        pub(crate) async fn installation(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
        ) -> Result<Option<Installation>, Error> {
            sqlx::query(
                "select i.*, t.state as token_state, t.expires_at, t.scope, t.refresh_token is not null as refreshable, b.budget \
                 from installations i left join tokens t on t.app_id = i.app_id and t.tenant = i.tenant \
                 left join call_budgets b on b.app_id = i.app_id and b.tenant = i.tenant \
                 where i.app_id = $1 and i.tenant = $2",
            )
            .bind(app_id)
            .bind(tenant)
            .fetch_optional(conn)
            .await?
            .as_ref()
            .map(installation_of)
            .transpose()
        }

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
            // Who has a token is installed, whether or not the INSTALL has come, or ever comes. Its time is
            // left open: any event of the installation's life is newer. An INSTALL may have said no company.
            sqlx::query(
                "insert into installations (app_id, tenant, account, company_id, state, generation, changed_at) \
                 values ($1, $2, $3, $4, 'installed', 1, 0) on conflict (app_id, tenant) do update \
                 set company_id = excluded.company_id \
                 where installations.company_id is null and excluded.company_id is not null",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(token.account.as_str())
            .bind(token.company_id.as_deref())
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

pub(crate) use installation_statements;
