//! Calls, installations, tokens and workflow triggers on SQLite: written on the one write connection, read beside it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;

use super::super::{
    Attempt, Begun, Claims, Ended, Error, FollowUp, FollowUpCounts, FollowUpFilter, FollowUpPage,
    FollowUps, Gap, Gaps, Installation, InstallationFilter, Installations, Known, NewToken,
    OauthState, PLANNER, PlanReader, RefreshEnd, Restored, Room, SealedToken, Subscribed,
    SubscriptionFilter, Subscriptions, WhichCalls,
};
use super::checkpoint::Written;
use super::writer::{Writer, on};
use super::{SqliteStore, keys, statements};
use crate::budget::{Limits, Told};
use crate::event::subscription::{Change, Subscription};
use crate::event::{Micros, Position, Recorded};
use crate::store::Plan;

/// Runs a deed in a transaction on the write connection.
macro_rules! deed {
    ($store:expr, $durability:ident, $transaction:ident => $work:expr) => {{
        let mut writer = $store.writer.lock().await;
        on!(writer, $durability, connection => async {
            let mut begun = connection.begin_with("begin immediate").await?;
            let $transaction = &mut *begun;
            let answer = $work.await?;
            begun.commit().await?;
            Ok::<_, Error>(answer)
        })
    }};
}
pub(super) use deed;

/// The planner's reader.
struct SqlitePlanReader {
    writer: Arc<Mutex<Writer>>,
    written: Arc<Written>,
    readers: SqlitePool,
}

#[async_trait]
impl PlanReader for SqlitePlanReader {
    async fn position(&mut self) -> Result<Position, Error> {
        statements::position_of(&mut *self.readers.acquire().await?, PLANNER).await
    }

    async fn read(
        &mut self,
        after: Position,
        types: &[String],
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error> {
        let mut connection = self.readers.acquire().await?;
        statements::read_types(&mut connection, after, types, limit, max_bytes).await
    }

    async fn settle(&mut self, plan: &Plan, now: Micros) -> Result<(), Error> {
        self.written.pages(1 + plan.calls.len() as u64);
        // A plan that a power cut takes is made again from the log; calls are made only after a claim, which
        // is on disk when it returns, and with it everything before it.
        deed!(self, Later, transaction => statements::settle_plan(transaction, plan, now))
    }
}

#[async_trait]
impl FollowUps for SqliteStore {
    async fn plan_reader(&self) -> Result<Option<Box<dyn PlanReader>>, Error> {
        // The lock on the file is the right to read.
        Ok(Some(Box::new(SqlitePlanReader {
            writer: Arc::clone(&self.writer),
            written: Arc::clone(&self.written),
            readers: self.readers.clone(),
        })))
    }

    async fn claim_calls(
        &self,
        wanted: u32,
        limits: &Limits,
        lease: Duration,
        now: Micros,
    ) -> Result<Claims, Error> {
        // Most looks find nothing: those do not wait for the writer.
        let next: Option<i64> = sqlx::query_scalar("select min(next_at) from call_budgets")
            .fetch_one(&mut *self.reader().await?)
            .await?;
        if next.is_none_or(|next| now.0 < next) {
            return Ok(Claims {
                calls: Vec::new(),
                next_in: next.map(|at| super::super::until(now, Micros(at))),
            });
        }
        self.written.pages(u64::from(wanted));
        let (calls, next_at) = deed!(self, Now, transaction => statements::claim(transaction, wanted, limits, lease, now))?;
        Ok(Claims {
            calls,
            next_in: next_at.map(|at| super::super::until(now, Micros(at))),
        })
    }

    async fn end_calls(
        &self,
        ended: &[Ended],
        limits: &Limits,
        now: Micros,
    ) -> Result<Vec<bool>, Error> {
        self.written.pages(ended.len() as u64);
        deed!(self, Now, transaction => statements::end(transaction, ended, limits, now))
    }

    async fn begin_call(
        &self,
        app_id: &str,
        tenant: &str,
        limits: &Limits,
        longest: Duration,
        now: Micros,
    ) -> Result<Room, Error> {
        deed!(self, Later, transaction => statements::begin_call(transaction, app_id, tenant, limits, longest, now))
    }

    async fn end_call(
        &self,
        app_id: &str,
        tenant: &str,
        place: Micros,
        told: Option<&Told>,
        limits: &Limits,
        now: Micros,
    ) -> Result<(), Error> {
        deed!(self, Later, transaction => statements::end_call(transaction, app_id, tenant, place, told, limits, now))
    }

    async fn follow_up_page(&self, filter: &FollowUpFilter) -> Result<FollowUpPage, Error> {
        statements::follow_up_page(&mut *self.reader().await?, filter).await
    }

    async fn count_parked(&self, rule: Option<&str>, most: i64) -> Result<(i64, i64), Error> {
        statements::count_parked(&mut *self.reader().await?, rule, most).await
    }

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>, Error> {
        statements::attempts(&mut *self.reader().await?, id).await
    }

    async fn follow_up(&self, id: i64) -> Result<Option<FollowUp>, Error> {
        statements::follow_up(&mut *self.reader().await?, id).await
    }

    async fn follow_up_counts(&self) -> Result<FollowUpCounts, Error> {
        statements::follow_up_counts(&mut *self.reader().await?).await
    }

    async fn cancel_follow_ups(&self, which: &WhichCalls, now: Micros) -> Result<u64, Error> {
        deed!(self, Now, transaction => statements::cancel_waiting(transaction, which, now))
    }

    async fn retry_follow_ups(&self, which: &WhichCalls, now: Micros) -> Result<u64, Error> {
        deed!(self, Now, transaction => statements::retry_parked(transaction, which, now))
    }
}

#[async_trait]
impl Installations for SqliteStore {
    async fn installations(&self, filter: &InstallationFilter) -> Result<Vec<Installation>, Error> {
        statements::installations(&mut *self.reader().await?, filter).await
    }

    async fn installation(
        &self,
        app_id: &str,
        tenant: &str,
    ) -> Result<Option<Installation>, Error> {
        statements::installation(&mut *self.reader().await?, app_id, tenant).await
    }

    async fn token(&self, app_id: &str, tenant: &str) -> Result<Option<SealedToken>, Error> {
        statements::token(&mut *self.reader().await?, app_id, tenant).await
    }

    async fn put_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &NewToken,
        now: Micros,
    ) -> Result<bool, Error> {
        deed!(self, Now, transaction => statements::put_token(transaction, app_id, tenant, token, now))
    }

    async fn begin_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        lease: Duration,
        now: Micros,
    ) -> Result<Option<Begun>, Error> {
        deed!(self, Now, transaction => statements::begin_refresh(transaction, app_id, tenant, version, lease, now))
    }

    async fn complete_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        begun: Begun,
        token: &NewToken,
        now: Micros,
    ) -> Result<bool, Error> {
        deed!(self, Now, transaction => statements::complete_refresh(transaction, app_id, tenant, begun, token, now))
    }

    async fn fail_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        end: RefreshEnd,
    ) -> Result<bool, Error> {
        deed!(self, Now, transaction => statements::fail_refresh(transaction, app_id, tenant, version, end))
    }

    async fn expire_token(&self, app_id: &str, tenant: &str, version: i64) -> Result<(), Error> {
        deed!(self, Now, transaction => statements::expire_token(transaction, app_id, tenant, version))
    }

    async fn put_oauth_state(
        &self,
        app_id: &str,
        state: &OauthState,
        life: Duration,
        most: i64,
        now: Micros,
    ) -> Result<(), Error> {
        deed!(self, Now, transaction => statements::put_oauth_state(transaction, app_id, state, life, most, now))
    }

    async fn take_oauth_state(
        &self,
        state: &OauthState,
        now: Micros,
    ) -> Result<Option<String>, Error> {
        deed!(self, Now, transaction => statements::take_oauth_state(transaction, state, now))
    }

    async fn tokens_to_reseal(
        &self,
        key: &str,
        after: (&str, &str),
        limit: i64,
    ) -> Result<Vec<(String, String, SealedToken)>, Error> {
        statements::tokens_to_reseal(&mut *self.reader().await?, key, after, limit).await
    }

    async fn reseal_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &SealedToken,
    ) -> Result<bool, Error> {
        deed!(self, Now, transaction => statements::reseal_token(transaction, app_id, tenant, token))
    }
}

#[async_trait]
impl Subscriptions for SqliteStore {
    async fn change_subscription(
        &self,
        app_id: &str,
        change: &Change,
        now: Micros,
    ) -> Result<bool, Error> {
        deed!(self, Now, transaction => statements::change_subscription(transaction, app_id, change, now))
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

#[async_trait]
impl Gaps for SqliteStore {
    async fn beat(&self, silence: Duration, now: Micros) -> Result<(), Error> {
        deed!(self, Later, transaction => statements::beat(transaction, silence, now))
    }

    async fn gaps(&self, limit: i64) -> Result<Vec<Gap>, Error> {
        statements::gaps(&mut *self.reader().await?, limit).await
    }

    async fn gap_repaired(&self, since: Micros, now: Micros) -> Result<(), Error> {
        deed!(self, Later, transaction => statements::gap_repaired(transaction, since, now))
    }

    async fn restored(&self, head: Position, now: Micros) -> Result<Restored, Error> {
        // Behind the new head nothing is read for its key.
        keys::write_older(&self.writer, &self.written, Micros(i64::MAX)).await?;
        let answer = deed!(self, Now, transaction => statements::restored(transaction, head, now))?;
        self.writer.lock().await.keys = None;
        Ok(answer)
    }

    async fn place_at(&self, time: Micros) -> Result<Position, Error> {
        statements::place_at(&mut *self.reader().await?, time).await
    }

    async fn known(
        &self,
        app_id: &str,
        location_id: &str,
        records: &[String],
        after: Position,
        upto: Position,
    ) -> Result<Vec<Known>, Error> {
        statements::known(
            &mut *self.reader().await?,
            app_id,
            location_id,
            records,
            after,
            upto,
        )
        .await
    }
}
