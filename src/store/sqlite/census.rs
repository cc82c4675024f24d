//! What is counted, on SQLite: written on the one write connection, read beside it.

use async_trait::async_trait;

use super::super::{Answers, Census, Counted, Disk, Error, Silent, Tenants, TokenCensus};
use super::writer::transaction;
use super::{SqliteStore, statements};
use crate::event::Micros;

#[async_trait]
impl Census for SqliteStore {
    async fn note_answers(&self, answers: Answers, now: Micros) -> Result<(), Error> {
        transaction!(self, Later, transaction => statements::note_answers(transaction, answers, now))
    }

    async fn answers(&self, now: Micros) -> Result<Answers, Error> {
        statements::answers(&mut *self.reader().await?, now).await
    }

    async fn count_on(&self, limit: i64) -> Result<Counted, Error> {
        statements::count_on(&mut *self.reader().await?, limit).await
    }

    async fn keep_count(&self, counted: &Counted, now: Micros) -> Result<bool, Error> {
        transaction!(self, Later, transaction => statements::keep_count(transaction, counted, now))
    }

    async fn tenants(&self, now: Micros) -> Result<Tenants, Error> {
        statements::tenants(&mut *self.reader().await?, now).await
    }

    async fn silent_tenants(&self, now: Micros, limit: i64) -> Result<Vec<Silent>, Error> {
        statements::silent_tenants(&mut *self.reader().await?, now, limit).await
    }

    async fn token_census(&self, now: Micros) -> Result<TokenCensus, Error> {
        statements::token_census(&mut *self.reader().await?, now).await
    }

    async fn server_time(&self) -> Result<Option<Micros>, Error> {
        Ok(None)
    }

    fn disk(&self) -> Option<Disk> {
        let stats = rustix::fs::statvfs(&self.path).ok()?;
        Some(Disk {
            free: stats.f_bavail.saturating_mul(stats.f_frsize),
            total: stats.f_blocks.saturating_mul(stats.f_frsize),
        })
    }
}
