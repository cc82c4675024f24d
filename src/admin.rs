//! The admin listener: metrics, probes, and the console where tokens are configured. On loopback by default.
//!
//! Metrics and probes come from memory: a scrape or a probe never waits for the store or the broker. Everything
//! else asks who is there first.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::metrics::Metrics;
use crate::observe::Readiness;

mod console;
mod pretty;
mod probes;
mod session;

pub use console::{Console, Parts};
pub use session::Token;

/// `/metrics`, `/livez`, `/readyz`, and the console.
pub fn router(
    metrics: Metrics,
    readiness: Arc<Readiness>,
    console: Option<Arc<Console>>,
) -> Router {
    let probes = probes::router(metrics, readiness);
    match console {
        Some(console) => probes.merge(console::router(console)),
        None => probes.route("/", get(|| async { NO_CONSOLE })),
    }
}

/// What is at `/` where nobody may look.
const NO_CONSOLE: &str = "hookwell: /metrics, /livez, /readyz\n\nThe console is off. It needs admin.token_file: a file with a line `name:token` for each person,\n\
                          the token of at least 32 letters and digits, such as from `openssl rand -hex 32`.\n";
