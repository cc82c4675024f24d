//! Statements about budgets, for both databases, as `sql` has the others.
//!
//! The row of `call_budgets` is the lock of a tenant's calls: whoever plans, claims or ends calls of a tenant
//! holds it first, in the order of app and tenant where there are several.

macro_rules! budget_statements {
    ($connection:ty, $row:ty) => {
        use crate::budget::{Budget, Limits, Told};
        use crate::store::Room;
        use std::collections::BTreeSet;
        use std::time::Duration;

        /// Locks the budgets of tenants, in order, making those that are not there.
        async fn lock_budgets(
            conn: &mut $connection,
            tenants: &BTreeSet<(&str, &str)>,
        ) -> Result<(), Error> {
            for (app_id, tenant) in tenants {
                sqlx::query(
                    "insert into call_budgets (app_id, tenant) values ($1, $2) \
                     on conflict (app_id, tenant) do update set served_at = call_budgets.served_at",
                )
                .bind(*app_id)
                .bind(*tenant)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        }

        /// The same of those that were found, as rows of app and tenant.
        async fn lock_found(conn: &mut $connection, rows: &[$row]) -> Result<BTreeSet<(String, String)>, Error> {
            let mut tenants = BTreeSet::new();
            for row in rows {
                tenants.insert((row.try_get("app_id")?, row.try_get("tenant")?));
            }
            lock_budgets(conn, &tenants.iter().map(|(app, tenant): &(String, String)| (app.as_str(), tenant.as_str())).collect()).await?;
            Ok(tenants)
        }

        /// The tenant is looked at no later than this.
        async fn wake_at(conn: &mut $connection, app_id: &str, tenant: &str, at: i64) -> Result<(), Error> {
            sqlx::query(
                "update call_budgets set next_at = $3 where app_id = $1 and tenant = $2 \
                 and (next_at is null or $3 < next_at)",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(at)
            .execute(conn)
            .await?;
            Ok(())
        }

        /// When a tenant is to be looked at again: when a call of it is due and there is room for it.
        async fn next_look(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            budget: &Budget,
            limits: &Limits,
            now: Micros,
        ) -> Result<Option<i64>, Error> {
            // Behind one of the same rule and record a call cannot be made: it is looked for when that ends.
            // Not min(): over this join Postgres would read all that the tenant has waiting.
            let due: Option<i64> = sqlx::query_scalar(
                "select f.due_at from follow_ups f where f.app_id = $1 and f.tenant = $2 \
                 and f.state = 'pending' \
                 and (f.entity_id is null or f.id = (\
                    select b.id from follow_ups b where b.rule = f.rule and b.app_id = f.app_id \
                    and b.tenant = f.tenant and b.entity_id = f.entity_id and b.state = 'pending' \
                        order by b.id limit 1)) \
                 order by f.due_at limit 1",
            )
            .bind(app_id)
            .bind(tenant)
            .fetch_optional(conn)
            .await?;
            let Some(due) = due else { return Ok(None) };
            if tenant.is_empty() || now.0 < due || 0 < budget.clone().room(limits, now) {
                return Ok(Some(due));
            }
            Ok(Some(due.max(budget.room_at(limits, now).0)))
        }

        /// The budget of a tenant, and its row locked.
        async fn budget_of(conn: &mut $connection, app_id: &str, tenant: &str) -> Result<Budget, Error> {
            lock_budgets(conn, &BTreeSet::from([(app_id, tenant)])).await?;
            let text: String = sqlx::query_scalar("select budget from call_budgets where app_id = $1 and tenant = $2")
                .bind(app_id)
                .bind(tenant)
                .fetch_one(conn)
                .await?;
            Ok(Budget::from_text(&text))
        }

        /// Writes a budget down, and when its tenant was served, if it was.
        async fn keep_budget(
            conn: &mut $connection,
            (app_id, tenant): (&str, &str),
            budget: &Budget,
            served_at: Option<Micros>,
            limits: &Limits,
            now: Micros,
        ) -> Result<(), Error> {
            let next_at = next_look(conn, app_id, tenant, budget, limits, now).await?;
            sqlx::query(
                "update call_budgets set budget = $3, next_at = $4, served_at = coalesce($5, served_at) \
                 where app_id = $1 and tenant = $2",
            )
            .bind(app_id)
            .bind(tenant)
            .bind(budget.to_text())
            .bind(next_at)
            .bind(served_at.map(|at| at.0))
            .execute(conn)
            .await?;
            Ok(())
        }

        pub(crate) async fn begin_call(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            limits: &Limits,
            longest: Duration,
            now: Micros,
        ) -> Result<Room, Error> {
            let mut budget = budget_of(conn, app_id, tenant).await?;
            if budget.room(limits, now) == 0 {
                return Ok(Room::None(crate::store::until(now, budget.room_at(limits, now))));
            }
            let place = budget.reserve(limits, longest, now);
            keep_budget(conn, (app_id, tenant), &budget, None, limits, now).await?;
            Ok(Room::Taken(place))
        }

        pub(crate) async fn end_call(
            conn: &mut $connection,
            app_id: &str,
            tenant: &str,
            place: Micros,
            told: Option<&Told>,
            limits: &Limits,
            now: Micros,
        ) -> Result<(), Error> {
            let mut budget = budget_of(conn, app_id, tenant).await?;
            budget.settle(limits, place, told, now);
            keep_budget(conn, (app_id, tenant), &budget, None, limits, now).await
        }
    };
}

pub(crate) use budget_statements;
