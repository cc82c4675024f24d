//! Installations and their tokens on SQLite.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{
    Begun, Error, Installation, InstallationFilter, Installations, NewToken, OauthState,
    RefreshEnd, SealedToken,
};
use super::writer::transaction;
use super::{SqliteStore, statements};
use crate::event::Micros;

#[async_trait]
impl Installations for SqliteStore {
    async fn installations(&self, filter: &InstallationFilter) -> Result<Vec<Installation>, Error> {
        statements::installations(&mut *self.reader().await?, filter).await
    }

    async fn installation(
        &self,
        app_id: &str,
        tenant: &str,
    ) -> Result<Option<Installation>, Error> {
        statements::installation(&mut *self.reader().await?, app_id, tenant).await
    }

    async fn token(&self, app_id: &str, tenant: &str) -> Result<Option<SealedToken>, Error> {
        statements::token(&mut *self.reader().await?, app_id, tenant).await
    }

    async fn put_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &NewToken,
        now: Micros,
    ) -> Result<bool, Error> {
        transaction!(self, Now, transaction => statements::put_token(transaction, app_id, tenant, token, now))
    }

    async fn begin_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        lease: Duration,
        now: Micros,
    ) -> Result<Option<Begun>, Error> {
        transaction!(self, Now, transaction => statements::begin_refresh(transaction, app_id, tenant, version, lease, now))
    }

    async fn complete_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        begun: Begun,
        token: &NewToken,
        now: Micros,
    ) -> Result<bool, Error> {
        transaction!(self, Now, transaction => statements::complete_refresh(transaction, app_id, tenant, begun, token, now))
    }

    async fn fail_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        end: RefreshEnd,
    ) -> Result<bool, Error> {
        transaction!(self, Now, transaction => statements::fail_refresh(transaction, app_id, tenant, version, end))
    }

    async fn expire_token(&self, app_id: &str, tenant: &str, version: i64) -> Result<(), Error> {
        transaction!(self, Now, transaction => statements::expire_token(transaction, app_id, tenant, version))
    }

    async fn put_oauth_state(
        &self,
        app_id: &str,
        state: &OauthState,
        life: Duration,
        most: i64,
        now: Micros,
    ) -> Result<(), Error> {
        transaction!(self, Now, transaction => statements::put_oauth_state(transaction, app_id, state, life, most, now))
    }

    async fn take_oauth_state(
        &self,
        state: &OauthState,
        now: Micros,
    ) -> Result<Option<String>, Error> {
        transaction!(self, Now, transaction => statements::take_oauth_state(transaction, state, now))
    }

    async fn tokens_to_reseal(
        &self,
        key: &str,
        after: (&str, &str),
        limit: i64,
    ) -> Result<Vec<(String, String, SealedToken)>, Error> {
        statements::tokens_to_reseal(&mut *self.reader().await?, key, after, limit).await
    }

    async fn reseal_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &SealedToken,
    ) -> Result<bool, Error> {
        transaction!(self, Now, transaction => statements::reseal_token(transaction, app_id, tenant, token))
    }
}
