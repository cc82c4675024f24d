//! The way out: log -> exchange, in order, with a positive confirm for each event.
//!
//! One relay runs for the whole log, on whichever daemon holds its reader. It publishes a window of
//! events, waits for every confirm, and moves the cursor to the end of the contiguous settled prefix.
//! After a failure it goes on from the first unsettled event: duplicates are possible (with the same
//! `message_id`), gaps are not. It knows no SQL and no AMQP.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Session};
use crate::clock::Clock;
use crate::event::Recorded;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::spans::Spans;
use crate::store::{self, Parked, RelayReader, Store};
use crate::telemetry::Chain;

mod account;
mod courtesy;
mod held;
mod lanes;
mod message;
mod publish;
mod recovery;
mod replace;
mod replay;
mod retries;
mod run;
mod window;

use recovery::Recovery;

pub use message::{CLOUD_EVENTS, HEADERS, message};

/// Why an event is parked: RabbitMQ closes the channel on it (over its size limit, for example).
pub const REFUSED: &str = "refused_by_broker";
/// Why an event is parked: no queue takes it and there is no alternate exchange.
pub const UNROUTABLE: &str = "unroutable";

/// Why a tenant is held: a queue gives a negative confirm (it is full, and rejects).
pub const REJECTED: &str = "rejected";

/// Whose order an event keeps; empty for events of nobody, which are one tenant here.
fn lane(recorded: &Recorded) -> &str {
    recorded.event.tenant.id().unwrap_or_default()
}

/// What the relay needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The broker and what to find there.
    pub broker: broker::Settings,
    /// Events in flight at most.
    pub window: i64,
    /// Bytes of bodies in flight at most.
    pub window_bytes: i64,
    /// How often an event without a queue is tried before it is parked.
    pub unroutable_attempts: u32,
    /// First and longest delay between attempts.
    pub retry_delays: (Duration, Duration),
}

/// How often the log is looked at when nothing wakes the relay: events of other daemons come this way.
const POLL: Duration = Duration::from_millis(200);
/// How often dead letters that a person asked for again are looked for.
const RETRY_POLL: Duration = Duration::from_secs(1);
/// How often a standing-by relay tries to get the reader.
const STANDBY: Duration = Duration::from_secs(1);

/// Why a session came to an end.
enum Ended {
    Shutdown,
    Broker(broker::Error),
    Store(store::Error),
}

impl From<broker::Error> for Ended {
    fn from(error: broker::Error) -> Self {
        Self::Broker(error)
    }
}

impl From<store::Error> for Ended {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// The relay; run it as a task of its own.
pub struct Relay {
    /// The log.
    pub store: Arc<dyn Store>,
    /// Its settings.
    pub settings: Settings,
    /// What this daemon has just committed.
    pub feed: Arc<Feed>,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// Where it is told what was published when.
    pub spans: Spans,
}

impl Relay {
    /// Relays until shutdown; waits for the confirms of what is in flight before it ends.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut recovery = Recovery::new(self.settings.retry_delays);
        while !shutdown.is_cancelled() {
            let ended = self.session(&shutdown, &mut recovery).await;
            self.metrics.broker_connected.set(0);
            self.metrics.broker_blocked.set(0);
            self.metrics.relay_active.set(0);
            self.feed.close();
            let delay = recovery.ended(&ended);
            match ended {
                Ended::Shutdown => return,
                Ended::Broker(error) => tracing::warn!(
                    error = %Chain(&error), retry_in_ms = delay.as_millis() as u64,
                    "no session with RabbitMQ; events wait in the log"
                ),
                Ended::Store(error) => tracing::warn!(
                    error = %Chain(&error), retry_in_ms = delay.as_millis() as u64,
                    "the relay lost the store"
                ),
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(delay) => (),
            }
        }
    }

    /// One session with the broker, until something breaks.
    async fn session(&self, shutdown: &CancellationToken, recovery: &mut Recovery) -> Ended {
        // Opening is bounded by its own timeouts; nothing is in flight yet.
        let opened = tokio::select! {
            () = shutdown.cancelled() => return Ended::Shutdown,
            opened = self.open_session() => opened,
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(error) => return Ended::Broker(error),
        };
        session.expect_confirm_within(recovery.patience());
        self.metrics.broker_connected.set(1);
        tracing::info!(broker = session.address(), "connected to RabbitMQ");
        let ended = match self.stand_by(shutdown, &session).await {
            Ok(mut reader) => {
                self.metrics.relay_active.set(1);
                let relayed = self.relay(reader.as_mut(), &mut session, shutdown, recovery);
                let ended = relayed.await;
                // While the reader is still held: what this session has in its buffers must not come behind what the
                // next one publishes, here or on another daemon.
                session.close().await;
                ended
            }
            Err(ended) => Err(ended),
        };
        match ended {
            Ok(()) => Ended::Shutdown,
            Err(ended) => ended,
        }
    }

    /// Waits for the reader: another daemon may hold it.
    async fn stand_by(
        &self,
        shutdown: &CancellationToken,
        session: &Session,
    ) -> Result<Box<dyn RelayReader>, Ended> {
        let mut told = false;
        loop {
            if let Some(reader) = self.store.relay_reader().await? {
                return Ok(reader);
            }
            if !told {
                tracing::info!("another daemon runs the relay; standing by");
                told = true;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Err(Ended::Shutdown),
                () = sleep(STANDBY) => (),
            }
            if !session.is_open() {
                return Err(Ended::Broker(broker::Error::Closed));
            }
        }
    }

    /// The message for an event.
    fn message(&self, recorded: &Recorded) -> broker::Message {
        message(recorded, self.spans.percent())
    }

    fn tell_parked(&self, parked: &[Parked]) {
        for parked in parked {
            self.metrics
                .parked
                .with_label_values(&[parked.reason])
                .inc();
            tracing::error!(
                position = parked.position.0, reason = parked.reason, detail = %parked.detail,
                "an event cannot be published and is parked; see `hookwell dead-letters list`"
            );
        }
    }
}
