//! A GHL to call: the API that `hookwell dev ghl` ships, in the process of the test, on a port of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hookwell::clock::{self, Clock};
use hookwell::dev::ghl::{Ghl, Settings};
use hookwell::event::Micros;
use hookwell::http;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running GHL. Dropping it ends it.
pub struct Api {
    /// The handle: what is in it, what goes wrong, what came.
    pub ghl: Arc<Ghl>,
    /// Its address, without a slash at the end: `ghl.api_base` of a daemon.
    pub url: String,
    serving: JoinHandle<()>,
}

impl Api {
    /// Starts one by the system's clock.
    pub async fn start(settings: Settings) -> Self {
        Self::start_at(settings, clock::system()).await
    }

    /// Starts one by another clock.
    pub async fn start_at(settings: Settings, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ghl = Ghl::new(settings, clock);
        let limits = http::Limits {
            connections: 4096,
            header_timeout: Duration::from_secs(120),
            connection_max_age: Duration::from_secs(3600),
            first_head: Duration::from_secs(120),
            request: Duration::from_secs(120),
            drain: Duration::from_secs(1),
            retry_after: Duration::from_secs(30),
        };
        let serving = http::serve(
            listener,
            ghl.router(),
            limits,
            None,
            CancellationToken::new(),
        );
        Self {
            ghl,
            url,
            serving: tokio::spawn(serving),
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// It shows 2026-01-31, noon (UTC).
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_769_860_800_000_000)))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// To be handed to what needs one.
    pub fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || Micros(time.load(Ordering::SeqCst)))
    }
}
