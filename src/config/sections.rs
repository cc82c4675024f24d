//! Reading each section: which keys there are, what they may be, and what to say when they are not.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::section::{Free, Section, nearest};
use super::{Admin, Http, Log, OauthApps, Store};
use crate::admin;
use crate::event::{UNKNOWN_TYPE, catalogue};
use crate::http;
use crate::ingest::App;
use crate::quarantine;
use crate::retention;
use crate::signature::{GHL_ED25519_KEY, GHL_RSA_KEY, PublicKey, RsaPublicKey, Verifier};
use crate::spans;
use crate::store::QuarantineBounds;
use crate::telemetry;

mod broker;
mod follow_ups;
mod ghl;
mod repair;

pub(super) use broker::broker_of;
pub(super) use ghl::calls;
pub(super) use repair::repair;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an answer may take to leave, once it is made.
const ANSWER: Duration = Duration::from_secs(5);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn address(text: &str) -> Result<SocketAddr, String> {
    SocketAddr::from_str(text)
        .map_err(|_| "must be an IP address and a port, such as \"127.0.0.1:8080\"".to_owned())
}

fn usize_of(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) fn shutdown(root: &mut Section) -> Option<Duration> {
    let mut s = root.section("shutdown");
    let grace = s.duration("grace", SECOND, HOUR);
    root.finish(s);
    grace
}

pub(super) fn http_of(root: &mut Section, grace: Option<Duration>) -> Option<Http> {
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
            first_head: header_timeout?,
            header_timeout: header_timeout?,
            connection_max_age: connection_max_age?,
            request: body_timeout? + commit_deadline? + ANSWER,
            // Half of the grace is the requests', the rest is for the writer and the relay behind them.
            drain: grace? / 2,
            retry_after: retry_after?,
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

pub(super) fn admin(root: &mut Section, warnings: &mut Vec<String>) -> Option<Admin> {
    let mut s = root.section("admin");
    let listen = s.read("listen", address);
    if let Some(path) = s.open_secret("token") {
        warnings.push(format!(
            "admin.token_file: {path} can be read by anybody, or changed by its group, and who has a token may use the console; \
             chmod 640 {path}, or 600 where its owner runs the daemon"
        ));
    }
    let mut tokens: Vec<admin::Token> = Vec::new();
    for (text, place) in s.secrets("token", true) {
        let (name, token) = text.split_once(':').unwrap_or(("admin", &text));
        match admin::Token::new(name.trim(), token.trim()) {
            Ok(token) if tokens.iter().any(|other| other.name() == token.name()) => {
                let message = format!("{} is there twice; a name has one token", token.name());
                s.problem("token_file", &place, message);
            }
            Ok(token) => tokens.push(token),
            Err(message) => s.problem("token_file", &place, message),
        }
    }
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && !tokens.is_empty()
    {
        warnings.push(format!(
            "admin.listen is {listen}: the console is there without TLS, so keep it off the public network"
        ));
    }
    root.finish(s);
    Some(Admin {
        listen: listen?,
        tokens,
    })
}

pub(super) fn store(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Option<(Store, Option<retention::Settings>)> {
    let mut s = root.section("store");
    let urls = s.secrets("url", false);
    if let [(url, place)] = urls.as_slice()
        && place == "default"
    {
        warnings.push(format!(
            "store.url is not set: events are kept in {url}, below the folder that the daemon runs in; \
             set it, so that a lost setting does not send them elsewhere"
        ));
    }
    let url = match urls.as_slice() {
        [(url, place)] => {
            let known = ["sqlite://", "postgres://", "postgresql://"];
            if url.contains(":memory:") || url.contains("mode=memory") {
                s.problem(
                    "url",
                    place,
                    "a database in memory is no durable log; write sqlite://data/hookwell.db",
                );
                None
            } else if known.iter().any(|scheme| url.starts_with(scheme)) {
                Some(url.clone())
            } else {
                s.problem("url", place, "must begin with sqlite:// or postgres://");
                None
            }
        }
        _ => {
            let place = s.place().to_owned();
            if !s.has_problem("url") && !s.has_problem("url_file") {
                s.problem(
                    "url",
                    &place,
                    "is empty; write sqlite://data/hookwell.db or postgres://…",
                );
            }
            None
        }
    };
    let tenth = Duration::from_millis(100);
    let statement_timeout = s.duration("statement_timeout", tenth, HOUR);
    let connect_timeout = s.duration("connect_timeout", Duration::ZERO, HOUR);
    let batch = s.number("batch", 1, 10_000);
    if s.is_given("disk_reserve") && url.as_ref().is_some_and(|url| url.starts_with("postgres")) {
        warnings.push(
            "store.disk_reserve has no effect with Postgres, whose disk cannot be seen from here: \
             let the server's own monitoring watch it"
                .to_owned(),
        );
    }
    let disk_reserve = s.size("disk_reserve", 0, 1024 * 1024 * 1024 * MIB);
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
    let bodies_of = keep_bodies_of(&mut s, keys);
    root.finish(s);
    let retention = match (bodies, keys) {
        (Some(bodies), Some(keys)) => Some(retention::Settings {
            bodies,
            bodies_of,
            keys,
        }),
        _ => None,
    };
    let store = Store {
        url: url?,
        statement_timeout: statement_timeout?,
        connect_timeout: connect_timeout?,
        batch: usize_of(batch?),
        disk_reserve: disk_reserve?,
    };
    Some((store, retention))
}

pub(super) fn trace(root: &mut Section) -> Option<spans::Settings> {
    let mut s = root.section("trace");
    let url = s.read("otlp_url", |text| {
        let rest = text
            .strip_prefix("http://")
            .or(text.strip_prefix("https://"));
        match rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
            true => Ok(text.to_owned()),
            false => {
                Err("must be the address of a collector, such as http://127.0.0.1:4318".to_owned())
            }
        }
    });
    let sample = s.number("sample_percent", 1, 100);
    root.finish(s);
    Some(spans::Settings {
        url: url?,
        sample_percent: u8::try_from(sample?).unwrap_or(100),
    })
}

/// Types that are kept for times of their own. A name with a dot is that of an event of ours.
fn keep_bodies_of(s: &mut Section, keys: Option<Duration>) -> Vec<(String, Duration)> {
    const KEY: &str = "keep_bodies_of";
    let mut kept = Vec::new();
    let given = s.free_table(KEY, |value, place| {
        let time = match value {
            Free::Text(text) => humantime::parse_duration(text).ok(),
            Free::Number(_) | Free::Flag(_) => None,
        };
        (time, place.to_owned())
    });
    for (name, (time, place)) in given {
        let path = format!("{KEY}.{name}");
        let known: Vec<_> = catalogue::all()
            .iter()
            .map(|kind| kind.event_type)
            .collect();
        if !known.contains(&name.as_str()) && name != UNKNOWN_TYPE && !name.contains('.') {
            let message = match nearest(&name, &known) {
                Some(near) => format!("is no type of event; did you mean {near}?"),
                None => "is no type of event, see `hookwell events types`".to_owned(),
            };
            s.problem(&path, &place, message);
            continue;
        }
        let most = keys.unwrap_or(3650 * DAY);
        match time.filter(|time| (SECOND..=most).contains(time)) {
            Some(time) => kept.push((name, time)),
            None => s.problem(
                &path,
                &place,
                "must be a duration from 1s to that of store.keep_keys, such as \"2days\"",
            ),
        }
    }
    kept
}

pub(super) fn signature(root: &mut Section, warnings: &mut Vec<String>) -> Option<Verifier> {
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

pub(super) fn quarantine_of(root: &mut Section) -> Option<quarantine::Settings> {
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

pub(super) fn log(root: &mut Section) -> Option<Log> {
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

/// A path of the public listener.
fn own_path(text: &str, example: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let segment = |part: &str| !part.is_empty() && part.bytes().all(plain);
    let rest = text.strip_prefix('/');
    match rest.is_some_and(|rest| rest.split('/').all(segment)) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be a path such as {example:?}: letters, digits, - _ . ~ between slashes, none at the end"
        )),
    }
}

pub(super) fn apps(root: &mut Section) -> Option<(Vec<App>, OauthApps)> {
    let mut apps: Vec<App> = Vec::new();
    let mut oauth_apps = OauthApps::new();
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
        let path = a.read("path", |text| own_path(text, "/webhooks/ghl"));
        if let Some(oauth) = ghl::oauth_app(&mut a, id.as_deref()) {
            oauth_apps.extend(id.clone().map(|id| (id, oauth)));
        }
        match (id, path) {
            (Some(id), Some(path)) => {
                let app = App { id, path };
                let clash = apps.iter().find(|other| {
                    let under = |long: &App, short: &App| short.event_name(&long.path).is_some();
                    other.path == app.path || under(other, &app) || under(&app, other)
                });
                if apps.iter().any(|other| other.id == app.id) {
                    a.problem(
                        "id",
                        &place,
                        format!("{} is there twice; an app has one path", app.id),
                    );
                }
                if let Some(other) = clash {
                    let message = format!(
                        "{} collides with {} of app {}: what follows a path is an event name",
                        app.path, other.path, other.id
                    );
                    a.problem("path", &place, message);
                }
                apps.push(app);
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
    let of_webhooks = |path: &str| {
        let under = |app: &App| app.event_name(path).is_some();
        apps.iter().any(|app| app.path == path || under(app))
    };
    let mut taken = BTreeSet::from(["/oauth/install"]);
    let callbacks = oauth_apps.values().map(|app| app.callback_path.as_str());
    let mut problems = Vec::new();
    for (id, oauth) in &oauth_apps {
        let callback = oauth.callback_path.as_str();
        // Apps may share a callback: its state says whose it is.
        if of_webhooks(callback) || callback == "/oauth/install" {
            problems.push(format!(
                "the path of redirect_uri of app {id}, {callback}, is taken: by webhooks or /oauth/install"
            ));
        }
    }
    taken.extend(callbacks);
    for (id, oauth) in &oauth_apps {
        let Some(triggers) = &oauth.triggers else {
            continue;
        };
        if of_webhooks(&triggers.path) || !taken.insert(&triggers.path) {
            problems.push(format!(
                "triggers_path of app {id}, {}, is taken: by webhooks, by /oauth/install, or by a path of an app",
                triggers.path
            ));
        }
    }
    let place = root.place().to_owned();
    for problem in problems {
        root.problem("apps", &place, problem);
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
    complete.then_some((apps, oauth_apps))
}
