//! What tests stand on: private services, the daemon as a process, a sender that plays GHL, a consumer.
//!
//! Everything waits for a state within a bound, nothing sleeps for luck, and everything started here
//! ends when its value is dropped. It asserts nothing about hookwell itself; that is the suites' job.
// Built for every suite; a piece that one of them does not use is not dead.
#![allow(dead_code, unused_imports)]

pub mod api;
pub mod broker;
pub mod browser;
pub mod daemon;
pub mod doctor;
pub mod eventually;
pub mod ghl;
pub mod load;
pub mod operator;
pub mod proxy;
pub mod services;
pub mod store;

pub use api::{Api, HandClock};
pub use broker::{
    Broker, Delivery, Sink, fresh_vhost, fresh_vhost_on, own_broker, quorum_queue_is_on_disk,
};
pub use daemon::{Daemon, DaemonConfig, run_cli};
pub use doctor::doctor;
pub use eventually::eventually;
pub use ghl::{Answer, Client, Ghl};
pub use load::{Accepted, Load};
pub use operator::Operator;
pub use proxy::{
    Amqp, Counters, Deed, Ending, Fault, Measure, Network, Postgres, Proxy, Record, Recorder, Side,
    What,
};
pub use services::OwnService;
pub use store::{Backend, SqliteFile, StoreUrl, done, fresh_postgres_url, own_postgres, store_url};

/// The variable `name`; without it the test fails and says how to get it.
fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, or run `bash tests/run.sh`"))
}

/// Cases that run on both stores: each is an `async fn(Backend)` of the room.
#[allow(
    unused_macros,
    reason = "the fault bench shares these rooms and has rows of its own"
)]
macro_rules! on_both {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() { super::$case(crate::harness::Backend::Sqlite).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() { super::$case(crate::harness::Backend::Postgres).await; })*
        }
    };
}
pub(crate) use on_both;
