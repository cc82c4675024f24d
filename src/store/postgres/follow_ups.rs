//! Calls, installations, tokens and workflow triggers on Postgres. Times are the server's: daemons share it, and not a clock.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::super::{
    Attempt, Begun, Claims, Ended, Error, FollowUp, FollowUpCounts, FollowUpFilter, FollowUpPage,
    FollowUps, Gap, Gaps, Installation, InstallationFilter, Installations, Known, NewToken,
    OauthState, PLANNER, PlanReader, RefreshEnd, Restored, Room, SealedToken, Subscribed,
    SubscriptionFilter, Subscriptions, WhichCalls,
};
use super::locked::{self, Locked, locked};
use super::{PostgresStore, pooled, statements};
use crate::budget::{Limits, Told};
use crate::event::subscription::{Change, Subscription};
use crate::event::{Micros, Position, Recorded};
use crate::store::Plan;

/// The server's time.
pub(super) async fn server_time(connection: &mut PgConnection) -> Result<Micros, Error> {
    let now =
        sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
            .fetch_one(connection)
            .await?;
    Ok(Micros(now))
}

/// Runs a deed in a transaction, with the server's time.
macro_rules! deed {
    ($store:expr, $transaction:ident, $now:ident => $work:expr) => {
        pooled!($store, connection => async {
            let mut begun = connection.begin().await?;
            let $now = server_time(&mut begun).await?;
            let $transaction = &mut *begun;
            let answer = $work.await?;
            begun.commit().await?;
            Ok(answer)
        })
    };
}
pub(super) use deed;

/// The planner's reader.
struct PostgresPlanReader(Locked);

#[async_trait]
impl PlanReader for PostgresPlanReader {
    async fn position(&mut self) -> Result<Position, Error> {
        locked!(self, connection => statements::position_of(connection, PLANNER))
    }

    async fn read(
        &mut self,
        after: Position,
        types: &[String],
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error> {
        locked!(self, connection => statements::read_types(connection, after, types, limit, max_bytes))
    }

    async fn settle(&mut self, plan: &Plan, _now: Micros) -> Result<(), Error> {
        locked!(self, connection => async {
            let mut transaction = connection.begin().await?;
            let now = server_time(&mut transaction).await?;
            statements::settle_plan(&mut transaction, plan, now).await?;
            Ok(transaction.commit().await?)
        })
    }
}

#[async_trait]
impl FollowUps for PostgresStore {
    async fn plan_reader(&self) -> Result<Option<Box<dyn PlanReader>>, Error> {
        let locked = Locked::lock(self.connect().await?, locked::PLANNER, self.deadline).await?;
        Ok(locked.map(|locked| Box::new(PostgresPlanReader(locked)) as Box<dyn PlanReader>))
    }

    async fn claim_calls(
        &self,
        wanted: u32,
        limits: &Limits,
        lease: Duration,
        _now: Micros,
    ) -> Result<Claims, Error> {
        pooled!(self, connection => async {
            let mut begun = connection.begin().await?;
            let now = server_time(&mut begun).await?;
            let (calls, next_at) =
                statements::claim(&mut begun, wanted, limits, lease, now).await?;
            begun.commit().await?;
            Ok(Claims {
                calls,
                next_in: next_at.map(|at| super::super::until(now, Micros(at))),
            })
        })
    }

    async fn end_calls(
        &self,
        ended: &[Ended],
        limits: &Limits,
        _now: Micros,
    ) -> Result<Vec<bool>, Error> {
        deed!(self, transaction, now => statements::end(transaction, ended, limits, now))
    }

    async fn begin_call(
        &self,
        app_id: &str,
        tenant: &str,
        limits: &Limits,
        longest: Duration,
        _now: Micros,
    ) -> Result<Room, Error> {
        deed!(self, transaction, now => statements::begin_call(transaction, app_id, tenant, limits, longest, now))
    }

    async fn end_call(
        &self,
        app_id: &str,
        tenant: &str,
        place: Micros,
        told: Option<&Told>,
        limits: &Limits,
        _now: Micros,
    ) -> Result<(), Error> {
        deed!(self, transaction, now => statements::end_call(transaction, app_id, tenant, place, told, limits, now))
    }

    async fn follow_up_page(&self, filter: &FollowUpFilter) -> Result<FollowUpPage, Error> {
        pooled!(self, connection => statements::follow_up_page(connection, filter))
    }

    async fn count_parked(&self, rule: Option<&str>, most: i64) -> Result<(i64, i64), Error> {
        pooled!(self, connection => statements::count_parked(connection, rule, most))
    }

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>, Error> {
        pooled!(self, connection => statements::attempts(connection, id))
    }

    async fn follow_up(&self, id: i64) -> Result<Option<FollowUp>, Error> {
        pooled!(self, connection => statements::follow_up(connection, id))
    }

    async fn follow_up_counts(&self) -> Result<FollowUpCounts, Error> {
        pooled!(self, connection => statements::follow_up_counts(connection))
    }

    async fn cancel_follow_ups(&self, which: &WhichCalls, _now: Micros) -> Result<u64, Error> {
        deed!(self, transaction, now => statements::cancel_waiting(transaction, which, now))
    }

    async fn retry_follow_ups(&self, which: &WhichCalls, _now: Micros) -> Result<u64, Error> {
        deed!(self, transaction, now => statements::retry_parked(transaction, which, now))
    }
}

#[async_trait]
impl Installations for PostgresStore {
    async fn installations(&self, filter: &InstallationFilter) -> Result<Vec<Installation>, Error> {
        pooled!(self, connection => statements::installations(connection, filter))
    }

    async fn installation(
        &self,
        app_id: &str,
        tenant: &str,
    ) -> Result<Option<Installation>, Error> {
        pooled!(self, connection => statements::installation(connection, app_id, tenant))
    }

    async fn token(&self, app_id: &str, tenant: &str) -> Result<Option<SealedToken>, Error> {
        pooled!(self, connection => statements::token(connection, app_id, tenant))
    }

    async fn put_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &NewToken,
        _now: Micros,
    ) -> Result<bool, Error> {
        deed!(self, transaction, now => statements::put_token(transaction, app_id, tenant, token, now))
    }

    async fn begin_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        lease: Duration,
        _now: Micros,
    ) -> Result<Option<Begun>, Error> {
        deed!(self, transaction, now => statements::begin_refresh(transaction, app_id, tenant, version, lease, now))
    }

    async fn complete_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        begun: Begun,
        token: &NewToken,
        _now: Micros,
    ) -> Result<bool, Error> {
        deed!(self, transaction, now => statements::complete_refresh(transaction, app_id, tenant, begun, token, now))
    }

    async fn fail_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        end: RefreshEnd,
    ) -> Result<bool, Error> {
        pooled!(self, connection => statements::fail_refresh(connection, app_id, tenant, version, end))
    }

    async fn expire_token(&self, app_id: &str, tenant: &str, version: i64) -> Result<(), Error> {
        pooled!(self, connection => statements::expire_token(connection, app_id, tenant, version))
    }

    async fn put_oauth_state(
        &self,
        app_id: &str,
        state: &OauthState,
        life: Duration,
        most: i64,
        _now: Micros,
    ) -> Result<(), Error> {
        deed!(self, transaction, now => statements::put_oauth_state(transaction, app_id, state, life, most, now))
    }

    async fn take_oauth_state(
        &self,
        state: &OauthState,
        _now: Micros,
    ) -> Result<Option<String>, Error> {
        deed!(self, transaction, now => statements::take_oauth_state(transaction, state, now))
    }

    async fn tokens_to_reseal(
        &self,
        key: &str,
        after: (&str, &str),
        limit: i64,
    ) -> Result<Vec<(String, String, SealedToken)>, Error> {
        pooled!(self, connection => statements::tokens_to_reseal(connection, key, after, limit))
    }

    async fn reseal_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &SealedToken,
    ) -> Result<bool, Error> {
        pooled!(self, connection => statements::reseal_token(connection, app_id, tenant, token))
    }
}

#[async_trait]
impl Subscriptions for PostgresStore {
    async fn change_subscription(
        &self,
        app_id: &str,
        change: &Change,
        _now: Micros,
    ) -> Result<bool, Error> {
        deed!(self, transaction, now => statements::change_subscription(transaction, app_id, change, now))
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

#[async_trait]
impl Gaps for PostgresStore {
    async fn beat(&self, silence: Duration, _now: Micros) -> Result<(), Error> {
        deed!(self, transaction, now => statements::beat(transaction, silence, now))
    }

    async fn gaps(&self, limit: i64) -> Result<Vec<Gap>, Error> {
        pooled!(self, connection => statements::gaps(connection, limit))
    }

    async fn gap_repaired(&self, since: Micros, _now: Micros) -> Result<(), Error> {
        deed!(self, transaction, now => statements::gap_repaired(transaction, since, now))
    }

    async fn restored(&self, head: Position, _now: Micros) -> Result<Restored, Error> {
        deed!(self, transaction, now => statements::restored(transaction, head, now))
    }

    async fn place_at(&self, time: Micros) -> Result<Position, Error> {
        pooled!(self, connection => statements::place_at(connection, time))
    }

    async fn known(
        &self,
        app_id: &str,
        location_id: &str,
        records: &[String],
        after: Position,
        upto: Position,
    ) -> Result<Vec<Known>, Error> {
        pooled!(self, connection => statements::known(connection, app_id, location_id, records, after, upto))
    }
}
