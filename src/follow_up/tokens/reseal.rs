//! Sealing stored tokens again, with the newest key; and whether there is a key for each of them at all.

use secrecy::ExposeSecret;

use super::{ACCESS, NoToken, REFRESH, place};
use crate::chance::{self, Chance};
use crate::key_file::KeyFile;
use crate::seal;
use crate::store::{self, Store};

/// Tokens looked at for a key that is missing: after a rotation that was broken off some have another one.
const LOOKED_AT: i64 = 1_000;

/// A key that stored tokens are sealed with and that is not in the file, if there is one.
///
/// # Errors
/// When the store cannot be used.
pub async fn missing_key(
    store: &dyn Store,
    keys: &KeyFile,
) -> Result<Option<String>, store::Error> {
    let ring = keys.keys();
    let others = store.tokens_to_reseal(ring.current(), LOOKED_AT).await?;
    let used = others.iter().flat_map(|(_, _, token)| {
        let values = [
            Some(&token.access),
            token.refresh.as_ref(),
            token.previous.as_ref(),
        ];
        values.into_iter().flatten()
    });
    let mut names = used.filter_map(|sealed| seal::key_of(sealed));
    Ok(names.find(|name| !ring.has(name)).map(str::to_owned))
}

/// Seals every stored token that is sealed with another key than the newest one; how many. Those that change
/// meanwhile are met again.
///
/// # Errors
/// When the store cannot be used, or a token does not open.
pub async fn reseal(store: &dyn Store, keys: &KeyFile, chance: &Chance) -> Result<u64, NoToken> {
    const RUN: i64 = 100;
    let mut sealed = 0;
    loop {
        let ring = keys.keys();
        let run = store.tokens_to_reseal(ring.current(), RUN).await?;
        if run.is_empty() {
            return Ok(sealed);
        }
        for (app_id, tenant, mut token) in run {
            let again = |column, value: &[u8]| {
                let place = place(column, &app_id, &tenant);
                let text = ring.open(&place, value)?;
                ring.seal(&place, text.expose_secret(), chance::bytes(chance))
            };
            token.access = again(ACCESS, &token.access)?;
            for refresh in [&mut token.refresh, &mut token.previous]
                .into_iter()
                .flatten()
            {
                *refresh = again(REFRESH, refresh)?;
            }
            sealed += u64::from(store.reseal_token(&app_id, &tenant, &token).await?);
        }
    }
}
