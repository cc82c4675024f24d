//! Codes and tokens: what is handed out, to whom, until when, and whether it was spent.
//!
//! From GHL's page on OAuth 2.0 (<https://marketplace.gohighlevel.com/docs/Authorization/OAuth2.0>): an
//! access token works for a day, a refresh token for a year or until it is used once, and each refresh
//! gives a new pair. What the tokens of GHL say of themselves was read out of real ones by
//! Exalt24/ghl-tenant-bridge.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::accounts::Account;
use super::time::after;
use crate::event::Micros;

/// Not documented by GHL; ten minutes is what RFC 6749 allows at most.
const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);
const REFRESH_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a code or a token gives a right to.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) account: Account,
    /// The agency, of a sub-account too.
    pub(super) company: String,
    /// With spaces between.
    pub(super) scope: String,
}

impl Grant {
    /// Whether `scope` is among its scopes.
    pub(super) fn allows(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|granted| granted == scope)
    }
}

/// A pair, just made.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) access: String,
    pub(super) refresh: String,
    /// What the refresh token is called in answers and in the report.
    pub(super) refresh_id: String,
}

#[derive(Debug)]
struct Code {
    grant: Grant,
    expires: Micros,
}

#[derive(Debug)]
struct Access {
    grant: Grant,
    expires: Micros,
}

#[derive(Debug)]
struct Refresh {
    id: String,
    grant: Grant,
    expires: Micros,
    spent: bool,
}

/// What is known of a refresh token that is presented.
#[derive(Debug)]
pub(super) enum Presented {
    /// It was good, and now it is spent.
    Good(String, Grant),
    /// It was spent before, or it is too old.
    Spent(String, Grant),
    /// It is none of ours.
    Unknown,
}

/// Everything that was handed out.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    /// How many access tokens there may be before expired ones are forgotten.
    crowd: usize,
}

impl Tokens {
    /// A code for `grant`, good for one exchange.
    pub(super) fn code(&mut self, grant: Grant, now: Micros) -> String {
        self.codes.retain(|_, code| now < code.expires);
        let code = uuid::Uuid::new_v4().simple().to_string();
        let expires = after(now, CODE_LIFETIME);
        self.codes.insert(code.clone(), Code { grant, expires });
        code
    }

    /// Whose a code is, if it still works.
    pub(super) fn peek_code(&self, code: &str, now: Micros) -> Option<&Grant> {
        self.codes
            .get(code)
            .filter(|code| now < code.expires)
            .map(|code| &code.grant)
    }

    /// Takes a code: it does not work again.
    pub(super) fn spend_code(&mut self, code: &str, now: Micros) -> Option<Grant> {
        let code = self.codes.remove(code)?;
        (now < code.expires).then_some(code.grant)
    }

    /// Whose a refresh token is, spent or not.
    pub(super) fn peek_refresh(&self, token: &str) -> Option<&Grant> {
        self.refresh.get(token).map(|refresh| &refresh.grant)
    }

    /// Takes a refresh token: it does not work again.
    pub(super) fn spend_refresh(&mut self, token: &str, now: Micros) -> Presented {
        let Some(refresh) = self.refresh.get_mut(token) else {
            return Presented::Unknown;
        };
        let (id, grant) = (refresh.id.clone(), refresh.grant.clone());
        if refresh.spent || refresh.expires <= now {
            return Presented::Spent(id, grant);
        }
        refresh.spent = true;
        Presented::Good(id, grant)
    }

    /// A new pair.
    pub(super) fn mint(
        &mut self,
        grant: &Grant,
        client_id: &str,
        lifetime: Duration,
        now: Micros,
    ) -> Pair {
        self.forget_expired(now);
        let expires = after(now, lifetime);
        let access = jwt(&claims(grant, client_id, now, expires));
        let kept = Access {
            grant: grant.clone(),
            expires,
        };
        self.access.insert(access.clone(), kept);
        let expires = after(now, REFRESH_LIFETIME);
        let refresh = jwt(&claims(grant, client_id, now, expires));
        // The form of a MongoDB id, as in GHL's examples.
        let mut refresh_id = uuid::Uuid::new_v4().simple().to_string();
        refresh_id.truncate(24);
        let kept = Refresh {
            id: refresh_id.clone(),
            grant: grant.clone(),
            expires,
            spent: false,
        };
        self.refresh.insert(refresh.clone(), kept);
        Pair {
            access,
            refresh,
            refresh_id,
        }
    }

    /// Whose an access token is, if it works.
    pub(super) fn access(&self, token: &str, now: Micros) -> Option<&Grant> {
        self.access
            .get(token)
            .filter(|access| now < access.expires)
            .map(|access| &access.grant)
    }

    /// Ends the access tokens of one account, or all of them; refresh tokens stay.
    pub(super) fn expire(&mut self, account: Option<&Account>) {
        self.access
            .retain(|_, access| account.is_some_and(|account| access.grant.account != *account));
    }

    /// An expired token is answered like an unknown one, so there is no need to know it.
    fn forget_expired(&mut self, now: Micros) {
        if self.access.len() >= self.crowd {
            self.access.retain(|_, access| now < access.expires);
            self.crowd = self.access.len() * 2 + 1000;
        }
    }
}

fn claims(grant: &Grant, client_id: &str, now: Micros, expires: Micros) -> Value {
    let scopes: Vec<&str> = grant.scope.split(' ').collect();
    json!({
        "authClass": grant.account.class(),
        "authClassId": grant.account.id(),
        "primaryAuthClassId": grant.account.id(),
        "source": "INTEGRATION",
        "sourceId": client_id,
        "channel": "OAUTH",
        "oauthMeta": {"scopes": scopes, "client": client_id},
        "iat": now.0 / 1_000_000,
        "exp": expires.0 / 1_000_000,
        "uniqueId": uuid::Uuid::new_v4().to_string(),
    })
}

/// The form of a JWT. Where its signature belongs are bytes by chance: only GHL could check it, and here
/// a token is looked up.
fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let signature = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()]
        .map(uuid::Uuid::into_bytes)
        .concat();
    format!(
        "{}.{}.{}",
        part(&header),
        part(claims),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

/// Whether `token` has the form of a JWT, of whatever content.
pub(super) fn is_jwt(token: &str) -> bool {
    let parts: Vec<_> = token
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).ok())
        .collect();
    let [Some(header), Some(claims), Some(_)] = &parts[..] else {
        return false;
    };
    [header, claims]
        .iter()
        .all(|part| serde_json::from_slice::<serde_json::Map<String, Value>>(part).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_token_is_told_from_other_text() {
        assert!(is_jwt(&jwt(&json!({"a": 1}))));
        for other in ["", "abc", "a.b.c", "..", "e30.e30", "e30.e30.e30.e30"] {
            assert!(!is_jwt(other), "{other}");
        }
    }
}
