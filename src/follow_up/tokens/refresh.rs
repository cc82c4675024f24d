//! A refresh, from its begin in the store to its end there, whoever waits for it or does not.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep;

use super::{NoToken, Tokens};
use crate::event::lifecycle::Account;
use crate::failpoints;
use crate::ghl::oauth::{self, Credentials, Failed, Token};
use crate::retry::Delays;
use crate::store::{Begun, RefreshEnd};
use crate::telemetry::Chain;

/// How long the second answer is waited for: with the first one's time it stays below [`super::LEASE`].
const AGAIN: Duration = Duration::from_secs(20);

/// A refresh that was begun.
pub(super) struct Refresh {
    pub(super) tokens: Arc<Tokens>,
    pub(super) app: Credentials,
    pub(super) app_id: String,
    pub(super) tenant: String,
    pub(super) account: Account,
    pub(super) begun: Begun,
    pub(super) current: SecretString,
    pub(super) previous: Option<SecretString>,
}

impl Refresh {
    /// To its end; false where the row has moved on meanwhile, and may hold a token that somebody else brought.
    pub(super) async fn run(self) -> Result<bool, NoToken> {
        failpoints::panic("refresh.panic");
        let mut answer = self.ask(&self.current, oauth::PATIENCE).await;
        // Where the answer to an earlier refresh was lost before it was kept, the one before may be the
        // good one still.
        if let (Err(error), Some(previous)) = (&answer, &self.previous)
            && error.is_definite()
        {
            answer = self.ask(previous, AGAIN).await;
        }
        failpoints::crash("refresh.answered");
        let error = match answer {
            Ok(token) if token.tenant() == Some(self.tenant.as_str()) => {
                self.commit(&token).await;
                return Ok(true);
            }
            Ok(_) => Failed::Unusable("it is another tenant's"),
            Err(error) => error,
        };
        let end = match &error {
            error if error.is_definite() => RefreshEnd::Refused,
            error if error.is_unknown() => RefreshEnd::Unknown,
            _ => RefreshEnd::NothingSpent,
        };
        let tokens = &self.tokens;
        let version = self.begun.version;
        let store = &tokens.store;
        let failed = store.fail_refresh(&self.app_id, &self.tenant, version, end);
        if !failed.await? {
            tracing::info!(
                app_id = %self.app_id, tenant = %self.tenant, error = %Chain(&error),
                "a refresh that brought nothing is of no matter: another one ended meanwhile"
            );
            return Ok(false);
        }
        if end == RefreshEnd::Refused {
            tracing::error!(
                app_id = %self.app_id, tenant = %self.tenant, error = %Chain(&error),
                "GHL does not take the refresh token any more; the app has to be authorised again for this tenant"
            );
            return Err(NoToken::Reauthorise);
        }
        tracing::warn!(
            app_id = %self.app_id, tenant = %self.tenant, error = %Chain(&error),
            "a token could not be refreshed; it is tried again"
        );
        Err(NoToken::NotGiven(error))
    }

    async fn ask(&self, refresh: &SecretString, within: Duration) -> Result<Token, Failed> {
        let tokens = &self.tokens;
        let refresh = refresh.clone();
        let asked = oauth::refresh(&tokens.client, &self.app, self.account, refresh, within);
        let answer = asked.await;
        tokens.count("refresh", answer.as_ref().err());
        answer
    }

    /// Commits the new pair, however often it takes: there is no other copy of it.
    async fn commit(&self, token: &Token) {
        let tokens = &self.tokens;
        if failpoints::mutant("mutant.M17") {
            tracing::info!(
                access = token.access.expose_secret(),
                "a token was refreshed"
            );
        }
        let mut delays = Delays::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            // Each time anew: keys may have been rotated meanwhile.
            let used = tokens.keys.newest();
            let sealed = match tokens.sealed(&used, &self.app_id, &self.tenant, token) {
                Ok(sealed) => sealed,
                Err(error) => {
                    tracing::error!(%error, tenant = %self.tenant, "a new token cannot be sealed");
                    return;
                }
            };
            let (app_id, tenant, now) = (&self.app_id, &self.tenant, (tokens.clock)());
            let done = tokens
                .store
                .complete_refresh(app_id, tenant, self.begun, &sealed, now)
                .await;
            match done {
                Ok(true) => {
                    failpoints::crash("refresh.committed");
                    tokens.look_for_keys(&used, app_id, tenant).await;
                    return;
                }
                Ok(false) => {
                    tracing::warn!(%tenant, "a refreshed token was not kept: another one was kept meanwhile, or the app was uninstalled");
                    return;
                }
                Err(error) => {
                    tracing::error!(error = %Chain(&error), %tenant, "a refreshed token is not in the store yet");
                    sleep(delays.next_delay()).await;
                }
            }
        }
    }
}
