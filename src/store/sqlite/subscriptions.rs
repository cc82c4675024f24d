//! Workflow triggers on SQLite.

use async_trait::async_trait;

use super::super::{Error, Subscribed, SubscriptionFilter, Subscriptions};
use super::writer::transaction;
use super::{SqliteStore, statements};
use crate::event::Micros;
use crate::event::subscription::{Change, Subscription};

#[async_trait]
impl Subscriptions for SqliteStore {
    async fn change_subscription(
        &self,
        app_id: &str,
        change: &Change,
        now: Micros,
    ) -> Result<bool, Error> {
        transaction!(self, Now, transaction => statements::change_subscription(transaction, app_id, change, now))
    }

    async fn subscription(
        &self,
        app_id: &str,
        location_id: &str,
        id: &str,
    ) -> Result<Option<Subscription>, Error> {
        statements::subscription(&mut *self.reader().await?, app_id, location_id, id).await
    }

    async fn subscriptions(&self, filter: &SubscriptionFilter) -> Result<Vec<Subscribed>, Error> {
        statements::subscriptions(&mut *self.reader().await?, filter).await
    }
}
