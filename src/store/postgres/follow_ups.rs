//! Calls on Postgres. Times are the server's: daemons share it, and not a clock.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;

use super::super::{
    Attempt, Claims, Ended, Error, FollowUp, FollowUpCounts, FollowUpFilter, FollowUpPage,
    FollowUps, Looked, PLANNER, PlanReader, Room, WhichCalls,
};
use super::locked::{self, Locked, locked};
use super::{PostgresStore, pooled, server_time, statements, transaction};
use crate::budget::{Limits, Told};
use crate::event::{Micros, Position};
use crate::store::Plan;

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
    ) -> Result<Looked, Error> {
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
        transaction!(self, transaction, now => statements::end(transaction, ended, limits, now))
    }

    async fn begin_call(
        &self,
        app_id: &str,
        tenant: &str,
        limits: &Limits,
        longest: Duration,
        _now: Micros,
    ) -> Result<Room, Error> {
        transaction!(self, transaction, now => statements::begin_call(transaction, app_id, tenant, limits, longest, now))
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
        transaction!(self, transaction, now => statements::end_call(transaction, app_id, tenant, place, told, limits, now))
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
        transaction!(self, transaction, now => statements::cancel_waiting(transaction, which, now))
    }

    async fn retry_follow_ups(&self, which: &WhichCalls, _now: Micros) -> Result<u64, Error> {
        transaction!(self, transaction, now => statements::retry_parked(transaction, which, now))
    }
}
