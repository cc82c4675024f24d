//! Calls on SQLite: written on the one write connection, read beside it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;

use super::super::{
    Attempt, Claims, Ended, Error, FollowUp, FollowUpCounts, FollowUpFilter, FollowUpPage,
    FollowUps, Looked, PLANNER, PlanReader, Room, WhichCalls,
};
use super::checkpoint::Written;
use super::writer::{Writer, transaction};
use super::{SqliteStore, statements};
use crate::budget::{Limits, Told};
use crate::event::{Micros, Position};
use crate::store::Plan;

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
    ) -> Result<Looked, Error> {
        let mut connection = self.readers.acquire().await?;
        statements::read_types(&mut connection, after, types, limit, max_bytes).await
    }

    async fn settle(&mut self, plan: &Plan, now: Micros) -> Result<(), Error> {
        self.written.pages(1 + plan.calls.len() as u64);
        // A plan that a power cut takes is made again from the log; calls are made only after a claim, which
        // is on disk when it returns, and with it everything before it.
        transaction!(self, Later, transaction => statements::settle_plan(transaction, plan, now))
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
        let (calls, next_at) = transaction!(self, Now, transaction => statements::claim(transaction, wanted, limits, lease, now))?;
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
        transaction!(self, Now, transaction => statements::end(transaction, ended, limits, now))
    }

    async fn begin_call(
        &self,
        app_id: &str,
        tenant: &str,
        limits: &Limits,
        longest: Duration,
        now: Micros,
    ) -> Result<Room, Error> {
        transaction!(self, Later, transaction => statements::begin_call(transaction, app_id, tenant, limits, longest, now))
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
        transaction!(self, Later, transaction => statements::end_call(transaction, app_id, tenant, place, told, limits, now))
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
        transaction!(self, Now, transaction => statements::cancel_waiting(transaction, which, now))
    }

    async fn retry_follow_ups(&self, which: &WhichCalls, now: Micros) -> Result<u64, Error> {
        transaction!(self, Now, transaction => statements::retry_parked(transaction, which, now))
    }
}
