//! Reading each section: which keys there are, what they may be, and what to say when they are not.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::Log;
use super::section::Section;
use crate::quarantine;
use crate::spans;
use crate::store::QuarantineBounds;
use crate::telemetry;

mod admin;
mod apps;
mod broker;
mod follow_ups;
mod ghl;
mod http;
mod repair;
mod signature;
mod store;

pub(super) use admin::admin;
pub(super) use apps::apps;
pub(super) use broker::broker;
pub(super) use ghl::calls;
pub(super) use http::http;
pub(super) use repair::repair;
pub(super) use signature::signature;
pub(super) use store::store;

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

pub(super) fn quarantine(root: &mut Section) -> Option<quarantine::Settings> {
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
