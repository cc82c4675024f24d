//! Statements about workflow triggers, for both databases, as `sql` has the others.

macro_rules! subscription_statements {
    ($connection:ty, $row:ty) => {
        use crate::event::subscription::{Change, Subscription};
        use crate::store::{SUBSCRIPTIONS, Subscribed, SubscriptionFilter};

        fn subscription_of(row: &$row) -> Result<Subscription, Error> {
            let filters: String = row.try_get("filters")?;
            Ok(Subscription {
                id: row.try_get("id")?,
                trigger: row.try_get("trigger_key")?,
                location_id: row.try_get("location_id")?,
                company_id: row.try_get("company_id")?,
                workflow_id: row.try_get("workflow_id")?,
                filters: serde_json::from_str(&filters).map_err(|_| Error::Corrupt("subscriptions.filters"))?,
                target_url: row.try_get("target_url")?,
            })
        }

        pub(crate) async fn change_subscription(
            conn: &mut $connection,
            app_id: &str,
            change: &Change,
            now: Micros,
        ) -> Result<bool, Error> {
            let kept = match change {
                Change::Kept(kept) => kept,
                Change::Deleted { id, location_id } => {
                    sqlx::query("delete from subscriptions where app_id = $1 and location_id = $2 and id = $3")
                        .bind(app_id)
                        .bind(location_id.as_str())
                        .bind(id.as_str())
                        .execute(conn)
                        .await?;
                    return Ok(true);
                }
            };
            let done = sqlx::query(
                "insert into subscriptions (app_id, location_id, id, trigger_key, company_id, workflow_id, filters, \
                        target_url, changed_at) \
                 select $1, $2, $3, $4, $5, $6, $7, $8, $9 \
                 where (select count(*) from subscriptions where app_id = $1 and location_id = $2 and id <> $3) < $10 \
                 on conflict (app_id, location_id, id) do update set trigger_key = excluded.trigger_key, \
                        company_id = excluded.company_id, workflow_id = excluded.workflow_id, filters = excluded.filters, \
                        target_url = excluded.target_url, changed_at = excluded.changed_at",
            )
            .bind(app_id)
            .bind(kept.location_id.as_str())
            .bind(kept.id.as_str())
            .bind(kept.trigger.as_str())
            .bind(kept.company_id.as_deref())
            .bind(kept.workflow_id.as_deref())
            .bind(kept.filters.to_string())
            .bind(kept.target_url.as_str())
            .bind(now.0)
            .bind(SUBSCRIPTIONS)
            .execute(conn)
            .await?;
            Ok(done.rows_affected() == 1)
        }

        pub(crate) async fn subscription(
            conn: &mut $connection,
            app_id: &str,
            location_id: &str,
            id: &str,
        ) -> Result<Option<Subscription>, Error> {
            sqlx::query("select * from subscriptions where app_id = $1 and location_id = $2 and id = $3")
                .bind(app_id)
                .bind(location_id)
                .bind(id)
                .fetch_optional(conn)
                .await?
                .as_ref()
                .map(subscription_of)
                .transpose()
        }

        pub(crate) async fn subscriptions(
            conn: &mut $connection,
            filter: &SubscriptionFilter,
        ) -> Result<Vec<Subscribed>, Error> {
            sqlx::query(
                "select * from subscriptions where ($1 is null or app_id = $1) and ($2 is null or location_id = $2) \
                 and ($3 is null or trigger_key = $3) order by app_id, location_id, id limit $4",
            )
            .bind(filter.app_id.as_deref())
            .bind(filter.location_id.as_deref())
            .bind(filter.trigger.as_deref())
            .bind(filter.limit)
            .fetch_all(conn)
            .await?
            .iter()
            .map(|row| {
                Ok(Subscribed {
                    app_id: row.try_get("app_id")?,
                    subscription: subscription_of(row)?,
                    changed_at: Micros(row.try_get("changed_at")?),
                })
            })
            .collect()
        }
    };
}

pub(crate) use subscription_statements;
