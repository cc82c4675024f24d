//! The way out: log -> exchange, in order, with a positive confirm for each event.
//!
//! One relay runs for the whole log, on whichever daemon holds its reader. It publishes a window of
//! events, waits for every confirm, and moves the cursor to the end of the contiguous settled prefix.
//! After a failure it goes on from the first unsettled event: duplicates are possible (with the same
//! `message_id`), gaps are not. It knows no SQL and no AMQP.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Session};
use crate::clock::Clock;
use crate::event::{Position, Recorded};
use crate::failpoints;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::retry::Delays;
use crate::spans::Spans;
use crate::store::{self, Parked, Reader, Settled, Store};
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
mod window;

use courtesy::Courtesy;
use recovery::Recovery;
use replace::Successor;
use replay::Replaying;
use retries::Retrying;
use window::Window;

pub use message::{CLOUD_EVENTS, HEADERS, message};

/// Why an event is parked: RabbitMQ closes the channel on it (over its size limit, for example).
pub const REFUSED: &str = "refused_by_broker";
/// Why an event is parked: no queue takes it and there is no alternate exchange.
pub const UNROUTABLE: &str = "unroutable";

/// Why a tenant is held: a queue gives a negative confirm (it is full, and rejects).
pub const REJECTED: &str = "rejected";

/// Whose order an event keeps, as the routing key and the store name it.
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
    ) -> Result<Box<dyn Reader>, Ended> {
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

    async fn relay(
        &self,
        reader: &mut dyn Reader,
        session: &mut Session,
        shutdown: &CancellationToken,
        recovery: &mut Recovery,
    ) -> Result<(), Ended> {
        let mut cursor = reader.position().await?;
        tracing::info!(position = cursor.0, broker = session.address(), "relaying");
        let mut lanes = self.held_lanes().await?;
        let mut retrying = Retrying::new(self.settings.retry_delays);
        let mut replaying = Replaying::new(self.settings.retry_delays);
        // Between rounds of what RabbitMQ did not take.
        let (first, cap) = self.settings.retry_delays;
        let mut rounds = Delays::new(first, cap);
        let mut successor = Successor::default();
        // What is left of a window that RabbitMQ did not take whole, and what was read behind it.
        let mut unsettled: Option<Window> = None;
        let mut ahead = Vec::new();
        // Whether the store may hold what the feed does not.
        let mut look = true;
        let mut courtesy = Courtesy::new(self.feed.committed_in_all());
        loop {
            let mut woken = std::pin::pin!(self.feed.grown());
            // Registered before looking, so that no wake-up is lost.
            woken.as_mut().enable();
            failpoints::panic("relay.panic");
            if shutdown.is_cancelled() {
                return Ok(());
            }
            if session.is_blocked() && !failpoints::mutant("mutant.M11") {
                self.wait_while_blocked(session, shutdown).await?;
                continue;
            }
            self.succeed_session(session, &mut successor).await;
            self.take_retries(reader, session, &mut retrying, shutdown)
                .await?;
            self.turn_to_replays(reader, session, &mut replaying, shutdown)
                .await?;
            let released = self.try_held(reader, session, &mut lanes, shutdown).await?;
            if let Some(window) = &mut unsettled {
                released.iter().for_each(|tenant| window.release(tenant));
            }
            let mut window = match unsettled.take() {
                Some(window) => window,
                None => {
                    let mut events = std::mem::take(&mut ahead);
                    if events.is_empty() {
                        let size = courtesy.window(self.settings.window);
                        events = self.next_events(reader, cursor, size, &mut look).await?;
                    }
                    if events.is_empty() {
                        if !session.is_open() {
                            return Err(Ended::Broker(broker::Error::Closed));
                        }
                        let poll = Instant::now() + POLL;
                        let dues = [lanes.next_due(), replaying.next_due()];
                        let due = dues.into_iter().flatten().fold(poll, Instant::min);
                        tokio::select! {
                            () = shutdown.cancelled() => (),
                            () = woken => (),
                            () = sleep_until(due) => look = true,
                        }
                        continue;
                    }
                    failpoints::crash("relay.read");
                    Window::new(events, &lanes)
                }
            };
            let last = window.last().unwrap_or(cursor);
            if failpoints::mutant("mutant.M8") {
                let (upto, published) = (last, window.unsettled() as i64);
                let settled = Settled {
                    upto,
                    published,
                    ..Settled::default()
                };
                self.settle(reader, &settled).await?;
            }
            let (begun, open) = (Instant::now(), window.unsettled());
            let is_read = !ahead.is_empty();
            let size = courtesy.window(self.settings.window);
            let ((), read) = tokio::join!(
                self.publish_window(session, &mut window, &mut lanes, shutdown, &mut rounds),
                self.read_ahead(reader, last, size, is_read)
            );
            failpoints::crash("relay.confirmed");
            // Even where reading ahead failed: what is not told of confirms comes again.
            if let Some(settled) = window.settle() {
                recovery.went_on();
                self.settle(reader, &settled).await?;
                cursor = settled.upto;
                failpoints::crash("relay.settled");
            }
            if let Some(error) = window.broken {
                return Err(Ended::Broker(error));
            }
            ahead.append(&mut read?);
            let left = window.unsettled();
            unsettled = (0 < left).then_some(window);
            self.give_way(&mut courtesy, begun.elapsed(), open - left, shutdown)
                .await;
        }
    }

    /// Rests, when there is a backlog and webhooks come in.
    async fn give_way(
        &self,
        courtesy: &mut Courtesy,
        took: Duration,
        published: usize,
        shutdown: &CancellationToken,
    ) {
        let committed = self.feed.committed_in_all();
        if self.feed.is_open() {
            return courtesy.none_needed(committed);
        }
        let rest = courtesy.rest(took, published as u64, committed);
        if !rest.is_zero() {
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = sleep(rest) => (),
            }
        }
    }

    /// What follows the cursor: from memory, or from the store where memory may not have it all.
    async fn next_events(
        &self,
        reader: &mut dyn Reader,
        cursor: Position,
        size: i64,
        look: &mut bool,
    ) -> Result<Vec<Recorded>, store::Error> {
        match self.take_fed(cursor) {
            Some(fed) if !fed.is_empty() => return Ok(fed),
            Some(_) => (),
            None => *look = true,
        }
        if !*look {
            return Ok(Vec::new());
        }
        let fed = self.feed.is_open();
        let events = self.read(reader, cursor, size).await?;
        if fed {
            *look = !events.is_empty();
        } else if (events.len() as i64) < size {
            // The end is near. What is committed before this moment is still to be read.
            self.feed.open();
        }
        Ok(events)
    }

    /// Moves the cursor, and says what is not as it should be.
    async fn settle(&self, reader: &mut dyn Reader, settled: &Settled) -> Result<(), store::Error> {
        reader.settle(settled, (self.clock)()).await?;
        self.tell_parked(&settled.parked);
        for held in settled.held.iter().filter(|held| !held.reason.is_empty()) {
            tracing::warn!(
                tenant = %held.tenant, reason = held.reason, detail = %held.detail,
                "RabbitMQ refuses events of a tenant; they are held while others go on, see `hookwell held`"
            );
        }
        Ok(())
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

    async fn read(
        &self,
        reader: &mut dyn Reader,
        after: Position,
        size: i64,
    ) -> Result<Vec<Recorded>, store::Error> {
        reader.read(after, size, self.settings.window_bytes).await
    }

    /// The next window, while this one is under way, unless it is read already; with an open feed it will
    /// come from there.
    async fn read_ahead(
        &self,
        reader: &mut dyn Reader,
        after: Position,
        size: i64,
        is_read: bool,
    ) -> Result<Vec<Recorded>, store::Error> {
        match is_read || self.feed.is_open() {
            true => Ok(Vec::new()),
            false => self.read(reader, after, size).await,
        }
    }

    fn take_fed(&self, after: Position) -> Option<Vec<Recorded>> {
        let size = |bound: i64| usize::try_from(bound).unwrap_or(usize::MAX);
        let Settings {
            window,
            window_bytes,
            ..
        } = self.settings;
        self.feed.take(after, size(window), size(window_bytes))
    }
}
