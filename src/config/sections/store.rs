//! `[store]`: where the log is, how it is written, and for how long it is kept.

use std::time::Duration;

use super::{DAY, HOUR, MIB, SECOND, Section, usize_of};
use crate::config::Store;
use crate::config::section::{Free, nearest};
use crate::event::{UNKNOWN_TYPE, catalogue};
use crate::retention;

pub(in crate::config) fn store(
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
