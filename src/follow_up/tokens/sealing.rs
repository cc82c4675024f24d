//! Tokens are kept sealed: under the key of the moment, anew when keys are rotated; and whether there is a key for
//! each of them at all.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep;

use super::{NoToken, Tokens};
use crate::chance::{self, Chance};
use crate::ghl::oauth::Token;
use crate::key_file::KeyFile;
use crate::retry::Delays;
use crate::seal::{self, Keyring, Place};
use crate::store::{self, NewToken, SealedToken, Store};
use crate::telemetry::Chain;

/// Columns whose names a sealed value is bound to, with its app and its tenant.
pub(super) const ACCESS: &str = "tokens.access_token";
pub(super) const REFRESH: &str = "tokens.refresh_token";
/// So many tokens are read at once.
const RUN: i64 = 100;

/// A key that stored tokens are sealed with and that is not in the file, if there is one.
///
/// # Errors
/// When the store cannot be used.
pub async fn missing_key(
    store: &dyn Store,
    keys: &KeyFile,
) -> Result<Option<String>, store::Error> {
    let ring = keys.keys();
    let mut after = (String::new(), String::new());
    loop {
        let at = (after.0.as_str(), after.1.as_str());
        let run = store.tokens_to_reseal(ring.current(), at, RUN).await?;
        let used = run.iter().flat_map(|(_, _, token)| {
            let refresh = [token.refresh.as_ref(), token.previous.as_ref()];
            std::iter::once(&token.access).chain(refresh.into_iter().flatten())
        });
        let mut names = used.filter_map(|sealed| seal::key_of(sealed));
        if let Some(missing) = names.find(|name| !ring.has(name)) {
            return Ok(Some(missing.to_owned()));
        }
        let Some((app_id, tenant, _)) = run.last() else {
            return Ok(None);
        };
        after = (app_id.clone(), tenant.clone());
    }
}

/// What became of sealing everything anew.
#[derive(Debug, Default)]
pub struct Resealed {
    /// Tokens that are sealed with the newest key now, and were not before.
    pub sealed: u64,
    /// Apps and tenants whose tokens no key opens: they are as they were.
    pub unopened: Vec<(String, String)>,
}

/// Seals every stored token that is sealed with another key than the newest one. Those that change meanwhile are met
/// again, and whoever changes them looks for a new key itself.
///
/// # Errors
/// When the store cannot be used.
pub async fn reseal(
    store: &dyn Store,
    keys: &KeyFile,
    chance: &Chance,
) -> Result<Resealed, store::Error> {
    let mut done = Resealed::default();
    loop {
        let (ring, before) = (keys.keys(), done.sealed);
        let mut after = (String::new(), String::new());
        let mut changed = false;
        done.unopened.clear();
        loop {
            let at = (after.0.as_str(), after.1.as_str());
            let run = store.tokens_to_reseal(ring.current(), at, RUN).await?;
            let Some((app_id, tenant, _)) = run.last() else {
                break;
            };
            after = (app_id.clone(), tenant.clone());
            for (app_id, tenant, token) in run {
                let Ok(token) = anew(token, &[&ring], chance, &app_id, &tenant) else {
                    done.unopened.push((app_id, tenant));
                    continue;
                };
                let sealed = store.reseal_token(&app_id, &tenant, &token).await?;
                done.sealed += u64::from(sealed);
                changed |= !sealed;
            }
        }
        if !changed && before == done.sealed {
            return Ok(done);
        }
    }
}

/// Seals a token anew that was committed a moment ago, where the keys were rotated after it was sealed: with `--drop` its
/// key is in no file any more, and this daemon, which has it in `used`, is the only one that can open it.
pub(super) async fn after_commit(
    tokens: &Tokens,
    used: &Keyring,
    app_id: &str,
    tenant: &str,
) -> Result<(), store::Error> {
    let ring = tokens.keys.newest();
    if ring.current() == used.current() {
        return Ok(());
    }
    let Some(token) = tokens.store.token(app_id, tenant).await? else {
        return Ok(());
    };
    let token = match anew(token, &[&ring, used], &tokens.chance, app_id, tenant) {
        Ok(token) => token,
        Err(error) => {
            // The pair before it, say, was of no use already; no second try opens it.
            tracing::error!(%error, %tenant, "a token is not sealed with the newest key: a part of it does not open");
            return Ok(());
        }
    };
    // Whoever has changed it since has looked for keys after that.
    tokens.store.reseal_token(app_id, tenant, &token).await?;
    Ok(())
}

/// The same token, opened with whichever ring has its key and sealed with the first one's newest.
fn anew(
    mut token: SealedToken,
    rings: &[&Keyring],
    chance: &Chance,
    app_id: &str,
    tenant: &str,
) -> Result<SealedToken, seal::Error> {
    let again = |column, sealed: &[u8]| {
        let place = place(column, app_id, tenant);
        let has_it = |ring: &&&Keyring| seal::key_of(sealed).is_some_and(|key| ring.has(key));
        let ring = rings.iter().find(has_it).unwrap_or(&rings[0]);
        let text = ring.open(&place, sealed)?;
        rings[0].seal(&place, text.expose_secret(), chance::bytes(chance))
    };
    token.access = again(ACCESS, &token.access)?;
    for refresh in [&mut token.refresh, &mut token.previous]
        .into_iter()
        .flatten()
    {
        *refresh = again(REFRESH, refresh)?;
    }
    Ok(token)
}

impl Tokens {
    /// Keeps a newly obtained token, and with it wakes the calls that wait for it. `minted`: from its company's.
    pub(super) async fn keep(
        &self,
        app_id: &str,
        tenant: &str,
        token: &Token,
        minted: bool,
    ) -> Result<(), NoToken> {
        let used = self.keys.newest();
        let sealed = NewToken {
            minted,
            ..self.sealed(&used, app_id, tenant, token)?
        };
        let now = (self.clock)();
        if !self.store.put_token(app_id, tenant, &sealed, now).await? {
            return Err(NoToken::Uninstalled);
        }
        self.look_for_keys(&used, app_id, tenant).await;
        Ok(())
    }

    /// After a commit: however often it takes, for nobody else can open what is sealed with a key that was dropped.
    pub(super) async fn look_for_keys(&self, used: &Keyring, app_id: &str, tenant: &str) {
        let mut delays = Delays::new(Duration::from_millis(100), Duration::from_secs(5));
        while let Err(error) = after_commit(self, used, app_id, tenant).await {
            tracing::error!(error = %Chain(&error), %tenant, "a token is not sealed with the newest key yet");
            sleep(delays.next_delay()).await;
        }
    }

    /// Sealed with the first key of a ring.
    pub(super) fn sealed(
        &self,
        ring: &Keyring,
        app_id: &str,
        tenant: &str,
        token: &Token,
    ) -> Result<NewToken, seal::Error> {
        let seal = |column, text: &SecretString| {
            let nonce = chance::bytes(&self.chance);
            ring.seal(&place(column, app_id, tenant), text.expose_secret(), nonce)
        };
        let refresh = token.refresh.as_ref();
        Ok(NewToken {
            account: token.account,
            company_id: token.company_id.clone(),
            access: seal(ACCESS, &token.access)?,
            refresh: refresh.map(|refresh| seal(REFRESH, refresh)).transpose()?,
            scope: token.scope.clone(),
            life: token.life,
            minted: false,
        })
    }
}

pub(super) fn place<'a>(column: &'static str, app_id: &'a str, tenant: &'a str) -> Place<'a> {
    Place {
        column,
        app_id,
        tenant,
    }
}
