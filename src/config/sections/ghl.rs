//! The section of GHL's API, and what an app needs to be authorised.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::super::section::Section;
use super::super::{Calls, OauthApp, OauthApps, TriggersPath};
use super::repair::Pace;
use super::{DAY, HOUR, KIB, MIB, SECOND, follow_ups, own_path, usize_of};
use crate::budget::Limits;
use crate::follow_up;
use crate::follow_up::rule::Rules;
use crate::follow_up::verdict::Policy;
use crate::ghl;
use crate::ghl::oauth::Credentials;
use crate::key_file::{self, KeyFile};
use crate::retry::Attempts;
use crate::telemetry::Chain;

/// A claim lasts longer than a call may take, with a refresh before it. (A refresh is two calls at most, and has 90
/// seconds: a call may take 40.)
const LEASE_BEYOND: Duration = Duration::from_secs(90);

/// Characters of a secret at least.
const SECRET: usize = 16;

/// What an app needs for calls; `None` where it has no credentials.
pub(super) fn oauth_app(a: &mut Section, id: Option<&str>) -> Option<OauthApp> {
    let place = a.place().to_owned();
    let client_id = a.read("client_id", |text| match id {
        Some(id) if text.split('-').next() != Some(id) => Err(format!(
            "begins with another app's id than {id}; an app's id is the part of its client id before the first \"-\""
        )),
        _ => Ok(text.to_owned()),
    });
    let secret = a.secrets("client_secret", false).pop();
    let redirect = a.read("redirect_uri", |text| {
        path_of_url(text)
            .map(|path| (text.to_owned(), path))
            .ok_or_else(|| {
                "must be a URL with a path, such as \"https://hooks.example.com/oauth/callback\""
                    .to_owned()
            })
    });
    let install_query = a.read("install_url", |text| match text.split_once('?') {
        Some((_, query)) if query.contains("client_id=") => Ok(query.to_owned()),
        _ => Err(
            "must be the install link of the app's page in the portal, with its client_id"
                .to_owned(),
        ),
    });
    let without_state = a.flag("install_without_state").unwrap_or(false);
    let triggers = triggers(a);
    let given = [client_id.is_some(), secret.is_some(), redirect.is_some()];
    if given == [false; 3] {
        if triggers.is_some() {
            a.problem(
                "triggers_path",
                &place,
                "has no effect without client_id, client_secret and redirect_uri: workflows are started with a token",
            );
        }
        return None;
    }
    for (key, given) in ["client_id", "client_secret", "redirect_uri"]
        .iter()
        .zip(given)
    {
        if !given && !a.has_problem(key) && !a.has_problem("client_secret_file") {
            a.problem(
                key,
                &place,
                "is missing: calls need client_id, client_secret and redirect_uri",
            );
        }
    }
    let (redirect_uri, callback_path) = redirect?;
    Some(OauthApp {
        credentials: Credentials {
            client_id: client_id?,
            client_secret: SecretString::from(secret?.0),
            redirect_uri,
        },
        callback_path,
        install_query,
        without_state,
        triggers,
    })
}

/// Where an app's workflow triggers are subscribed to; the secret keeps everybody else out.
fn triggers(a: &mut Section) -> Option<TriggersPath> {
    let place = a.place().to_owned();
    let path = a.read("triggers_path", |text| own_path(text, "/triggers/ghl"));
    let secret = a.secrets("triggers_secret", false).pop();
    if let Some((secret, at)) = &secret
        && (secret.len() < SECRET || !secret.bytes().all(|b| b.is_ascii_graphic()))
    {
        a.problem(
            "triggers_secret",
            at,
            format!("must be {SECRET} or more letters, digits and signs, without a space"),
        );
        return None;
    }
    match (path, secret) {
        (Some(path), Some((secret, _))) => Some(TriggersPath {
            path,
            secret: SecretString::from(secret),
        }),
        (Some(_), None) if !a.has_problem("triggers_secret_file") => {
            a.problem(
                "triggers_secret",
                &place,
                "is missing: GHL does not sign what it posts to triggers_path, so it has to send a secret in \
                 x-hookwell-secret",
            );
            None
        }
        (None, Some(_)) if !a.has_problem("triggers_path") => {
            a.problem("triggers_path", &place, "is missing beside triggers_secret");
            None
        }
        _ => None,
    }
}

/// The path of an absolute URL without a query.
fn path_of_url(url: &str) -> Option<String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (authority, path) = rest.split_once('/')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    let good = !authority.is_empty() && !path.is_empty() && path.bytes().all(plain);
    (good && !path.ends_with('/') && !path.contains("//")).then(|| format!("/{path}"))
}

/// A base for calls: https, or http to an address on loopback.
fn api_base(text: &str) -> Result<String, String> {
    let wrong = || {
        "must be https:// and a host, or http:// and an address on loopback such as http://127.0.0.1:4010; nothing behind it".to_owned()
    };
    let (host, local) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(host), _) => (host, false),
        (_, Some(host)) => (host, true),
        _ => return Err(wrong()),
    };
    let host = host.trim_end_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(wrong());
    }
    let address = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = address
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    match local && !loopback {
        true => Err(wrong()),
        false => Ok(text.trim_end_matches('/').to_owned()),
    }
}

fn web_address(text: &str) -> Result<String, String> {
    let good = ["https://", "http://"].iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty())
    });
    match good && !text.contains(['?', '#', ' ']) {
        true => Ok(text.to_owned()),
        false => Err("must be a URL without a query".to_owned()),
    }
}

/// A file of keys that can be used; the keys are read again where they are needed.
fn key_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match KeyFile::open(path.clone()) {
        Ok(_) => Ok(path),
        Err(error @ key_file::Error::Unreadable { .. }) => Err(format!(
            "{}; `hookwell keys rotate --file {text}` makes one that is not there",
            Chain(&error)
        )),
        Err(error) => Err(Chain(&error).to_string()),
    }
}

/// Calls of GHL's API; the inner `None` where no app has credentials.
pub(in crate::config) fn calls(
    root: &mut Section,
    apps: OauthApps,
    grace: Option<Duration>,
    pace: Option<Pace>,
    warnings: &mut Vec<String>,
) -> Option<Option<Calls>> {
    let mut s = root.section("ghl");
    let api_base = s.read("api_base", api_base);
    let authorize_url = s.read("authorize_url", web_address);
    let white_label = s.read("white_label_authorize_url", web_address);
    let timeout = s.duration("timeout", SECOND, Duration::from_secs(40));
    let connect_given_at = s.given_at("connect_timeout");
    let connect_timeout = s.duration("connect_timeout", SECOND, Duration::from_secs(120));
    let answer = s.size("max_answer", KIB, 256 * MIB);
    let burst = s.number("burst", 1, 100_000);
    let interval = s.duration("interval", Duration::from_millis(100), HOUR);
    let daily = s.number("daily", 1, 1_000_000_000);
    let concurrency = s.number("concurrency", 1, 1_000);
    let attempts = s.number("attempts", 1, 100);
    let first = s.duration("retry_first", Duration::from_millis(10), HOUR);
    let cap = s.duration("retry_max", Duration::from_millis(10), DAY);
    let key_file = s.read("token_keys_file", key_file);
    let place = s.place().to_owned();
    if !apps.is_empty() && key_file.is_none() && !s.has_problem("token_keys_file") {
        s.problem(
            "token_keys_file",
            &place,
            "is missing: tokens are sealed before they are stored. `hookwell keys rotate --file token-keys` makes the file",
        );
    }
    // Otherwise nobody would know of a host that cannot be reached that nothing was sent to it.
    let connect_timeout = match (timeout, connect_timeout) {
        (Some(timeout), Some(connect)) if timeout <= connect => {
            if let Some(place) = &connect_given_at {
                s.problem(
                    "connect_timeout",
                    place,
                    "must be shorter than ghl.timeout, of which it is a part",
                );
            }
            Some(timeout / 2)
        }
        (_, connect) => connect,
    };
    root.finish(s);
    let attempts = attempts.and_then(|most| u32::try_from(most).ok());
    let attempts = match (attempts, first, cap) {
        (Some(most), Some(first), Some(cap)) => Some(Attempts { most, first, cap }),
        _ => None,
    };
    // They are read in any case, so that everything is said at once.
    let rules = follow_ups::rules(root, attempts, warnings)?;
    if apps.is_empty() && !rules.is_empty() {
        let place = root.place().to_owned();
        root.problem(
            "follow_ups",
            &place,
            "there are rules, and no app has client_id, client_secret and redirect_uri to make calls with",
        );
    }
    let timeout = timeout?;
    let (page_gap, confirm_after) = pace?;
    let calls = Calls {
        client: ghl::Settings {
            api_base: api_base?,
            timeout,
            connect_timeout: connect_timeout?,
            answer_bytes: usize::try_from(answer?).ok()?,
        },
        authorize_urls: [authorize_url?, white_label?],
        follow_ups: follow_up::Settings {
            concurrency: u32::try_from(concurrency?).ok()?,
            limits: Limits {
                burst: u32::try_from(usize_of(burst?)).ok()?,
                interval: interval?,
                daily: u32::try_from(daily?).ok()?,
            },
            lease: timeout + LEASE_BEYOND,
            send_within: LEASE_BEYOND / 2,
            drain: grace? / 2,
            policy: Policy {
                attempts: attempts?,
                idempotent: true,
                tombstone: false,
            },
            page_gap,
            confirm_after,
        },
        key_file: match key_file {
            Some(file) => file,
            None if apps.is_empty() => return Some(None),
            None => return None,
        },
        apps,
        rules: Arc::new(Rules::new(rules)),
    };
    Some((!calls.apps.is_empty()).then_some(calls))
}
