//! Statements about installations, for both databases, as `sql` has the others.

macro_rules! installation_statements {
    ($connection:ty, $row:ty) => {
        use crate::event::lifecycle::{Account, Details, Lifecycle, Transition};
        use crate::store::{Installation, InstallationFilter, TokenState};

        /// What one event says of an installation, if nothing newer is known; on an uninstall the calls planned
        /// before it are cancelled, and tokens obtained before it are erased.
        async fn apply_lifecycle(
            conn: &mut $connection,
            position: Position,
            app_id: &str,
            life: &Lifecycle,
            now: Micros,
        ) -> Result<(), Error> {
            match life.transition {
                Transition::Installed | Transition::Updated => {
                    note_installed(conn, app_id, life).await?;
                    match says_company(life) {
                        true => wake(conn, app_id, &life.tenant, now).await,
                        false => Ok(()),
                    }
                }
                Transition::Uninstalled => {
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
            life.transition == Transition::Updated && life.account == Account::Location && life.company_id.is_some()
        }

        async fn note_installed(conn: &mut $connection, app_id: &str, life: &Lifecycle) -> Result<(), Error> {
            // An update of what is not known to be installed says that it is.
            let is_install = life.transition == Transition::Installed;
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
    };
}

pub(crate) use installation_statements;
