//! A location's token from its company's.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{NoToken, Tokens};
use crate::ghl::Meaning;
use crate::ghl::oauth::{self, Failed};
use crate::telemetry::Chain;

/// Between two mints for one company: GHL publishes no limit for token calls, its usual one is 10/s.
const MINT_GAP: Duration = Duration::from_millis(110);

impl Tokens {
    /// Gets a location's token from its company's, and keeps it. Spends nothing.
    pub(super) async fn mint(
        self: &Arc<Self>,
        app_id: &str,
        company: &str,
        location: &str,
    ) -> Result<bool, NoToken> {
        // One level: a company's token comes from nobody else's.
        let company_token = Box::pin(self.obtain(app_id, company, None)).await?;
        self.pace(app_id, company).await;
        let token = company_token.token.clone();
        let minted = oauth::location_token(&self.client, token, company, location).await;
        self.count("mint", minted.as_ref().err());
        match minted {
            Ok(token) if token.location_id.as_deref() == Some(location) => {
                self.keep(app_id, location, &token, true).await?;
                Ok(true)
            }
            Ok(_) => Err(NoToken::Later(
                "GHL minted another tenant's token".to_owned(),
            )),
            Err(Failed::Refused {
                meaning: Meaning::TokenExpired,
                ..
            }) => {
                self.not_taken(app_id, company, &company_token).await?;
                Err(NoToken::Later(
                    "the company's token was not taken".to_owned(),
                ))
            }
            Err(Failed::Refused {
                status, message, ..
            }) => Err(NoToken::Refused { status, message }),
            Err(error) => Err(NoToken::Later(Chain(&error).to_string())),
        }
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
