//! How the GHL that is played is set up.

use std::time::Duration;

use super::form::encode;

/// What there is at the start, and how strict the server is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The app's client id. What is before the first `-` is the app's id.
    pub client_id: String,
    /// The app's client secret.
    pub client_secret: String,
    /// The scopes of the app, with spaces between; a token never has more, but for the two that GHL
    /// adds to a location token.
    pub scopes: String,
    /// The agency.
    pub company: String,
    /// How many sub-accounts the agency has; see [`Settings::location`] for their ids.
    pub locations: usize,
    /// How many contacts a sub-account has at the start.
    pub contacts: usize,
    /// How many opportunities a sub-account has at the start.
    pub opportunities: usize,
    /// Whether a sub-account that is added later gets the app, once the agency has it.
    pub future_locations: bool,
    /// Requests in one interval, for each sub-account and each agency by itself.
    pub burst: u32,
    /// The interval of `burst`.
    pub interval: Duration,
    /// Requests in a day, likewise.
    pub daily: u32,
    /// How long a search does not know of a change.
    pub search_lag: Duration,
    /// How long an access token works.
    pub token_lifetime: Duration,
    /// Makes up a record for an id that nobody has put, unless the id begins with `gone`.
    pub lenient: bool,
    /// So many requests are kept in the journal; the oldest go first. The figures of the report count
    /// all of them.
    pub journal: usize,
}

impl Default for Settings {
    /// GHL's published limits and lifetimes (100 requests in 10 s and 200,000 a day, tokens for a day;
    /// <https://marketplace.gohighlevel.com/docs/oauth/Authorization>), an agency with three
    /// sub-accounts, and nothing made up.
    fn default() -> Self {
        Self {
            client_id: "65f0c0ffee65f0c0ffee65f0-lx1a2b3c".to_owned(),
            client_secret: "a-secret-for-development-only".to_owned(),
            scopes: SCOPES.join(" "),
            company: "DevCompany0000000001".to_owned(),
            locations: 3,
            contacts: 0,
            opportunities: 0,
            future_locations: true,
            burst: 100,
            interval: Duration::from_secs(10),
            daily: 200_000,
            search_lag: Duration::from_secs(2),
            token_lifetime: Duration::from_secs(24 * 60 * 60),
            lenient: false,
            journal: 100_000,
        }
    }
}

impl Settings {
    /// The id of the app: the part of the client id before the first `-`.
    pub fn app_id(&self) -> &str {
        self.client_id.split('-').next().unwrap_or_default()
    }

    /// The page on which an app is installed, for a server at `base`.
    pub fn authorize_url(base: &str) -> String {
        format!("{base}/v2/oauth/chooselocation")
    }

    /// The link with which an installation begins, for a server at `base` (`http://127.0.0.1:4010`). As
    /// with the link in GHL's portal, a `state` is for whoever uses it to add.
    pub fn install_url(&self, base: &str, redirect_uri: &str) -> String {
        format!(
            "{}?response_type=code&client_id={}&version_id={}&redirect_uri={}&scope={}",
            Self::authorize_url(base),
            encode(&self.client_id),
            encode(self.app_id()),
            encode(redirect_uri),
            encode(&self.scopes),
        )
    }

    /// The id of the `n`th sub-account, from 0.
    pub fn location(n: usize) -> String {
        format!("DevLocation{:09}", n + 1)
    }
}

/// Every scope that an endpoint here asks for, by the names in GHL's list of scopes,
/// <https://marketplace.gohighlevel.com/docs/Authorization/Scopes>.
const SCOPES: [&str; 10] = [
    "contacts.readonly",
    "contacts.write",
    "opportunities.readonly",
    "opportunities.write",
    "locations.readonly",
    "locations/customFields.readonly",
    "conversations/message.write",
    "workflows.readonly",
    "oauth.readonly",
    "oauth.write",
];
