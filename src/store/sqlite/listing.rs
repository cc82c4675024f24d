//! What people look at, on SQLite.

use async_trait::async_trait;

use super::super::{AuditEntry, Error, EventFilter, EventPage, EventRange, Listings};
use super::writer::on;
use super::{SqliteStore, statements};
use crate::event::{Micros, Position, Recorded};

#[async_trait]
impl Listings for SqliteStore {
    async fn events(&self, filter: &EventFilter) -> Result<EventPage, Error> {
        statements::events(&mut *self.reader().await?, filter).await
    }

    async fn read_range(
        &self,
        range: &EventRange,
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error> {
        statements::read_range(&mut *self.reader().await?, range, limit, max_bytes).await
    }

    async fn note_audit(
        &self,
        who: &str,
        action: &str,
        subject: &str,
        count: i64,
        now: Micros,
    ) -> Result<i64, Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => statements::note_audit(connection, who, action, subject, count, now))
    }

    async fn audit_trail(&self, before: Option<i64>, limit: i64) -> Result<Vec<AuditEntry>, Error> {
        statements::audit_trail(&mut *self.reader().await?, before, limit).await
    }
}
