//! The fault proxy: each of its faults, as a real client and a real server feel it.

mod amqp;
mod network;
mod postgres;

use std::time::Duration;

/// More than enough for anything that happens at all.
const WITHIN: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes.
const NOTHING: Duration = Duration::from_millis(300);

/// The port that a URL names.
fn port_of(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}
