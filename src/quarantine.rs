//! Refused requests, kept within bounds so that an operator can see why and admit them after mending
//! the configuration.
//!
//! A request only drops its refusal into a bounded queue; what is over the rate is counted and gone.
//! Nothing here decides who is refused.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::store::{QuarantineBounds, Refused, Store};
use crate::telemetry::Chain;

/// Bounds of the quarantine.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Entries and bytes kept.
    pub bounds: QuarantineBounds,
    /// New entries a second.
    pub rate: u32,
}

/// The requests' end of the queue.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::Sender<Refused>,
    metrics: Metrics,
}

impl Handle {
    /// Offers a refusal; never waits.
    pub fn offer(&self, refused: Refused) {
        if self.queue.try_send(refused).is_err() {
            self.metrics.quarantine_dropped.inc();
        }
    }
}

/// A fingerprint under which a retry of the same request is the same entry.
pub fn fingerprint(
    path: &str,
    signature: Option<&str>,
    legacy: Option<&str>,
    body: &[u8],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [
        path,
        signature.unwrap_or_default(),
        legacy.unwrap_or_default(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(body);
    hash.finalize().into()
}

/// Keeps refusals; run it as a task of its own.
pub struct Keeper {
    queue: mpsc::Receiver<Refused>,
    store: Arc<dyn Store>,
    settings: Settings,
    metrics: Metrics,
}

impl Keeper {
    /// A keeper and the handle that feeds it. The queue holds a second's worth.
    pub fn new(store: Arc<dyn Store>, settings: Settings, metrics: Metrics) -> (Handle, Self) {
        let (sender, queue) = mpsc::channel(settings.rate.max(1) as usize);
        let handle = Handle {
            queue: sender,
            metrics: metrics.clone(),
        };
        (
            handle,
            Self {
                queue,
                store,
                settings,
                metrics,
            },
        )
    }

    /// Stores what comes, at most `rate` a second, until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let rate = self.settings.rate.max(1);
        // About five times a second, so that each transaction has a few.
        let share = rate.div_ceil(5);
        let period = Duration::from_secs(1) * share / rate;
        loop {
            let mut taken = Vec::new();
            tokio::select! {
                () = shutdown.cancelled() => {
                    self.queue.close();
                    while let Ok(refused) = self.queue.try_recv() {
                        taken.push(refused);
                    }
                    self.keep(taken).await;
                    return;
                }
                count = self.queue.recv_many(&mut taken, share as usize) => if count == 0 { return },
            }
            let next = Instant::now() + period;
            self.keep(taken).await;
            tokio::select! {
                () = sleep_until(next) => (),
                () = shutdown.cancelled() => (),
            }
        }
    }

    async fn keep(&self, taken: Vec<Refused>) {
        if taken.is_empty() {
            return;
        }
        for refused in &taken {
            tracing::warn!(
                reason = refused.reason,
                // A path may hold bytes that drive a terminal.
                path = %refused.path.escape_default(),
                body_bytes = refused.body.len(),
                "request refused and kept in quarantine; see `hookwell quarantine list`"
            );
        }
        if let Err(error) = self.store.quarantine(&taken, self.settings.bounds).await {
            self.metrics.quarantine_dropped.inc_by(taken.len() as u64);
            tracing::warn!(error = %Chain(&error), "the quarantine could not be written");
        }
    }
}
