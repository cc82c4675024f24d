//! Group commit: one writer takes whatever is waiting, appends it in one transaction, and answers all.
//!
//! While one batch commits the next gathers. An event that comes alone is committed at once; where several
//! come together batches begin [`PACE`] apart or have [`ENOUGH`] events, for many small commits cost the
//! processor twice what a few larger ones do. A batch never holds two events under one key: same bytes share the first one's place, other
//! bytes wait for the next batch, so the store sees them one after the other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::pace::{Limit, Pace};
use crate::event::{Event, Recorded};
use crate::failpoints;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::store::{Appended, Store};

/// From the begin of a batch of several events to that of the next one. At 4,500 events/s on two cores the
/// whole way took 330 µs of processor time an event without it and 245 with it.
const PACE: Duration = Duration::from_millis(5);
/// So many events are enough for a batch. With 64 a tenth less was accepted: each commit waits for SQLite's thread, or
/// Postgres, to get a processor between the requests.
const ENOUGH: usize = 96;
/// Of more that wait a batch takes this part. With all of them in one, 256 senders waited for it together, and
/// the cores stood still for a sixth of the time; so some are always on their way in while others commit.
const PART: usize = 2;
/// How often ready requests are let run before a batch is closed.
const GATHERING_ROUNDS: usize = 2;

struct Waiting {
    event: Event,
    /// `None` tells the request that the commit failed.
    reply: oneshot::Sender<Option<Appended>>,
    /// Of a request's body; what the daemon makes itself has none.
    _memory: Option<OwnedSemaphorePermit>,
}

/// The requests' end of the queue.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::Sender<Waiting>,
    limit: Limit,
    gathering: Arc<Gathering>,
    /// For the defect M5: requests that own database futures.
    #[cfg(feature = "failpoints")]
    pub(super) store: Arc<dyn Store>,
}

impl Handle {
    /// Whether an event that came now would be committed in time.
    pub(super) fn has_room(&self) -> bool {
        0 < self.queue.capacity() && self.limit.takes(self.waiting())
    }

    fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Queues an event; `None` when the queue is full or the writer has ended. The answer is what
    /// became of it, or `None` when that is not known.
    pub(super) fn hand_over(
        &self,
        event: Event,
        memory: OwnedSemaphorePermit,
    ) -> Option<oneshot::Receiver<Option<Appended>>> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .try_send(Waiting {
                event,
                reply,
                _memory: Some(memory),
            })
            .ok()?;
        self.gathering.now_wait(self.waiting());
        Some(answer)
    }

    /// Appends an event that the daemon made itself; what became of it, or `None` when that is not known.
    /// Waits for room in the queue. Dropping the future may leave the event to be appended.
    pub async fn append(&self, event: Event) -> Option<Appended> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            event,
            reply,
            _memory: None,
        };
        self.queue.send(waiting).await.ok()?;
        answer.await.ok()?
    }
}

/// What the requests and a writer that gathers them tell each other. A word that is missed, for neither waits for the
/// other, costs [`PACE`].
#[derive(Default)]
struct Gathering {
    /// The number of waiting events at which the writer wants to know; 0 when it does not gather.
    wanted: AtomicUsize,
    enough: Notify,
}

impl Gathering {
    fn now_wait(&self, waiting: usize) {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if 0 < wanted && wanted <= waiting {
            self.enough.notify_one();
        }
    }
}

/// The writer; run it as a task of its own.
pub struct Writer {
    queue: mpsc::Receiver<Waiting>,
    store: Arc<dyn Store>,
    batch_max: usize,
    pace: Pace,
    gathering: Arc<Gathering>,
    /// Gets what was committed.
    feed: Arc<Feed>,
    metrics: Metrics,
    /// Batches in a row that were not committed.
    failed: u64,
}

impl Writer {
    /// A writer that lets at most `queue_max` events wait, and none of them longer than about `patience`, and
    /// appends at most `batch_max` at once.
    pub fn new(
        store: Arc<dyn Store>,
        queue_max: usize,
        patience: Duration,
        batch_max: usize,
        feed: Arc<Feed>,
        metrics: Metrics,
    ) -> (Handle, Self) {
        let (sender, queue) = mpsc::channel(queue_max);
        let (pace, limit) = Pace::new(ENOUGH.min(batch_max), patience);
        let gathering = Arc::new(Gathering::default());
        (
            Handle {
                queue: sender,
                limit,
                gathering: Arc::clone(&gathering),
                #[cfg(feature = "failpoints")]
                store: Arc::clone(&store),
            },
            Self {
                queue,
                store,
                batch_max,
                pace,
                gathering,
                feed,
                metrics,
                failed: 0,
            },
        )
    }

    /// Appends until shutdown, then what is still queued.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut held_back: VecDeque<Waiting> = VecDeque::new();
        // The batch before: how many events it had, and when it was begun.
        let (mut before, mut begun) = (0, Instant::now());
        loop {
            if held_back.is_empty() {
                tokio::select! {
                    first = self.queue.recv() => match first {
                        Some(first) => held_back.push_back(first),
                        None => return,
                    },
                    () = shutdown.cancelled(), if !self.queue.is_closed() => {
                        // What was handed over before is still in the queue and is taken first.
                        self.queue.close();
                        continue;
                    }
                }
            }
            if 1 < before {
                self.gather(held_back.len(), begun + PACE).await;
            }
            begun = Instant::now();
            let waiting = held_back.len() + self.queue.len();
            let most = (waiting / PART).max(ENOUGH).min(self.batch_max);
            // Requests that are ready to run join this commit: each round lets them run once. When none
            // are ready a round costs nothing.
            for round in 0..=GATHERING_ROUNDS {
                while held_back.len() < most {
                    match self.queue.try_recv() {
                        Ok(waiting) => held_back.push_back(waiting),
                        Err(_) => break,
                    }
                }
                if round < GATHERING_ROUNDS && held_back.len() < most {
                    tokio::task::yield_now().await;
                }
            }
            let batch = Batch::gather(&mut held_back, most);
            before = batch.events.len();
            if self.commit(batch).await {
                self.pace.note(before, begun.elapsed());
            }
        }
    }

    /// Waits until there are enough events for a batch, or until its time has come.
    async fn gather(&self, held_back: usize, until: Instant) {
        let enough = ENOUGH.min(self.batch_max).saturating_sub(held_back);
        // At least one: an empty queue wakes nobody.
        self.gathering
            .wanted
            .store(enough.max(1), Ordering::Relaxed);
        while self.queue.len() < enough
            && timeout_at(until, self.gathering.enough.notified())
                .await
                .is_ok()
        {}
        self.gathering.wanted.store(0, Ordering::Relaxed);
    }

    /// Whether it was committed.
    async fn commit(&mut self, batch: Batch) -> bool {
        self.metrics.commit_batch.observe(batch.events.len() as f64);
        let timer = self.metrics.commit_seconds.start_timer();
        failpoints::crash("append.before");
        failpoints::panic("writer.panic");
        let appended = self.store.append(&batch.events).await;
        failpoints::crash("append.after");
        timer.observe_duration();
        match appended {
            Ok(appended) => {
                if 0 < self.failed {
                    tracing::info!(batches = self.failed, "the store commits again");
                    self.failed = 0;
                }
                let committed = batch.answer(appended);
                self.feed.committed(committed);
                failpoints::crash_soon("answered");
                true
            }
            Err(error) => {
                self.metrics.commit_errors.inc();
                // In an outage every batch fails: said at the first one and then ever more rarely.
                self.failed += 1;
                if self.failed.is_power_of_two() {
                    tracing::warn!(
                        events = batch.events.len(), batches = self.failed,
                        error = %crate::telemetry::Chain(&error),
                        "the store does not commit; the senders are asked to come again"
                    );
                }
                batch.fail();
                false
            }
        }
    }
}

/// Who waits for which event of a batch, with the memory of its body.
type Waiter = (
    usize,
    oneshot::Sender<Option<Appended>>,
    Option<OwnedSemaphorePermit>,
);

/// Distinct events with everybody who waits for one of them.
struct Batch {
    events: Vec<Event>,
    waiting: Vec<Waiter>,
}

impl Batch {
    /// Takes what may go together from the front; leaves the rest in order.
    fn gather(queue: &mut VecDeque<Waiting>, most: usize) -> Self {
        let places = Self::places(queue, most);
        let mut batch = Self {
            events: Vec::with_capacity(most.min(queue.len())),
            waiting: Vec::with_capacity(queue.len()),
        };
        let mut rest = VecDeque::new();
        for (waiting, place) in queue.drain(..).zip(places) {
            let Some(place) = place else {
                rest.push_back(waiting);
                continue;
            };
            if place == batch.events.len() {
                batch.events.push(waiting.event);
            }
            batch.waiting.push((place, waiting.reply, waiting._memory));
        }
        *queue = rest;
        batch
    }

    /// For each that waits the place of its event in the batch; none for what has to wait longer.
    fn places(queue: &VecDeque<Waiting>, most: usize) -> Vec<Option<usize>> {
        let mut known = HashMap::with_capacity(queue.len());
        let mut places = Vec::with_capacity(queue.len());
        for Waiting { event, .. } in queue {
            let (key, count) = ((&*event.app_id, event.key.as_str()), known.len());
            let place = match known.get(&key) {
                Some((place, hash)) => (*hash == event.body_hash).then_some(*place),
                None if count < most => {
                    known.insert(key, (count, event.body_hash));
                    Some(count)
                }
                None => None,
            };
            places.push(place);
        }
        places
    }

    /// Answers everybody and returns what is new in the log.
    fn answer(self, mut appended: Vec<Appended>) -> Vec<Recorded> {
        let mut committed = Vec::with_capacity(self.events.len());
        for (outcome, mut event) in appended.iter().zip(self.events) {
            let Some(position) = outcome.position() else {
                continue;
            };
            if let Appended::Altered(_, key) = outcome {
                event.key = key.clone();
            }
            committed.push(Recorded { position, event });
        }
        for (place, reply, _memory) in self.waiting {
            // The first one brought it. Whoever has gone in the meantime is not missed: the event is durable.
            let outcome = appended.get_mut(place);
            let outcome = outcome.map(|first| std::mem::replace(first, Appended::Duplicate));
            let _ = reply.send(outcome);
        }
        committed
    }

    fn fail(self) {
        for (_, reply, _memory) in self.waiting {
            let _ = reply.send(None);
        }
    }
}
