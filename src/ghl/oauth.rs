//! Tokens: the code exchange, the refresh, the location token, and what their answers hold.
//!
//! Form encoding, and `Version: 2021-07-28`, under which the answer is in snake case; the camel case of v3 is
//! read as well (GHL's OAuth page and its specification). What kind of token it is stands in the token itself:
//! an app for sub-accounts that an agency installs gets a company's token whatever was asked for (observed).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Deserialize;

use super::{Answer, Body, Client, Error, Meaning, Method, Request, VERSION, meaning};
use crate::budget::Told;
use crate::event::is_plain_id;
use crate::event::lifecycle::Account;

/// Lives of access tokens that are believed: GHL's is 24 hours.
const LIFE: std::ops::RangeInclusive<u64> = 300..=7 * 24 * 3600;
/// For an answer without a believable one.
const DEFAULT_LIFE: u64 = 24 * 3600 - 1;

/// How an app shows itself to GHL.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: SecretString,
    /// The redirect URI, as it is in the app's settings.
    pub redirect_uri: String,
}

/// A token with what the answer said of it.
#[derive(Debug, Clone)]
pub struct Token {
    /// Whose it is.
    pub account: Account,
    /// The agency, where the answer says it.
    pub company_id: Option<String>,
    /// The sub-account of a location's token.
    pub location_id: Option<String>,
    /// For calls.
    pub access: SecretString,
    /// For the next pair; a location's token may come without.
    pub refresh: Option<SecretString>,
    /// How long the access token lives.
    pub life: Duration,
    /// What it may do.
    pub scope: String,
}

impl Token {
    /// The tenant that it belongs to.
    pub fn tenant(&self) -> Option<&str> {
        match self.account {
            Account::Company => self.company_id.as_deref(),
            Account::Location => self.location_id.as_deref(),
        }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// GHL says that this code or refresh token is no good, and never will be.
    #[error("GHL refused it for good ({status}): {message}")]
    Refused {
        /// The status.
        status: u16,
        /// What it means.
        meaning: Meaning,
        /// The error's code (RFC 6749, 5.2), or what GHL puts in its place; empty where there is none.
        code: String,
        /// What the answer says.
        message: String,
    },
    /// GHL cannot at the moment; nothing was spent.
    #[error("GHL cannot answer now ({status})")]
    Later {
        /// The status.
        status: u16,
    },
    /// The answer cannot be used. The token that was sent may be spent.
    #[error("the answer is no token: {0}")]
    Unusable(&'static str),
    /// Nothing was sent.
    #[error("nothing was sent")]
    NotSent(#[source] Error),
    /// There is no answer. The token that was sent may be spent.
    #[error("no answer came")]
    Unanswered(#[source] Error),
}

impl Failed {
    /// Whether the token that was sent may have been spent: a gateway that gave up does not know.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unusable(_) | Self::Unanswered(_) => true,
            Self::Later { status } => (500..=599).contains(status) && *status != 503,
            Self::Refused { .. } | Self::NotSent(_) => false,
        }
    }

    /// Whether it is the token itself that is refused for good, and not the client, its secret, or the way in
    /// which it was asked. The code decides where it is one of RFC 6749, 5.2; GHL's own words are read where not, and an
    /// answer without any (a gateway's) says nothing of the token.
    pub fn is_definite(&self) -> bool {
        let Self::Refused {
            status,
            meaning,
            code,
            message,
        } = self
        else {
            return false;
        };
        match code.as_str() {
            "invalid_grant" => return true,
            "invalid_client"
            | "unauthorized_client"
            | "unsupported_grant_type"
            | "invalid_request"
            | "invalid_scope" => return false,
            _ => (),
        }
        let said = message.to_ascii_lowercase();
        let of_the_way = ["version", "route", "endpoint", "not supported"];
        matches!(status, 400 | 401)
            && !said.is_empty()
            && !matches!(meaning, Meaning::BadVersion | Meaning::NoRoute)
            && !of_the_way.iter().any(|word| said.contains(word))
            && (!said.contains("client") || said.contains("another client"))
    }

    /// Whether the host is to blame: what the circuit breaker counts.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NotSent(Error::NotSent(_)) | Self::Unanswered(Error::Unanswered(_)) => true,
            Self::Later { status } => *status != 429,
            Self::Refused { .. } | Self::Unusable(_) | Self::NotSent(_) | Self::Unanswered(_) => {
                false
            }
        }
    }
}

/// Both spellings of the answer. Everything but the access token may be missing.
#[derive(Deserialize)]
struct Spelled {
    #[serde(alias = "accessToken")]
    access_token: Option<String>,
    #[serde(alias = "refreshToken")]
    refresh_token: Option<String>,
    #[serde(alias = "expiresIn")]
    expires_in: Option<serde_json::Value>,
    scope: Option<String>,
    #[serde(rename = "userType", alias = "user_type")]
    user_type: Option<String>,
    #[serde(rename = "companyId", alias = "company_id")]
    company_id: Option<String>,
    #[serde(rename = "locationId", alias = "location_id")]
    location_id: Option<String>,
}

/// What is read of a token itself.
#[derive(Default, Deserialize)]
struct Claims {
    #[serde(rename = "authClass")]
    class: Option<String>,
    #[serde(rename = "authClassId")]
    class_id: Option<String>,
    #[serde(rename = "primaryAuthClassId")]
    primary_id: Option<String>,
}

/// How long the answer to a code or a refresh token is waited for, whatever `ghl.timeout` is: GHL may have spent it
/// already, and then the pair in the answer is the only one.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Spends a code.
pub async fn exchange(
    client: &Client,
    app: &Credentials,
    code: SecretString,
) -> Result<Token, Failed> {
    let fields = vec![
        ("grant_type", "authorization_code".into()),
        ("code", code),
        ("redirect_uri", app.redirect_uri.as_str().into()),
    ];
    token(client, app, fields, PATIENCE).await
}

/// Spends a refresh token. Never to be cancelled: whoever drops this future may lose the only pair. `within` is how long
/// its answer is waited for.
pub async fn refresh(
    client: &Client,
    app: &Credentials,
    account: Account,
    refresh: SecretString,
    within: Duration,
) -> Result<Token, Failed> {
    let user_type = match account {
        Account::Company => "Company",
        Account::Location => "Location",
    };
    let fields = vec![
        ("grant_type", "refresh_token".into()),
        ("refresh_token", refresh),
        ("user_type", user_type.into()),
        ("redirect_uri", app.redirect_uri.as_str().into()),
    ];
    token(client, app, fields, within).await
}

async fn token(
    client: &Client,
    app: &Credentials,
    mut fields: Vec<(&'static str, SecretString)>,
    within: Duration,
) -> Result<Token, Failed> {
    fields.push(("client_id", app.client_id.as_str().into()));
    fields.push(("client_secret", app.client_secret.clone()));
    read(&ask(client, "/oauth/token", None, fields, Some(within)).await?)
}

/// Mints a token of a location from its company's; and what the answer says of the company's limits, for a mint is a
/// call of the company's: nothing where none was sent.
pub async fn location_token(
    client: &Client,
    company_token: SecretString,
    company_id: &str,
    location_id: &str,
) -> (Option<Told>, Result<Token, Failed>) {
    let fields = vec![
        ("companyId", company_id.into()),
        ("locationId", location_id.into()),
    ];
    let token = Some(company_token);
    let answer = ask(client, "/oauth/locationToken", token, fields, None).await;
    let told = match &answer {
        Ok(answer) => Some(answer.told),
        Err(Failed::NotSent(_)) => None,
        // It may have reached GHL, and then it was counted there.
        Err(_) => Some(Told::default()),
    };
    (told, answer.and_then(|answer| read(&answer)))
}

async fn ask(
    client: &Client,
    path: &str,
    bearer: Option<SecretString>,
    fields: Vec<(&'static str, SecretString)>,
    within: Option<Duration>,
) -> Result<Answer, Failed> {
    let request = Request {
        within,
        method: Method::Post,
        target: path.to_owned(),
        version: VERSION.to_owned(),
        bearer,
        body: Body::Form(fields),
    };
    match client.call(request).await {
        Ok(answer) => Ok(answer),
        Err(error @ (Error::NotSent(_) | Error::Elsewhere(_) | Error::Client(_))) => {
            Err(Failed::NotSent(error))
        }
        Err(error) => Err(Failed::Unanswered(error)),
    }
}

fn read(answer: &Answer) -> Result<Token, Failed> {
    let status = answer.status;
    match answer.meaning() {
        Meaning::Done => (),
        Meaning::RateLimited | Meaning::Unavailable => return Err(Failed::Later { status }),
        Meaning::Unexpected => return Err(Failed::Unusable("it is a redirect")),
        meaning => {
            return Err(Failed::Refused {
                status,
                meaning,
                code: meaning::code_of(&answer.body),
                message: meaning::message_of(&answer.body),
            });
        }
    }
    let spelled: Spelled =
        serde_json::from_slice(&answer.body).map_err(|_| Failed::Unusable("it is not JSON"))?;
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let access = present(spelled.access_token).ok_or(Failed::Unusable("it has no access_token"))?;
    let claims = claims_of(&access);
    let account = match claims.class.as_deref().or(spelled.user_type.as_deref()) {
        Some("Company") => Account::Company,
        Some("Location") => Account::Location,
        _ if spelled.location_id.is_some() => Account::Location,
        _ => return Err(Failed::Unusable("it does not say whose it is")),
    };
    let said = match account {
        Account::Company => &spelled.company_id,
        Account::Location => &spelled.location_id,
    };
    // Whoever is named beside the token must be the one that it is for: its calls would be another tenant's.
    if let (Some(said), Some(claimed)) = (said, &claims.class_id)
        && !said.is_empty()
        && said != claimed
    {
        return Err(Failed::Unusable("it is another tenant's than it says"));
    }
    let (company, location) = match account {
        Account::Company => (claims.class_id, None),
        // What stands there is not documented; a location is not its own company.
        Account::Location => {
            let primary = claims
                .primary_id
                .filter(|id| Some(id) != claims.class_id.as_ref());
            (primary, claims.class_id)
        }
    };
    let seconds = match spelled.expires_in {
        Some(serde_json::Value::Number(number)) => number.as_u64(),
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let life = seconds.filter(|seconds| LIFE.contains(seconds));
    let token = Token {
        account,
        company_id: plain(present(spelled.company_id).or(company)),
        location_id: match account {
            Account::Location => plain(present(spelled.location_id).or(location)),
            Account::Company => None,
        },
        access: access.into(),
        refresh: present(spelled.refresh_token).map(SecretString::from),
        life: Duration::from_secs(life.unwrap_or(DEFAULT_LIFE)),
        scope: spelled.scope.unwrap_or_default(),
    };
    match token.tenant() {
        Some(_) => Ok(token),
        None => Err(Failed::Unusable("it does not say whose it is")),
    }
}

fn plain(id: Option<String>) -> Option<String> {
    id.filter(|id| is_plain_id(id))
}

/// What the token itself says, unchecked: it came from GHL over TLS. Nothing where it is no JWT.
fn claims_of(token: &str) -> Claims {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='));
    let payload = payload.unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_default()
}

#[cfg(test)]
mod tests;
