//! Statements about the events that call for calls, and about planning these, for both databases, as `sql` has the others.

macro_rules! planning_statements {
    ($database:ty, $connection:ty, $row:ty) => {
        use crate::store::{Looked, PLANNER, Plan, Planned};

        pub(crate) async fn read_types(
            conn: &mut $connection,
            after: Position,
            types: &[String],
            limit: i64,
            max_bytes: i64,
        ) -> Result<Looked, Error> {
            let head: i64 = sqlx::query_scalar("select position from log_head").fetch_one(&mut *conn).await?;
            let upto = head.min(after.0.saturating_add(limit));
            let looked = |events, upto| Looked { events, upto, head: Position(head) };
            if upto <= after.0 || types.is_empty() {
                return Ok(looked(Vec::new(), Position(upto.max(after.0))));
            }
            let mut sizes = sqlx::QueryBuilder::<$database>::new(
                "select position, cast(length(body) as bigint) from events where position > ",
            );
            among(&mut sizes, after, Position(upto), types);
            let (mut bytes, mut last) = (0, None);
            let mut upto = Position(upto);
            for row in sizes.build().fetch_all(&mut *conn).await? {
                bytes += row.try_get::<i64, _>(1)?;
                if let (Some(last), true) = (last, max_bytes < bytes) {
                    upto = last;
                    break;
                }
                last = Some(Position(row.try_get(0)?));
            }
            if last.is_none() {
                return Ok(looked(Vec::new(), upto));
            }
            let mut query = sqlx::QueryBuilder::<$database>::new(concat!(
                "select ", event_columns!(), " from events where position > "
            ));
            among(&mut query, after, upto, types);
            let rows = query.build().fetch_all(conn).await?;
            let events: Result<Vec<_>, Error> = rows.iter().map(recorded).collect();
            Ok(looked(events?, upto))
        }

        fn among(query: &mut sqlx::QueryBuilder<$database>, after: Position, upto: Position, types: &[String]) {
            query.push_bind(after.0).push(" and position <= ").push_bind(upto.0);
            query.push(" and event_type in (");
            let mut list = query.separated(", ");
            for name in types {
                list.push_bind(name.clone());
            }
            query.push(") order by position");
        }

        /// Everything but the beginning and the end of the transaction.
        pub(crate) async fn settle_plan(conn: &mut $connection, plan: &Plan, now: Micros) -> Result<(), Error> {
            let mut touched = Vec::new();
            for (_, app_id, life) in &plan.lifecycles {
                if life.transition == Transition::Uninstalled || says_company(life) {
                    for tenant in with_calls_of(conn, app_id, &life.tenant).await? {
                        touched.push((app_id.as_str(), tenant));
                    }
                }
            }
            let tenants = plan.calls.iter().map(|call| (call.app_id.as_str(), call.tenant.as_str()));
            let touched = touched.iter().map(|(app_id, tenant)| (*app_id, tenant.as_str()));
            lock_budgets(conn, &tenants.chain(touched).collect()).await?;
            let mut lives = plan.lifecycles.iter().peekable();
            for call in &plan.calls {
                // In the order of the log: an uninstall ends the calls planned before it.
                while let Some((position, app_id, life)) = lives.next_if(|(at, ..)| *at <= call.position) {
                    apply_lifecycle(conn, *position, app_id, life, now).await?;
                }
                plan_call(conn, call, now).await?;
            }
            for (position, app_id, life) in lives {
                apply_lifecycle(conn, *position, app_id, life, now).await?;
            }
            sqlx::query("update cursors set position = $2 where reader = $1 and position < $2")
                .bind(PLANNER)
                .bind(plan.upto.0)
                .execute(conn)
                .await?;
            Ok(())
        }

        async fn plan_call(conn: &mut $connection, call: &Planned, now: Micros) -> Result<(), Error> {
            let due_at = now.0 + call.coalesce.map_or(0, micros);
            let joined: Option<i64> = match (call.coalesce, &call.entity_id) {
                (Some(_), Some(entity)) => {
                    // One that waits to be made again has a window of its own.
                    sqlx::query_scalar(
                        "select id from follow_ups where rule = $1 and app_id = $2 and tenant = $3 \
                         and entity_id = $4 and state = 'pending' and not claimed and lease = 0 and $5 < due_at \
                         order by id desc limit 1",
                    )
                    .bind(call.rule.as_str())
                    .bind(call.app_id.as_str())
                    .bind(call.tenant.as_str())
                    .bind(entity.as_str())
                    .bind(now.0)
                    .fetch_optional(&mut *conn)
                    .await?
                }
                _ => None,
            };
            let done = sqlx::query(
                "insert into follow_ups (position, rule, app_id, tenant, entity_id, state, due_at, planned_at, \
                                         ended_at, reason) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (position, rule) do nothing",
            )
            .bind(call.position.0)
            .bind(call.rule.as_str())
            .bind(call.app_id.as_str())
            .bind(call.tenant.as_str())
            .bind(call.entity_id.as_deref())
            .bind(match joined {
                Some(_) => "merged",
                None => "pending",
            })
            .bind(due_at)
            .bind(now.0)
            .bind(joined.map(|_| now.0))
            .bind(joined.map(|id| format!("into {id}")))
            .execute(&mut *conn)
            .await?;
            if done.rows_affected() == 0 || joined.is_some() {
                return Ok(());
            }
            wake_at(conn, &call.app_id, &call.tenant, due_at).await
        }

        /// A tenant, and the locations of a company, that have calls to be made.
        async fn with_calls_of(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
        ) -> Result<Vec<String>, Error> {
            let tenants = sqlx::query_scalar(
                "select b.tenant from call_budgets b where b.app_id = $1 \
                 and b.tenant in (select cast($2 as text) union all select i.tenant from installations i \
                                  where i.app_id = $1 and i.company_id = $2) \
                 and exists (select 1 from follow_ups f where f.app_id = $1 and f.tenant = b.tenant \
                             and f.state = 'pending')",
            );
            Ok(tenants.bind(app_id).bind(tenant).fetch_all(conn).await?)
        }

        /// Calls of tenants that are gone are not made. One that is being made comes to its end; where it would be made
        /// again it finds no token, or is [`cancel_gone`]'s. Whoever was installed again since is not gone.
        async fn cancel_calls(
            conn: &mut $connection,
            position: Position,
            app_id: &str,
            tenant: &str,
            now: Micros,
        ) -> Result<(), Error> {
            sqlx::query(
                "update follow_ups set state = 'cancelled', reason = 'uninstalled', ended_at = $4 \
                 where app_id = $1 and state = 'pending' and not claimed and position <= $3 \
                 and tenant in (select i.tenant from installations i where i.app_id = $1 \
                                and (i.tenant = $2 or i.company_id = $2) and i.state = 'uninstalled')",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(position.0)
            .bind(now.0)
            .execute(&mut *conn)
            .await?;
            // A rule may call for a location with the token of its company: such a call is the company's.
            sqlx::query(
                "update follow_ups set state = 'cancelled', reason = 'uninstalled', ended_at = $4 \
                 where app_id = $1 and state = 'pending' and not claimed and position <= $3 and rule not like 'hookwell.%' \
                 and tenant = (select i.company_id from installations i where i.app_id = $1 and i.tenant = $2 \
                               and i.state = 'uninstalled' and i.account = 'location') \
                 and exists (select 1 from events e where e.position = follow_ups.position and e.location_id = $2)",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(position.0)
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(())
        }

        /// A call for a location with its company's token that was being made when the location went: the token is still
        /// good, so it would be made again.
        async fn cancel_gone(conn: &mut $connection, id: i64, now: Micros) -> Result<(), Error> {
            sqlx::query(
                "update follow_ups set state = 'cancelled', reason = 'uninstalled', ended_at = $2 \
                 where id = $1 and rule not like 'hookwell.%' \
                 and exists (select 1 from events e join installations i on i.app_id = e.app_id and i.tenant = e.location_id \
                             where e.position = follow_ups.position and i.company_id = follow_ups.tenant \
                             and i.state = 'uninstalled' and i.account = 'location')",
            )
            .bind(id)
            .bind(now.0)
            .execute(conn)
            .await?;
            Ok(())
        }
    };
}

pub(crate) use planning_statements;
