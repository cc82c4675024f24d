//! Workflow triggers on Postgres.

use async_trait::async_trait;

use super::super::{Error, Subscribed, SubscriptionFilter, Subscriptions};
use super::{PostgresStore, pooled, statements, transaction};
use crate::event::Micros;
use crate::event::subscription::{Change, Subscription};

#[async_trait]
impl Subscriptions for PostgresStore {
    async fn change_subscription(
        &self,
        app_id: &str,
        change: &Change,
        _now: Micros,
    ) -> Result<bool, Error> {
        transaction!(self, transaction, now => statements::change_subscription(transaction, app_id, change, now))
    }

    async fn subscription(
        &self,
        app_id: &str,
        location_id: &str,
        id: &str,
    ) -> Result<Option<Subscription>, Error> {
        pooled!(self, connection => statements::subscription(connection, app_id, location_id, id))
    }

    async fn subscriptions(&self, filter: &SubscriptionFilter) -> Result<Vec<Subscribed>, Error> {
        pooled!(self, connection => statements::subscriptions(connection, filter))
    }
}
