//! Removal by a person, on SQLite: what goes is overwritten, too.

use async_trait::async_trait;

use super::super::{Beside, Erased, Erasure, Error, Found, Selection, Subject};
use super::writer::{on, transaction};
use super::{SqliteStore, statements};
use crate::event::Position;

impl SqliteStore {
    /// From now on the pages that a row leaves are overwritten with zeros: else its bytes stay in the file until
    /// something else needs the room.
    async fn overwrite_what_goes(&self) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => async {
            sqlx::query("pragma secure_delete = on").execute(connection).await?;
            Ok(())
        })
    }
}

#[async_trait]
impl Erasure for SqliteStore {
    async fn erasable_upto(&self) -> Result<Position, Error> {
        statements::erasable_upto(&mut *self.reader().await?).await
    }

    async fn find_subject(&self, subject: &Subject, after: Position) -> Result<Found, Error> {
        statements::find_subject(&mut *self.reader().await?, subject, after).await
    }

    async fn erase_events(&self, subject: &Subject, after: Position) -> Result<Erased, Error> {
        self.overwrite_what_goes().await?;
        transaction!(self, Now, transaction => statements::erase_events(transaction, subject, after))
    }

    async fn find_beside(&self, subject: &Subject) -> Result<Beside, Error> {
        statements::find_beside(&mut *self.reader().await?, subject).await
    }

    async fn erase_beside(&self, subject: &Subject) -> Result<Beside, Error> {
        self.overwrite_what_goes().await?;
        transaction!(self, Now, transaction => statements::erase_beside(transaction, subject))
    }

    async fn discard_dead_letters(
        &self,
        selection: Selection,
        after: Position,
    ) -> Result<Erased, Error> {
        self.overwrite_what_goes().await?;
        transaction!(self, Now, transaction => statements::discard_dead_letters(transaction, selection, after))
    }
}
