//! What is counted and what people look at, on Postgres. Times are the server's.

use async_trait::async_trait;

use super::super::{
    Answers, AuditEntry, Census, Counted, Disk, Error, EventFilter, EventPage, EventRange,
    Listings, Silent, Tenants, TokenCensus,
};
use super::{PostgresStore, deed, pooled, server_time, statements};
use crate::event::{Micros, Position, Recorded};

#[async_trait]
impl Listings for PostgresStore {
    async fn events(&self, filter: &EventFilter) -> Result<EventPage, Error> {
        pooled!(self, connection => statements::events(connection, filter))
    }

    async fn read_range(
        &self,
        range: &EventRange,
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error> {
        pooled!(self, connection => statements::read_range(connection, range, limit, max_bytes))
    }

    async fn note_audit(
        &self,
        who: &str,
        action: &str,
        subject: &str,
        count: i64,
        now: Micros,
    ) -> Result<i64, Error> {
        pooled!(self, connection => statements::note_audit(connection, who, action, subject, count, now))
    }

    async fn audit_trail(&self, before: Option<i64>, limit: i64) -> Result<Vec<AuditEntry>, Error> {
        pooled!(self, connection => statements::audit_trail(connection, before, limit))
    }
}

#[async_trait]
impl Census for PostgresStore {
    async fn note_answers(&self, answers: Answers, _now: Micros) -> Result<(), Error> {
        deed!(self, transaction, now => statements::note_answers(transaction, answers, now))
    }

    async fn answers(&self, _now: Micros) -> Result<Answers, Error> {
        deed!(self, transaction, now => statements::answers(transaction, now))
    }

    async fn count_on(&self, limit: i64) -> Result<Counted, Error> {
        pooled!(self, connection => statements::count_on(connection, limit))
    }

    async fn keep_count(&self, counted: &Counted, _now: Micros) -> Result<bool, Error> {
        deed!(self, transaction, now => statements::keep_count(transaction, counted, now))
    }

    async fn tenants(&self, _now: Micros) -> Result<Tenants, Error> {
        deed!(self, transaction, now => statements::tenants(transaction, now))
    }

    async fn silent_tenants(&self, _now: Micros, limit: i64) -> Result<Vec<Silent>, Error> {
        deed!(self, transaction, now => statements::silent_tenants(transaction, now, limit))
    }

    async fn token_census(&self, _now: Micros) -> Result<TokenCensus, Error> {
        deed!(self, transaction, now => statements::token_census(transaction, now))
    }

    async fn server_time(&self) -> Result<Option<Micros>, Error> {
        pooled!(self, connection => async { Ok(Some(server_time(connection).await?)) })
    }

    fn disk(&self) -> Option<Disk> {
        None
    }
}
