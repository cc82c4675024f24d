//! From a TOML file and the environment to settings that are checked and typed.
//!
//! Assembly: it fills in the settings of every other room. All problems are reported at once, each
//! with its key, its place and a way out; a value that came through is valid. Secrets stay out of
//! every message.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::admin;
use crate::follow_up::{self, rule::Rules};
use crate::ghl::{self, oauth::Credentials};
use crate::http;
use crate::ingest::App;
use crate::quarantine;
use crate::relay;
use crate::retention;
use crate::signature::Verifier;
use crate::spans;
use crate::telemetry;

mod lay;
mod section;
mod sections;

pub use section::Problem;

/// The defaults, as shipped in `config/`.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Everything the daemon needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The public listener.
    pub http: Http,
    /// The admin listener.
    pub admin: Admin,
    /// The log.
    pub store: Store,
    /// The relay and its broker.
    pub relay: relay::Settings,
    /// Who may post.
    pub verifier: Verifier,
    /// For which apps.
    pub apps: Vec<App>,
    /// Calls of GHL's API; none where no app has credentials.
    pub calls: Option<Calls>,
    /// What is read of the API without an event that calls for it.
    pub repair: follow_up::Repair,
    /// Refused requests.
    pub quarantine: quarantine::Settings,
    /// What is kept how long.
    pub retention: retention::Settings,
    /// Where spans go; none without a collector.
    pub trace: Option<spans::Settings>,
    /// Log lines.
    pub log: Log,
    /// How long shutdown may take.
    pub grace: Duration,
    /// What is worth saying at start: settings that weaken a promise, keys without effect.
    pub warnings: Vec<String>,
}

/// The public listener.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    /// Its address.
    pub listen: SocketAddr,
    /// Bounds of connections.
    pub connections: http::Limits,
    /// Bounds of requests.
    pub requests: http::webhook::Limits,
    /// Events waiting for the writer at most.
    pub waiting: usize,
    /// How long a request waits for its commit.
    pub commit_deadline: Duration,
}

/// The admin listener.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// Who may use the console; it is off where nobody may.
    pub tokens: Vec<admin::Token>,
}

/// The log.
#[derive(Clone)]
pub struct Store {
    /// `sqlite://` or `postgres://`.
    pub url: String,
    /// The longest a statement may take.
    pub statement_timeout: Duration,
    /// How long to wait for the database at start.
    pub connect_timeout: Duration,
    /// Events of one transaction at most.
    pub batch: usize,
    /// Room on the disk that webhooks are not let use; 0 where there is no such thing.
    pub disk_reserve: u64,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A Postgres URL holds a password.
        let scheme = self.url.split(':').next().unwrap_or_default();
        f.debug_struct("Store")
            .field("scheme", &scheme)
            .finish_non_exhaustive()
    }
}

/// The apps with credentials, by id.
pub type OauthApps = BTreeMap<String, OauthApp>;

/// An app that can be authorised.
#[derive(Debug, Clone)]
pub struct OauthApp {
    /// How it shows itself to GHL.
    pub credentials: Credentials,
    /// The path of its redirect URI: where a browser comes back to.
    pub callback_path: String,
    /// Query of the link that installs it, as the portal shows it: without a `state`.
    pub install_query: Option<String>,
    /// Whether a browser may come back without a state of ours, as after an install from the marketplace.
    pub without_state: bool,
    /// Where GHL says which workflows use its triggers, where it has any.
    pub triggers: Option<TriggersPath>,
}

/// Where an app's workflow triggers are subscribed to.
#[derive(Debug, Clone)]
pub struct TriggersPath {
    /// The path.
    pub path: String,
    /// What GHL has to send with it.
    pub secret: SecretString,
}

/// Calls of GHL's API.
#[derive(Debug, Clone)]
pub struct Calls {
    /// Where they go, and their bounds.
    pub client: ghl::Settings,
    /// Where a browser installs an app, and for agencies with a white label.
    pub authorize_urls: [String; 2],
    /// How follow-ups are made.
    pub follow_ups: follow_up::Settings,
    /// The file with the keys that seal tokens.
    pub key_file: PathBuf,
    /// The apps with credentials.
    pub apps: OauthApps,
    /// What events call for.
    pub rules: Arc<Rules>,
}

/// Log lines.
#[derive(Debug, Clone)]
pub struct Log {
    /// How they look.
    pub format: telemetry::Format,
    /// Which are written.
    pub filter: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "1 problem in the configuration:")?,
            n => writeln!(f, "{n} problems in the configuration:")?,
        }
        for problem in &self.0 {
            writeln!(f, "  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads the file (if any) and the process's environment.
    ///
    /// # Errors
    /// Every problem found, at once.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        let text = match file {
            None => None,
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => Some((path.display().to_string(), text)),
                Err(error) => {
                    return Err(Problems(vec![Problem {
                        key: "--config".to_owned(),
                        place: path.display().to_string(),
                        message: format!("cannot be read: {error}"),
                    }]));
                }
            },
        };
        let file = text
            .as_ref()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        // A variable that is not text cannot be one of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::read(file, variables)
    }

    /// Reads a file's name and text, and variables.
    ///
    /// # Errors
    /// Every problem found, at once.
    pub fn read(
        file: Option<(&str, &str)>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let mut root = lay::lay(DEFAULTS, file, variables).map_err(Problems)?;
        let mut warnings = Vec::new();
        let grace = sections::shutdown(&mut root);
        let http = sections::http(&mut root, grace);
        let admin = sections::admin(&mut root, &mut warnings);
        let store = sections::store(&mut root, &mut warnings);
        let retention = store.as_ref().and_then(|(_, retention)| retention.clone());
        let relay = sections::broker(&mut root, &mut warnings);
        let verifier = sections::signature(&mut root, &mut warnings);
        let quarantine = sections::quarantine(&mut root);
        let log = sections::log(&mut root);
        let trace = sections::trace(&mut root);
        let (apps, oauth_apps) = sections::apps(&mut root).unzip();
        let (repair, pace) = sections::repair(&mut root).unzip();
        let calls = sections::calls(
            &mut root,
            oauth_apps.unwrap_or_default(),
            grace,
            pace,
            &mut warnings,
        );
        let problems = root.into_problems();
        let complete = || {
            Some(Self {
                http: http?,
                admin: admin?,
                store: store?.0,
                relay: relay?,
                verifier: verifier?,
                apps: apps?,
                calls: calls?,
                repair: repair?,
                quarantine: quarantine?,
                retention: retention?,
                trace,
                log: log?,
                grace: grace?,
                warnings,
            })
        };
        match (problems.is_empty(), complete()) {
            (true, Some(config)) => Ok(config),
            (true, None) => Err(Problems(vec![Problem {
                key: "config/default.toml".to_owned(),
                place: "default".to_owned(),
                message: "a default is missing; this build is broken".to_owned(),
            }])),
            (false, _) => Err(Problems(problems)),
        }
    }
}
