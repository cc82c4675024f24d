//! From a TOML file and the environment to settings that are checked and typed.
//!
//! Assembly: it fills in the settings of every other room. All problems are reported at once, each
//! with its key, its place and a way out; a value that came through is valid. Secrets stay out of
//! every message.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::broker::{self, Argument, Credentials, Queue, QueueKind, Topology, TopologyMode};
use crate::http;
use crate::ingest::App;
use crate::quarantine;
use crate::relay;
use crate::retention;
use crate::routing;
use crate::signature::{GHL_ED25519_KEY, GHL_RSA_KEY, PublicKey, RsaPublicKey, Verifier};
use crate::store::QuarantineBounds;
use crate::telemetry;

mod layers;

pub use layers::Problem;
use layers::{Free, Section};

/// The defaults, as shipped in `config/`.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Everything the daemon needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The public listener.
    pub http: Http,
    /// Where the admin listener listens.
    pub admin_listen: SocketAddr,
    /// The log.
    pub store: Store,
    /// The relay and its broker.
    pub relay: relay::Settings,
    /// Who may post.
    pub verifier: Verifier,
    /// For which apps.
    pub apps: Vec<App>,
    /// Refused requests.
    pub quarantine: quarantine::Settings,
    /// What is kept how long.
    pub retention: retention::Settings,
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
        let mut root = layers::lay(DEFAULTS, file, variables).map_err(Problems)?;
        let mut warnings = Vec::new();
        let grace = shutdown(&mut root);
        let http = http_of(&mut root, grace);
        let admin_listen = admin(&mut root);
        let store = store(&mut root);
        let retention = store.as_ref().and_then(|(_, retention)| *retention);
        let relay = broker_of(&mut root, &mut warnings);
        let verifier = signature(&mut root, &mut warnings);
        let quarantine = quarantine_of(&mut root);
        let log = log(&mut root);
        let apps = apps(&mut root, &mut warnings);
        later(&mut root, &mut warnings);
        let problems = root.into_problems();
        let complete = || {
            Some(Self {
                http: http?,
                admin_listen: admin_listen?,
                store: store?.0,
                relay: relay?,
                verifier: verifier?,
                apps: apps?,
                quarantine: quarantine?,
                retention: retention?,
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

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn address(text: &str) -> Result<SocketAddr, String> {
    SocketAddr::from_str(text)
        .map_err(|_| "must be an IP address and a port, such as \"127.0.0.1:8080\"".to_owned())
}

fn usize_of(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn shutdown(root: &mut Section) -> Option<Duration> {
    let mut s = root.section("shutdown");
    let grace = s.duration("grace", SECOND, HOUR);
    root.finish(s);
    grace
}

fn http_of(root: &mut Section, grace: Option<Duration>) -> Option<Http> {
    let mut s = root.section("http");
    let listen = s.read("listen", address);
    let body = s.size("max_body", KIB, 64 * MIB);
    let memory = s.size("max_body_memory", MIB, 4095 * MIB);
    let connections = s.number("max_connections", 1, 1_000_000);
    let waiting = s.number("max_waiting", 1, 1_000_000);
    let tenth = Duration::from_millis(100);
    let header_timeout = s.duration("header_timeout", tenth, HOUR);
    let body_timeout = s.duration("body_timeout", tenth, HOUR);
    let connection_max_age = s.duration("connection_max_age", SECOND, DAY);
    let commit_deadline = s.duration("commit_deadline", tenth, HOUR);
    let retry_after = s.duration("retry_after", SECOND, DAY);
    if let (Some(body), Some(memory)) = (body, memory)
        && memory < body
    {
        let place = s.place().to_owned();
        s.problem("max_body_memory", &place, "must be at least http.max_body");
    }
    root.finish(s);
    Some(Http {
        listen: listen?,
        connections: http::Limits {
            connections: usize_of(connections?),
            header_timeout: header_timeout?,
            connection_max_age: connection_max_age?,
            // Half of the grace is the requests', the rest is for the writer and the relay behind them.
            drain: grace? / 2,
        },
        requests: http::webhook::Limits {
            body_bytes: usize::try_from(body?).ok()?,
            memory_bytes: usize::try_from(memory?).ok()?,
            body_timeout: body_timeout?,
            retry_after: retry_after?,
        },
        waiting: usize_of(waiting?),
        commit_deadline: commit_deadline?,
    })
}

fn admin(root: &mut Section) -> Option<SocketAddr> {
    let mut s = root.section("admin");
    let listen = s.read("listen", address);
    // Named by the published contract; the page it protects does not exist yet.
    let _ = s.given("token_file");
    root.finish(s);
    listen
}

fn store(root: &mut Section) -> Option<(Store, Option<retention::Settings>)> {
    let mut s = root.section("store");
    let urls = s.secrets("url");
    let url = match urls.as_slice() {
        [(url, place)] => {
            let known = ["sqlite://", "postgres://", "postgresql://"];
            if known.iter().any(|scheme| url.starts_with(scheme)) {
                Some(url.clone())
            } else {
                s.problem("url", place, "must begin with sqlite:// or postgres://");
                None
            }
        }
        [] => {
            let place = s.place().to_owned();
            s.problem(
                "url",
                &place,
                "is empty; write sqlite://data/hookwell.db or postgres://…",
            );
            None
        }
        [_, (_, place), ..] => {
            s.problem("url", place, "there can be one store only");
            None
        }
    };
    let tenth = Duration::from_millis(100);
    let statement_timeout = s.duration("statement_timeout", tenth, HOUR);
    let connect_timeout = s.duration("connect_timeout", Duration::ZERO, HOUR);
    let batch = s.number("batch", 1, 10_000);
    let bodies = s.duration("keep_bodies", SECOND, 3650 * DAY);
    let keys = s.duration("keep_keys", SECOND, 3650 * DAY);
    if let (Some(bodies), Some(keys)) = (bodies, keys)
        && keys < bodies
    {
        let place = s.place().to_owned();
        s.problem(
            "keep_keys",
            &place,
            "must be at least store.keep_bodies: an event needs its key",
        );
    }
    root.finish(s);
    let retention = match (bodies, keys) {
        (Some(bodies), Some(keys)) => Some(retention::Settings { bodies, keys }),
        _ => None,
    };
    let store = Store {
        url: url?,
        statement_timeout: statement_timeout?,
        connect_timeout: connect_timeout?,
        batch: usize_of(batch?),
    };
    Some((store, retention))
}

fn broker_of(root: &mut Section, warnings: &mut Vec<String>) -> Option<relay::Settings> {
    let mut s = root.section("broker");
    let mut addresses = Vec::new();
    for (url, place) in s.secrets("url") {
        match Credentials::parse(&url) {
            Ok(credentials) => {
                if credentials.is_plain_and_remote() {
                    warnings.push(format!(
                        "broker.url: {} is reached without TLS; use amqps:// across a network",
                        credentials.address()
                    ));
                }
                addresses.push(credentials);
            }
            Err(message) => s.problem("url", &place, message),
        }
    }
    if addresses.is_empty() {
        let place = s.place().to_owned();
        s.problem("url", &place, "needs at least one address");
    }
    let ca_file = s.given_text("ca_file");
    let ca_pem = match ca_file {
        None => Some(None),
        Some((path, place)) => match std::fs::read_to_string(&path) {
            Ok(pem) if pem.contains("BEGIN CERTIFICATE") => Some(Some(pem)),
            Ok(_) => {
                s.problem(
                    "ca_file",
                    &place,
                    format!("{path} holds no PEM certificate"),
                );
                None
            }
            Err(error) => {
                s.problem("ca_file", &place, format!("{path} cannot be read: {error}"));
                None
            }
        },
    };
    let name =
        |text: &str| match (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
            true => Ok(text.to_owned()),
            false => Err("must be a name of 1 to 255 bytes".to_owned()),
        };
    let exchange = s.read("exchange", name);
    let unrouted = s.read("unrouted", name);
    let mode = s.read("topology", |text| match text {
        "declare" => Ok(TopologyMode::Declare),
        "check" => Ok(TopologyMode::Check),
        _ => Err("must be \"declare\" or \"check\"".to_owned()),
    });
    let channels = s.number("channels", 1, 64);
    let window = s.number("window", 1, 100_000);
    let window_bytes = s.size("window_bytes", 64 * KIB, 1024 * MIB);
    let confirm_deadline = s.duration("confirm_deadline", SECOND / 10, HOUR);
    let connect_timeout = s.duration("connect_timeout", SECOND / 10, HOUR);
    let heartbeat = s.duration("heartbeat", SECOND, HOUR);
    let retry_max = s.duration("retry_max", SECOND / 10, HOUR);
    let unroutable_attempts = s.number("unroutable_attempts", 1, 1_000_000);
    let sections = s.sections("queues");
    let mut queues: Vec<Queue> = Vec::new();
    for mut q in sections {
        let queue = queue(&mut q, warnings);
        if let Some(queue) = queue {
            if queues.iter().any(|other| other.name == queue.name) {
                let place = q.place().to_owned();
                q.problem("name", &place, format!("{} is there twice", queue.name));
            }
            queues.push(queue);
        }
        s.finish(q);
    }
    root.finish(s);
    let topology = Topology {
        mode: mode?,
        exchange: exchange?,
        unrouted: unrouted?,
        queues,
    };
    let retry_max = retry_max?;
    Some(relay::Settings {
        broker: broker::Settings {
            addresses,
            ca_pem: ca_pem?,
            topology,
            channels: u16::try_from(channels?).ok()?,
            confirm_deadline: confirm_deadline?,
            connect_timeout: connect_timeout?,
            heartbeat: heartbeat?,
        },
        window: window?,
        window_bytes: i64::try_from(window_bytes?).ok()?,
        unroutable_attempts: u32::try_from(unroutable_attempts?).ok()?,
        retry_delays: (retry_max.min(Duration::from_millis(200)), retry_max),
    })
}

fn queue(q: &mut Section, warnings: &mut Vec<String>) -> Option<Queue> {
    let name = q.text("name");
    let place = q.place().to_owned();
    if name
        .as_ref()
        .is_none_or(|name| name.is_empty() || name.len() > 255)
    {
        q.problem("name", &place, "must be a name of 1 to 255 bytes");
    }
    let mut bind = Vec::new();
    for (pattern, place) in q.texts("bind") {
        match routing::check_binding(&pattern) {
            Ok(()) => bind.push(pattern),
            Err(error) => q.problem("bind", &place, error.to_string()),
        }
    }
    if bind.is_empty() {
        q.problem(
            "bind",
            &place,
            "needs at least one pattern, such as [\"contact.#\"]",
        );
    }
    let kind = q.read("kind", |text| {
        QueueKind::parse(text).ok_or("must be \"quorum\", \"classic\" or \"stream\"".to_owned())
    });
    let kind = kind.unwrap_or(QueueKind::Quorum);
    let name = name?;
    if kind == QueueKind::Classic {
        warnings.push(format!(
            "broker.queues: {name} is a classic queue, which may confirm a message before it is on disk; \
             hookwell's promise ends at the confirm, so use kind = \"quorum\""
        ));
    }
    let arguments = q.free_table("arguments", |value| match value {
        Free::Text(text) => Argument::Text(text.to_owned()),
        Free::Number(number) => Argument::Number(number),
        Free::Flag(flag) => Argument::Flag(flag),
    });
    let drops = |(name, value): &(String, Argument)| {
        name == "x-message-ttl"
            || (name == "x-overflow" && *value == Argument::Text("drop-head".to_owned()))
    };
    if arguments.iter().any(drops) {
        warnings.push(format!(
            "broker.queues: the arguments of {name} let RabbitMQ drop confirmed messages"
        ));
    }
    Some(Queue {
        name,
        bind,
        kind,
        arguments,
    })
}

fn signature(root: &mut Section, warnings: &mut Vec<String>) -> Option<Verifier> {
    let mut s = root.section("signature");
    let mut keys = Vec::new();
    let configured = s.texts("ed25519_keys");
    let mut usable = true;
    for (text, place) in &configured {
        match text.parse::<PublicKey>() {
            Ok(key) => keys.push(key),
            Err(error) => {
                usable = false;
                s.problem("ed25519_keys", place, telemetry::Chain(&error).to_string());
            }
        }
    }
    if configured.is_empty() {
        match GHL_ED25519_KEY.parse::<PublicKey>() {
            Ok(key) => keys.push(key),
            Err(error) => s.problem("ed25519_keys", "default", error.to_string()),
        }
    }
    let legacy = s.flag("legacy_rsa");
    let legacy_key = match legacy {
        Some(true) => {
            warnings.push(
                "signature.legacy_rsa is on: X-WH-Signature, which GHL no longer sends, is accepted where \
                 X-GHL-Signature is absent"
                    .to_owned(),
            );
            match GHL_RSA_KEY.parse::<RsaPublicKey>() {
                Ok(key) => Some(key),
                Err(error) => {
                    s.problem("legacy_rsa", "default", error.to_string());
                    None
                }
            }
        }
        _ => None,
    };
    root.finish(s);
    if !usable {
        return None;
    }
    Verifier::new(keys, legacy_key).ok()
}

fn quarantine_of(root: &mut Section) -> Option<quarantine::Settings> {
    let mut s = root.section("quarantine");
    let entries = s.number("max_entries", 1, 1_000_000);
    let bytes = s.size("max_bytes", MIB, 1024 * 1024 * MIB);
    let rate = s.number("rate", 1, 10_000);
    root.finish(s);
    Some(quarantine::Settings {
        bounds: QuarantineBounds {
            entries: entries?,
            bytes: i64::try_from(bytes?).ok()?,
        },
        rate: u32::try_from(rate?).ok()?,
    })
}

fn log(root: &mut Section) -> Option<Log> {
    let mut s = root.section("log");
    let format = s.read("format", |text| match text {
        "auto" => Ok(telemetry::Format::Auto),
        "json" => Ok(telemetry::Format::Json),
        "pretty" => Ok(telemetry::Format::Pretty),
        _ => Err("must be \"auto\", \"json\" or \"pretty\"".to_owned()),
    });
    let filter = s.read("filter", |text| {
        telemetry::check_filter(text)
            .map(|()| text.to_owned())
            .map_err(|error| {
                format!("must be a level or a filter such as \"info,hookwell=debug\": {error}")
            })
    });
    root.finish(s);
    Some(Log {
        format: format?,
        filter: filter?,
    })
}

fn apps(root: &mut Section, warnings: &mut Vec<String>) -> Option<Vec<App>> {
    let mut apps: Vec<App> = Vec::new();
    let mut complete = true;
    for mut a in root.sections("apps") {
        let place = a.place().to_owned();
        let id = a.read("id", |text| {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
            match plain && (1..=128).contains(&text.len()) {
                true => Ok(text.to_owned()),
                false => Err(
                    "must be the app's id: the part of its client id before the first \"-\""
                        .to_owned(),
                ),
            }
        });
        let path = a.read("path", |text| {
            let segment = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
            };
            match text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment)) {
                true => Ok(text.to_owned()),
                false => Err("must be a path such as \"/webhooks/ghl\": letters, digits, - _ . ~ between slashes, \
                              none at the end"
                    .to_owned()),
            }
        });
        for key in [
            "client_id",
            "client_secret",
            "client_secret_file",
            "redirect_uri",
        ] {
            if a.given(key) {
                warnings.push(format!(
                    "apps: {key} has no effect in this version, which makes no API calls"
                ));
            }
        }
        match (id, path) {
            (Some(id), Some(path)) => {
                let clash = apps.iter().find(|other| {
                    let under = |long: &str, short: &str| {
                        long.strip_prefix(short)
                            .and_then(|rest| rest.strip_prefix('/'))
                            .is_some_and(|rest| !rest.contains('/'))
                    };
                    other.path == path || under(&other.path, &path) || under(&path, &other.path)
                });
                if apps.iter().any(|other| other.id == id) {
                    a.problem(
                        "id",
                        &place,
                        format!("{id} is there twice; an app has one path"),
                    );
                }
                if let Some(other) = clash {
                    let message = format!(
                        "{path} collides with {} of app {}: what follows a path is an event name",
                        other.path, other.id
                    );
                    a.problem("path", &place, message);
                }
                apps.push(App { id, path });
            }
            (id, path) => {
                complete = false;
                for (key, missing) in [("id", id.is_none()), ("path", path.is_none())] {
                    if missing && !a.has_problem(key) {
                        a.problem(key, &place, "is missing");
                    }
                }
            }
        }
        root.finish(a);
    }
    if apps.is_empty() && complete {
        let place = root.place().to_owned();
        root.problem(
            "apps",
            &place,
            "needs at least one app:\n      [[apps]]\n      id = \"<app id>\"\n      path = \"/webhooks/ghl\"",
        );
        return None;
    }
    complete.then_some(apps)
}

/// Keys of the published contract that this version does nothing with: naming them is no error, but
/// nobody should believe that they work.
fn later(root: &mut Section, warnings: &mut Vec<String>) {
    for key in ["ghl", "follow_ups"] {
        if root.given(key) {
            warnings.push(format!(
                "[{key}] has no effect in this version, which makes no API calls"
            ));
        }
    }
}
