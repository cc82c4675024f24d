//! Installations and their tokens on Postgres. Times are the server's: daemons share it, and not a clock.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{
    Begun, Error, Installation, InstallationFilter, Installations, NewToken, OauthState,
    RefreshEnd, SealedToken,
};
use super::{PostgresStore, pooled, statements, transaction};
use crate::event::Micros;

#[async_trait]
impl Installations for PostgresStore {
    async fn installations(&self, filter: &InstallationFilter) -> Result<Vec<Installation>, Error> {
        pooled!(self, connection => statements::installations(connection, filter))
    }

    async fn installation(
        &self,
        app_id: &str,
        tenant: &str,
    ) -> Result<Option<Installation>, Error> {
        pooled!(self, connection => statements::installation(connection, app_id, tenant))
    }

    async fn token(&self, app_id: &str, tenant: &str) -> Result<Option<SealedToken>, Error> {
        pooled!(self, connection => statements::token(connection, app_id, tenant))
    }

    async fn put_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &NewToken,
        _now: Micros,
    ) -> Result<bool, Error> {
        transaction!(self, transaction, now => statements::put_token(transaction, app_id, tenant, token, now))
    }

    async fn begin_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        lease: Duration,
        _now: Micros,
    ) -> Result<Option<Begun>, Error> {
        transaction!(self, transaction, now => statements::begin_refresh(transaction, app_id, tenant, version, lease, now))
    }

    async fn complete_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        begun: Begun,
        token: &NewToken,
        _now: Micros,
    ) -> Result<bool, Error> {
        transaction!(self, transaction, now => statements::complete_refresh(transaction, app_id, tenant, begun, token, now))
    }

    async fn fail_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        end: RefreshEnd,
    ) -> Result<bool, Error> {
        pooled!(self, connection => statements::fail_refresh(connection, app_id, tenant, version, end))
    }

    async fn expire_token(&self, app_id: &str, tenant: &str, version: i64) -> Result<(), Error> {
        pooled!(self, connection => statements::expire_token(connection, app_id, tenant, version))
    }

    async fn put_oauth_state(
        &self,
        app_id: &str,
        state: &OauthState,
        life: Duration,
        most: i64,
        _now: Micros,
    ) -> Result<(), Error> {
        transaction!(self, transaction, now => statements::put_oauth_state(transaction, app_id, state, life, most, now))
    }

    async fn take_oauth_state(
        &self,
        state: &OauthState,
        _now: Micros,
    ) -> Result<Option<String>, Error> {
        transaction!(self, transaction, now => statements::take_oauth_state(transaction, state, now))
    }

    async fn tokens_to_reseal(
        &self,
        key: &str,
        after: (&str, &str),
        limit: i64,
    ) -> Result<Vec<(String, String, SealedToken)>, Error> {
        pooled!(self, connection => statements::tokens_to_reseal(connection, key, after, limit))
    }

    async fn reseal_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &SealedToken,
    ) -> Result<bool, Error> {
        pooled!(self, connection => statements::reseal_token(connection, app_id, tenant, token))
    }
}
