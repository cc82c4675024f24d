//! hookwell: GoHighLevel webhooks in, a durable log, RabbitMQ out.
//!
//! The way of an event is the reading order: [`http`] receives, [`signature`] verifies, [`event`]
//! identifies, [`ingest`] hands over to the writer, [`store`] keeps, [`relay`] publishes through
//! [`broker`]. ARCHITECTURE.md has the map.

/// A third of the daemon's time away from signatures went into the system's allocator; see benches/RESULTS.md.
/// C code has it, too (`unprefixed_malloc_on_supported_platforms`): the system's kept what SQLite had given back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub mod admin;
pub mod app;
pub mod broker;
pub mod budget;
pub mod census;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
pub mod disk;
pub mod escape;
pub mod event;
pub mod failpoints;
pub mod feed;
pub mod follow_up;
pub mod ghl;
pub mod http;
pub mod ingest;
pub mod key_file;
pub mod metrics;
pub mod observe;
pub mod operator;
pub mod quarantine;
pub mod relay;
pub mod retention;
pub mod retry;
pub mod routing;
pub mod seal;
pub mod signature;
pub mod spans;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
