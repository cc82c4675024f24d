//! A location's token from its company's: a call of the company's, within its budget.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{NoToken, Tokens};
use crate::ghl::Meaning;
use crate::ghl::oauth::{self, Failed};
use crate::store::Room;
use crate::telemetry::Chain;

/// Between two mints for one company in this daemon: the company's budget holds for all of them, and this spreads them.
const MINT_GAP: Duration = Duration::from_millis(110);
/// Where a company's calls are spent, they are looked at again after this at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Where another token of the company's did not help, none is got for mints within this time.
const UNCURED: Duration = Duration::from_secs(600);
/// How long a mint may be under way: longer than a call may take.
const LONGEST: Duration = super::LEASE;

impl Tokens {
    /// Gets a location's token from its company's, and keeps it. Spends no token, and one call of the company's.
    pub(super) async fn mint(
        self: &Arc<Self>,
        app_id: &str,
        company: &str,
        location: &str,
    ) -> Result<bool, NoToken> {
        // One level: a company's token comes from nobody else's.
        let company_token = Box::pin(self.obtain(app_id, company, None)).await?;
        self.pace(app_id, company).await;
        let (limits, now) = (&self.apps.limits, (self.clock)());
        let room = self.store.begin_call(app_id, company, limits, LONGEST, now);
        let place = match room.await? {
            Room::Taken(place) => place,
            Room::None(after) => {
                return Err(NoToken::Paused {
                    after: after.min(LOOK_AGAIN),
                    why: "the calls of its company are spent for now".to_owned(),
                    is_outage: false,
                });
            }
        };
        let token = company_token.token.clone();
        let (told, minted) = oauth::location_token(&self.client, token, company, location).await;
        let now = (self.clock)();
        let ended = self
            .store
            .end_call(app_id, company, place, told.as_ref(), limits, now);
        if let Err(error) = ended.await {
            tracing::warn!(error = %Chain(&error), "the end of a mint is not noted; its place comes free by itself");
        }
        self.count("mint", minted.as_ref().err());
        match minted {
            Ok(token) if token.location_id.as_deref() == Some(location) => {
                self.cured(app_id, company);
                self.keep(app_id, location, &token, true).await?;
                Ok(true)
            }
            Ok(_) => Err(NoToken::NotGiven(Failed::Unusable(
                "it is another tenant's",
            ))),
            Err(
                error @ Failed::Refused {
                    meaning: Meaning::TokenExpired,
                    ..
                },
            ) => {
                if self.may_cure(app_id, company, Instant::now()) {
                    self.not_taken(app_id, company, &company_token).await?;
                }
                Err(NoToken::NotGiven(error))
            }
            Err(Failed::Refused {
                status, message, ..
            }) => Err(NoToken::Refused { status, message }),
            Err(error) => Err(NoToken::NotGiven(error)),
        }
    }

    /// Whether a company's token that a mint was refused for may be given up: it may have ended before its time. Not again
    /// soon where that did not help: it would be refreshed for every location, and for ever.
    fn may_cure(&self, app_id: &str, company: &str, now: Instant) -> bool {
        let mut tried = self.uncured.lock().unwrap_or_else(PoisonError::into_inner);
        tried.retain(|_, at| now.duration_since(*at) < UNCURED);
        let key = (app_id.to_owned(), company.to_owned());
        let is_first = !tried.contains_key(&key);
        if is_first {
            tried.insert(key, now);
        }
        is_first
    }

    fn cured(&self, app_id: &str, company: &str) {
        let mut tried = self.uncured.lock().unwrap_or_else(PoisonError::into_inner);
        tried.remove(&(app_id.to_owned(), company.to_owned()));
    }

    /// Waits for its turn among the mints of a company.
    async fn pace(&self, app_id: &str, company: &str) {
        let turn = {
            let mut mints = self.mints.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            mints.retain(|_, next| now < *next);
            let key = (app_id.to_owned(), company.to_owned());
            let next = mints.entry(key).or_insert(now);
            let turn = (*next).max(now);
            *next = turn + MINT_GAP;
            turn
        };
        sleep_until(turn).await;
    }
}
