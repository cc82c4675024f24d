//! What the store keeps of workflow triggers: which workflows wait for which trigger, and where they are started.

use async_trait::async_trait;

use super::Error;
use crate::event::Micros;
use crate::event::subscription::{Change, Subscription};

/// Subscriptions of one location to triggers of one app at most. GHL allows an app twenty triggers; each call that an
/// event makes for them is a row.
pub const SUBSCRIPTIONS: i64 = 200;

/// A subscription as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// The app.
    pub app_id: String,
    /// What GHL said of it last.
    pub subscription: Subscription,
    /// When that was.
    pub changed_at: Micros,
}

/// Which subscriptions to list, by app, location and id.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionFilter {
    /// Only of this app.
    pub app_id: Option<String>,
    /// Only of this location.
    pub location_id: Option<String>,
    /// Only to this trigger.
    pub trigger: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// The subscriptions of all locations.
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// Keeps a subscription as it is said now, or forgets it. On return that is durable. False for a new one where the
    /// location has [`SUBSCRIPTIONS`] already.
    async fn change_subscription(
        &self,
        app_id: &str,
        change: &Change,
        now: Micros,
    ) -> Result<bool, Error>;

    /// One of them, if it is still there.
    async fn subscription(
        &self,
        app_id: &str,
        location_id: &str,
        id: &str,
    ) -> Result<Option<Subscription>, Error>;

    /// Some of them.
    async fn subscriptions(&self, filter: &SubscriptionFilter) -> Result<Vec<Subscribed>, Error>;
}
