//! Removal by a person, on Postgres: the server's vacuum takes the bytes.

use async_trait::async_trait;

use super::super::{Beside, Erased, Erasure, Error, Found, Selection, Subject};
use super::{PostgresStore, pooled, statements, transaction};
use crate::event::Position;

#[async_trait]
impl Erasure for PostgresStore {
    async fn erasable_upto(&self) -> Result<Position, Error> {
        pooled!(self, connection => statements::erasable_upto(connection))
    }

    async fn find_subject(&self, subject: &Subject, after: Position) -> Result<Found, Error> {
        pooled!(self, connection => statements::find_subject(connection, subject, after))
    }

    async fn erase_events(&self, subject: &Subject, after: Position) -> Result<Erased, Error> {
        transaction!(self, transaction, _now => statements::erase_events(transaction, subject, after))
    }

    async fn find_beside(&self, subject: &Subject) -> Result<Beside, Error> {
        pooled!(self, connection => statements::find_beside(connection, subject))
    }

    async fn erase_beside(&self, subject: &Subject) -> Result<Beside, Error> {
        transaction!(self, transaction, _now => statements::erase_beside(transaction, subject))
    }

    async fn discard_dead_letters(
        &self,
        selection: Selection,
        after: Position,
    ) -> Result<Erased, Error> {
        transaction!(self, transaction, _now => statements::discard_dead_letters(transaction, selection, after))
    }
}
