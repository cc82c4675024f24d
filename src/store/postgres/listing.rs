//! What people look at, on Postgres.

use async_trait::async_trait;

use super::super::{AuditEntry, Error, EventFilter, EventPage, EventRange, Listings};
use super::{PostgresStore, pooled, statements};
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
