//! A token for a tenant, good now: the one that is kept, or a new one.
//!
//! A refresh token is good once, so a refresh is one whole: its right is committed before anything is sent, it
//! belongs to a task that nobody cancels, and the new pair is committed before it is used. Over all daemons one
//! refreshes and the others wait for what it brings. Where an answer was lost, the same token is tried once more;
//! when GHL says that it is spent, a person has to authorise the app again, and nothing is tried any more.
//!
//! A location's token is minted from its company's while that lives; minting spends no token, and one call of the
//! company's budget.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Limits;
use crate::chance::{self, Chance};
use crate::clock::Clock;
use crate::event::lifecycle::Account;
use crate::failpoints;
use crate::ghl::Client;
use crate::ghl::oauth::{self, Credentials, Failed};
use crate::key_file::KeyFile;
use crate::metrics::Metrics;
use crate::retry::Delays;
use crate::seal;
use crate::store::{self, Begun, SealedToken, Store};
use crate::telemetry::Chain;

mod mint;
mod pause;
mod refresh;
mod sealing;

use pause::Pauses;
use refresh::Refresh;
use sealing::{ACCESS, REFRESH, place};
pub use sealing::{missing_key, reseal};

/// A token that ends within this time is renewed before it is used.
const MARGIN: i64 = 60 * 1_000_000;
/// How long a refresh may be under way before another one may begin. Longer than the answers to it are waited for.
const LEASE: Duration = Duration::from_secs(90);
/// How often a daemon looks whether another one's refresh has ended, and how long in all.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 100;

/// A token for calls.
#[derive(Debug, Clone)]
pub struct Access {
    /// The token.
    pub token: SecretString,
    /// The version of its row, for [`Tokens::not_taken`].
    pub version: i64,
    /// Whether GHL gave it just now.
    pub is_new: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    /// The app has no credentials in the configuration.
    #[error("the app has no client_id and client_secret in the configuration")]
    NoCredentials,
    /// The app is not installed for this tenant any more.
    #[error("the app is uninstalled")]
    Uninstalled,
    /// Nobody has authorised it yet, as far as is known: an INSTALL may come before the authorisation.
    #[error("there is no token yet")]
    NotYet,
    /// Only a person can get the next one.
    #[error("the app has to be authorised again")]
    Reauthorise,
    /// GHL refuses to mint one: the app is not installed there, or lacks the scope.
    #[error("GHL refuses to mint a token ({status}): {message}")]
    Refused {
        /// The status.
        status: u16,
        /// What the answer says.
        message: String,
    },
    /// Not now.
    #[error("no token can be had at the moment: {0}")]
    Later(String),
    /// GHL gave none for now, or the company's calls are spent: nobody asks before a pause is over.
    #[error("no token can be had at the moment: {why}")]
    Paused {
        /// How much of it is left.
        after: Duration,
        /// What failed.
        why: String,
        /// Whether GHL's host was asked for this and was to blame: what the circuit breaker counts.
        is_outage: bool,
    },
    /// GHL was asked and gave none; [`Tokens::access`] makes a pause of it.
    #[error("GHL gave no token")]
    NotGiven(#[source] Failed),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] store::Error),
    /// What is kept does not open.
    #[error("the kept token cannot be opened")]
    Sealed(#[from] seal::Error),
}

type Locks = std::sync::Mutex<HashMap<(String, String), Weak<Mutex<()>>>>;

/// What an app is at GHL.
pub struct Apps {
    /// What each shows at the token endpoint, by id.
    pub credentials: HashMap<String, Credentials>,
    /// Of a company's calls, which mints are.
    pub limits: Limits,
}

/// The tokens of all tenants.
pub struct Tokens {
    store: Arc<dyn Store>,
    client: Client,
    apps: Apps,
    keys: Arc<KeyFile>,
    clock: Clock,
    chance: Chance,
    metrics: Metrics,
    pauses: Pauses,
    /// One at a time for each tenant, in this daemon: the others find what it brought.
    locks: Locks,
    /// When the next mint for a company may begin.
    mints: std::sync::Mutex<HashMap<(String, String), Instant>>,
    /// When a company's token was given up for a mint, until a mint succeeds.
    uncured: std::sync::Mutex<HashMap<(String, String), Instant>>,
    /// What nobody cancels.
    tasks: TaskTracker,
}

impl Tokens {
    /// Puts the parts together.
    pub fn new(
        store: Arc<dyn Store>,
        client: Client,
        apps: Apps,
        keys: Arc<KeyFile>,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            client,
            apps,
            keys,
            clock,
            chance,
            metrics,
            pauses: Pauses::default(),
            locks: Locks::default(),
            mints: std::sync::Mutex::default(),
            uncured: std::sync::Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Lives until shutdown and then until every refresh that was begun has ended.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A token of a tenant that is good now, if there is one by then. May wait for a refresh or a mint, which come
    /// to their end whoever waits. `company` is the tenant's, where the event says it and no INSTALL may have.
    ///
    /// # Errors
    /// See [`NoToken`].
    pub async fn access(
        self: &Arc<Self>,
        app_id: &str,
        tenant: &str,
        company: Option<&str>,
        by: Instant,
    ) -> Result<Access, NoToken> {
        let row = self.store.token(app_id, tenant).await?;
        if let Some(access) = self.good(app_id, tenant, row.as_ref())? {
            return Ok(access);
        }
        let (this, app_id, tenant) = (Arc::clone(self), app_id.to_owned(), tenant.to_owned());
        let company = company.map(str::to_owned);
        let had = async move { this.obtain(&app_id, &tenant, company.as_deref()).await };
        match timeout_at(by, self.tasks.spawn(had)).await {
            Ok(Ok(access)) => access,
            Ok(Err(_)) => Err(NoToken::Later("getting a token ended badly".to_owned())),
            Err(_) => Err(NoToken::Later("a token is not there in time".to_owned())),
        }
    }

    /// A token of a tenant that is good now: one at a time in this daemon, since the others find what it brought.
    async fn obtain(
        self: &Arc<Self>,
        app_id: &str,
        tenant: &str,
        company: Option<&str>,
    ) -> Result<Access, NoToken> {
        let lock = self.lock_of(app_id, tenant);
        let _one = match failpoints::mutant("mutant.M14") {
            true => None,
            false => Some(lock.lock().await),
        };
        let mut renewed = false;
        for _ in 0..LOOKS {
            let row = self.store.token(app_id, tenant).await?;
            if let Some(access) = self.good(app_id, tenant, row.as_ref())? {
                return Ok(Access {
                    is_new: renewed,
                    ..access
                });
            }
            if renewed {
                let why = "a new token has ended already; is the clock of this machine right?";
                return Err(NoToken::Later(why.to_owned()));
            }
            if let Some((after, why)) = self.pauses.left(app_id, tenant, Instant::now()) {
                return Err(NoToken::Paused {
                    after,
                    why,
                    is_outage: false,
                });
            }
            renewed = match self.renew(app_id, tenant, company, row).await {
                Err(NoToken::NotGiven(failed)) => return Err(self.pause(app_id, tenant, &failed)),
                renewed => renewed?,
            };
            match renewed {
                true => self.pauses.ended(app_id, tenant),
                false => sleep(LOOK).await,
            }
        }
        Err(NoToken::Later(
            "another daemon's refresh does not end".to_owned(),
        ))
    }

    /// Nobody asks again before it is over.
    fn pause(&self, app_id: &str, tenant: &str, failed: &Failed) -> NoToken {
        let why = Chain(failed).to_string();
        let chance = chance::fraction(&self.chance);
        NoToken::Paused {
            after: self
                .pauses
                .failed(app_id, tenant, &why, Instant::now(), chance),
            why,
            is_outage: failed.is_outage(),
        }
    }

    /// GHL did not take an access token before its time: it counts as expired.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn not_taken(
        &self,
        app_id: &str,
        tenant: &str,
        access: &Access,
    ) -> Result<(), store::Error> {
        self.store
            .expire_token(app_id, tenant, access.version)
            .await
    }

    /// Spends a code and keeps the token; its tenant. Goes on when the caller does not wait.
    ///
    /// # Errors
    /// When GHL gives no token, or it could not be kept.
    pub async fn accept_code(
        self: &Arc<Self>,
        app_id: &str,
        code: SecretString,
    ) -> Result<String, NoToken> {
        let app = self.credentials(app_id)?;
        let (this, app_id) = (Arc::clone(self), app_id.to_owned());
        let exchange = self.tasks.spawn(async move {
            let token = match oauth::exchange(&this.client, &app, code).await {
                Ok(token) => token,
                Err(error) => {
                    this.count("exchange", Some(&error));
                    return Err(NoToken::Later(Chain(&error).to_string()));
                }
            };
            this.count("exchange", None);
            let tenant = token.tenant().unwrap_or_default().to_owned();
            // A code is good once: there is no other copy of what it brought.
            let mut delays = Delays::new(Duration::from_millis(100), Duration::from_secs(5));
            while let Err(error) = this.keep(&app_id, &tenant, &token, false).await {
                tracing::error!(error = %Chain(&error), %tenant, "a new token is not in the store yet");
                sleep(delays.next_delay()).await;
            }
            Ok(tenant)
        });
        exchange
            .await
            .unwrap_or_else(|_| Err(NoToken::Later("the exchange ended badly".to_owned())))
    }

    fn credentials(&self, app_id: &str) -> Result<Credentials, NoToken> {
        let app = self.apps.credentials.get(app_id).cloned();
        app.ok_or(NoToken::NoCredentials)
    }

    /// The token of a row, if it is good now.
    fn good(
        &self,
        app_id: &str,
        tenant: &str,
        row: Option<&SealedToken>,
    ) -> Result<Option<Access>, NoToken> {
        let now = (self.clock)().0;
        let Some(row) = row.filter(|row| now < row.expires_at.0 - MARGIN) else {
            return Ok(None);
        };
        let place = place(ACCESS, app_id, tenant);
        Ok(Some(Access {
            token: self.keys.open_sealed(&place, &row.access)?,
            version: row.version,
            is_new: false,
        }))
    }

    /// Gets a new token in place of what was found in `row`, or lets another daemon do it; false where one has to look
    /// again later. A row that another daemon has changed since is not looked at here: it may hold a good one.
    async fn renew(
        self: &Arc<Self>,
        app_id: &str,
        tenant: &str,
        company: Option<&str>,
        row: Option<SealedToken>,
    ) -> Result<bool, NoToken> {
        let app = self.credentials(app_id)?;
        let installation = self.store.installation(app_id, tenant).await?;
        if row.is_none() && installation.as_ref().is_some_and(|known| !known.installed) {
            return Err(NoToken::Uninstalled);
        }
        // A location's token comes from its company where that has one.
        let is_company = |account| account == Account::Company;
        let known_company = match (&row, &installation) {
            (Some(row), _) if is_company(row.account) => None,
            (_, Some(known)) if is_company(known.account) => None,
            (Some(row), _) if row.company_id.is_some() => row.company_id.clone(),
            (_, known) => known.as_ref().and_then(|known| known.company_id.clone()),
        };
        let is_company = row.as_ref().is_some_and(|row| is_company(row.account));
        let hint = company.filter(|_| !is_company).map(str::to_owned);
        if let Some(company) = known_company.or(hint)
            && company != tenant
            && self.store.token(app_id, &company).await?.is_some()
        {
            match self.mint(app_id, &company, tenant).await {
                // One that the location was given itself goes on without its company.
                Err(NoToken::Refused { .. } | NoToken::Reauthorise | NoToken::NotYet)
                    if row
                        .as_ref()
                        .is_some_and(|row| row.refresh.is_some() && !row.reauthorise) => {}
                minted => return minted,
            }
        }
        match row {
            None => Err(NoToken::NotYet),
            Some(row) if row.reauthorise => Err(NoToken::Reauthorise),
            Some(row) => self.refresh(app_id, tenant, app, row).await,
        }
    }

    /// Spends the refresh token, if it is this daemon's to spend.
    async fn refresh(
        self: &Arc<Self>,
        app_id: &str,
        tenant: &str,
        app: Credentials,
        row: SealedToken,
    ) -> Result<bool, NoToken> {
        let Some(sealed) = &row.refresh else {
            return Err(NoToken::Reauthorise);
        };
        let current = self
            .keys
            .open_sealed(&place(REFRESH, app_id, tenant), sealed)?;
        // It was sealed as the current one, and moved.
        let previous = row.previous.as_ref();
        let previous = previous.and_then(|sealed| {
            self.keys
                .open_sealed(&place(REFRESH, app_id, tenant), sealed)
                .ok()
        });
        let now = (self.clock)();
        let begun = match failpoints::mutant("mutant.M14") {
            true => Some(Begun {
                version: row.version,
                obtained_at: row.obtained_at,
            }),
            false => {
                let version = row.version;
                let begun = self
                    .store
                    .begin_refresh(app_id, tenant, version, LEASE, now);
                begun.await?
            }
        };
        let Some(begun) = begun else {
            return Ok(false);
        };
        failpoints::crash("refresh.begun");
        let refresh = Refresh {
            tokens: Arc::clone(self),
            app,
            app_id: app_id.to_owned(),
            tenant: tenant.to_owned(),
            account: row.account,
            begun,
            current,
            previous,
        };
        match self.tasks.spawn(refresh.run()).await {
            Ok(ended) => ended,
            Err(_) => Err(NoToken::Later("the refresh ended badly".to_owned())),
        }
    }

    fn lock_of(&self, app_id: &str, tenant: &str) -> Arc<Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| 0 < lock.strong_count());
        let entry = locks
            .entry((app_id.to_owned(), tenant.to_owned()))
            .or_default();
        if let Some(lock) = entry.upgrade() {
            return lock;
        }
        let lock = Arc::new(Mutex::new(()));
        *entry = Arc::downgrade(&lock);
        lock
    }

    fn count(&self, what: &str, failed: Option<&Failed>) {
        let outcome = match failed {
            None => "ok",
            Some(Failed::Refused { .. }) => "refused",
            Some(Failed::Later { .. } | Failed::NotSent(_)) => "later",
            Some(Failed::Unusable(_) | Failed::Unanswered(_)) => "unknown",
        };
        self.metrics
            .token_requests
            .with_label_values(&[what, outcome])
            .inc();
    }
}
