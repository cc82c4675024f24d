//! How long each step of an event's way takes by itself.
//!
//!     cargo bench --bench micro                  everything
//!     cargo bench --bench micro -- --quick       less exact, in a few seconds
//!     cargo bench --bench micro -- identify      only names that contain this
//!
//! Postgres and RabbitMQ are left out unless HOOKWELL_BENCH_POSTGRES_URL and HOOKWELL_BENCH_AMQP_URL
//! name a server; `bash deploy/services.sh` starts private ones. What is made there is removed again.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../load/bodies.rs"]
#[allow(dead_code)]
mod bodies;
#[path = "../load/events.rs"]
mod events;

mod broker;
mod pure;
mod stores;

const APP_ID: &str = "65f0c0ffee65f0c0ffee65f0";

/// As many threads as the daemon has.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads can be started")
}

/// A server that a variable names; says so when there is none.
fn server(variable: &str, what: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        eprintln!("{what} is left out: {variable} is not set");
    }
    url
}

criterion_group!(steps, pure::all);
criterion_group! {
    name = servers;
    // A disk and another process answer: no run is like the next.
    config = Criterion::default().sample_size(20);
    targets = stores::all, broker::all
}
criterion_main!(steps, servers);
