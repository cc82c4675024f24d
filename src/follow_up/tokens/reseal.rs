//! Sealing stored tokens again, with the newest key.

use secrecy::ExposeSecret;

use super::{ACCESS, NoToken, REFRESH, place};
use crate::chance::{self, Chance};
use crate::key_file::KeyFile;
use crate::store::Store;

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
