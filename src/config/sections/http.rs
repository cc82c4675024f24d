//! `[http]`: the public listener and its limits.

use std::time::Duration;

use super::{ANSWER, DAY, HOUR, KIB, MIB, SECOND, Section, address, usize_of};
use crate::config::Http;
use crate::http;

pub(in crate::config) fn http(root: &mut Section, grace: Option<Duration>) -> Option<Http> {
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
