//! What the store keeps of installations and their tokens.
//!
//! Tokens come and go sealed. One refresh at a time, over all daemons: whoever raises the row's version has the
//! refresh. One that brought nothing ends under that version or not at all; one that brought a pair ends as long as no
//! other pair was kept since it began, for there is no other copy of it.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::budget::Budget;
use crate::event::Micros;
use crate::event::lifecycle::{Account, Details};

/// An installation of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The app.
    pub app_id: String,
    /// The location or company.
    pub tenant: String,
    /// Which of the two.
    pub account: Account,
    /// The company of a location, where it is known.
    pub company_id: Option<String>,
    /// Whether it stands.
    pub installed: bool,
    /// Counts installs.
    pub generation: i64,
    /// GHL's time of the newest event that was applied.
    pub changed_at: Micros,
    /// When it was installed last, where that is known: GHL's time of the INSTALL, or where none came ours of
    /// its first token.
    pub installed_at: Option<Micros>,
    /// When it was uninstalled last.
    pub uninstalled_at: Option<Micros>,
    /// What is known beside.
    pub details: Details,
    /// Its token, where there is one.
    pub token: Option<TokenState>,
    /// What is spent of its calls.
    pub budget: Budget,
}

/// What is told of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenState {
    /// When the access token ends.
    pub expires_at: Micros,
    /// Whether only a person can get the next one.
    pub reauthorise: bool,
    /// Whether it can be refreshed.
    pub refreshable: bool,
    /// What it may do.
    pub scope: String,
}

/// A token, sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedToken {
    /// Whose.
    pub account: Account,
    /// The company, where it is known.
    pub company_id: Option<String>,
    /// For calls.
    pub access: Vec<u8>,
    /// For the next pair.
    pub refresh: Option<Vec<u8>>,
    /// The refresh token before.
    pub previous: Option<Vec<u8>>,
    /// What it may do.
    pub scope: String,
    /// When the access token ends.
    pub expires_at: Micros,
    /// Whether only a person can get the next one.
    pub reauthorise: bool,
    /// When the tokens were obtained.
    pub obtained_at: Micros,
    /// The row's version.
    pub version: i64,
    /// Until when a refresh may be under way.
    pub refreshing_until: Option<Micros>,
    /// Refreshes in a row whose outcome nobody knows.
    pub unknown_refreshes: i64,
}

impl std::fmt::Debug for SealedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedToken")
            .field("account", &self.account)
            .field("version", &self.version)
            .field("reauthorise", &self.reauthorise)
            .finish_non_exhaustive()
    }
}

/// A token to be kept, sealed.
#[derive(Clone)]
pub struct NewToken {
    /// Whose.
    pub account: Account,
    /// The company, where it is known.
    pub company_id: Option<String>,
    /// For calls.
    pub access: Vec<u8>,
    /// For the next pair; `None` leaves the one that is there.
    pub refresh: Option<Vec<u8>>,
    /// What it may do.
    pub scope: String,
    /// How long the access token lives from now.
    pub life: Duration,
    /// Whether it was minted from the company's: it is of no use once the app is uninstalled.
    pub minted: bool,
}

/// A refresh that was begun: what its end is written under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The row's version since then.
    pub version: i64,
    /// When the tokens were obtained that it spends: no other pair was kept as long as the row still says so.
    pub obtained_at: Micros,
}

/// How a refresh ended that did not bring a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshEnd {
    /// Nothing was spent.
    NothingSpent,
    /// Nobody knows whether the refresh token was spent.
    Unknown,
    /// GHL refuses the refresh token for good: only a person can get the next one.
    Refused,
}

/// Which installations to list.
#[derive(Debug, Clone, Default)]
pub struct InstallationFilter {
    /// Only of this app.
    pub app_id: Option<String>,
    /// Only of this company, itself left out.
    pub company_id: Option<String>,
    /// Only those that stand.
    pub installed: bool,
    /// Only after this app and tenant, in their order.
    pub after: Option<(String, String)>,
    /// At most so many.
    pub limit: i64,
}

/// The hashes that an authorisation in a browser is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OauthState {
    /// Of the state.
    pub state_hash: [u8; 32],
    /// Of the cookie.
    pub cookie_hash: [u8; 32],
}

/// Installations and tokens. Times are the store's own where daemons share it (Postgres), else `now`.
#[async_trait]
pub trait Installations: Send + Sync {
    /// Installations, by app and tenant.
    async fn installations(&self, filter: &InstallationFilter) -> Result<Vec<Installation>, Error>;

    /// One installation.
    async fn installation(&self, app_id: &str, tenant: &str)
    -> Result<Option<Installation>, Error>;

    /// A token.
    async fn token(&self, app_id: &str, tenant: &str) -> Result<Option<SealedToken>, Error>;

    /// Keeps a token that was newly obtained, whatever was there, notes an installation of its tenant where none
    /// is known, and makes calls due that wait for it, or for one of a location of it. Whether it was kept: a
    /// minted one is not where the app is known to be uninstalled.
    async fn put_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &NewToken,
        now: Micros,
    ) -> Result<bool, Error>;

    /// Begins a refresh, if the row still has `version` and no other refresh may be under way. Committed before
    /// anything is sent.
    async fn begin_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        lease: Duration,
        now: Micros,
    ) -> Result<Option<Begun>, Error>;

    /// Ends a refresh with a new pair; false when it was not kept, for another pair was since it began, or the
    /// app was uninstalled.
    ///
    /// Its time may be over long since: where the store was away, others may have begun to refresh meanwhile, and
    /// may have been refused. A refresh token is good once, so the pair that it brought is the good one until another
    /// is kept:
    ///
    /// - Others that began since present a token which this refresh has spent. Whether they are under way, did not get
    ///   through, or were refused, so that a person is called for: the pair is kept, the token is usable, and their
    ///   ends, written under their versions, change nothing any more.
    /// - One of them got a pair and kept it: then GHL took the same token twice, and the pair that was kept first stays.
    /// - Somebody authorised the app again: that is the newer grant, and it stays.
    /// - The app was uninstalled, and perhaps installed again: the row is gone, or of another time.
    async fn complete_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        begun: Begun,
        token: &NewToken,
        now: Micros,
    ) -> Result<bool, Error>;

    /// Ends a refresh without one; false when the row has another version by now, so that this end says nothing.
    async fn fail_refresh(
        &self,
        app_id: &str,
        tenant: &str,
        version: i64,
        end: RefreshEnd,
    ) -> Result<bool, Error>;

    /// An access token is not taken any more: it counts as expired, if it is still this version's.
    async fn expire_token(&self, app_id: &str, tenant: &str, version: i64) -> Result<(), Error>;

    /// Remembers an authorisation that begins, and forgets those whose time is over; at most `most` are kept.
    async fn put_oauth_state(
        &self,
        app_id: &str,
        state: &OauthState,
        life: Duration,
        most: i64,
        now: Micros,
    ) -> Result<(), Error>;

    /// Takes an authorisation out: its app, if the state is known, the cookie is its own and its time is not
    /// over. Whatever comes of it, the state is gone.
    async fn take_oauth_state(
        &self,
        state: &OauthState,
        now: Micros,
    ) -> Result<Option<String>, Error>;

    /// Tokens sealed under another key than `key`, at most `limit`: app and tenant, with their columns as
    /// they are.
    async fn tokens_to_reseal(
        &self,
        key: &str,
        after: (&str, &str),
        limit: i64,
    ) -> Result<Vec<(String, String, SealedToken)>, Error>;

    /// Replaces the columns of a token, if it still has this version.
    async fn reseal_token(
        &self,
        app_id: &str,
        tenant: &str,
        token: &SealedToken,
    ) -> Result<bool, Error>;
}
