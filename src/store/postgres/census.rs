//! What is counted, on Postgres. Times are the server's.

use async_trait::async_trait;

use super::super::{Answers, Census, Counted, Disk, Error, Silent, Tenants, TokenCensus};
use super::{PostgresStore, pooled, server_time, statements, transaction};
use crate::event::Micros;

#[async_trait]
impl Census for PostgresStore {
    async fn note_answers(&self, answers: Answers, _now: Micros) -> Result<(), Error> {
        transaction!(self, transaction, now => statements::note_answers(transaction, answers, now))
    }

    async fn answers(&self, _now: Micros) -> Result<Answers, Error> {
        transaction!(self, transaction, now => statements::answers(transaction, now))
    }

    async fn count_on(&self, limit: i64) -> Result<Counted, Error> {
        pooled!(self, connection => statements::count_on(connection, limit))
    }

    async fn keep_count(&self, counted: &Counted, _now: Micros) -> Result<bool, Error> {
        transaction!(self, transaction, now => statements::keep_count(transaction, counted, now))
    }

    async fn tenants(&self, _now: Micros) -> Result<Tenants, Error> {
        transaction!(self, transaction, now => statements::tenants(transaction, now))
    }

    async fn silent_tenants(&self, _now: Micros, limit: i64) -> Result<Vec<Silent>, Error> {
        transaction!(self, transaction, now => statements::silent_tenants(transaction, now, limit))
    }

    async fn token_census(&self, _now: Micros) -> Result<TokenCensus, Error> {
        transaction!(self, transaction, now => statements::token_census(transaction, now))
    }

    async fn server_time(&self) -> Result<Option<Micros>, Error> {
        pooled!(self, connection => async { Ok(Some(server_time(connection).await?)) })
    }

    fn disk(&self) -> Option<Disk> {
        None
    }
}
