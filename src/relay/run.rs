//! The run with the reader: read, publish, settle, and between two windows whatever else is to be published.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::courtesy::Courtesy;
use super::lanes::Lanes;
use super::recovery::Recovery;
use super::replace::Successor;
use super::replay::Replaying;
use super::retries::Retrying;
use super::window::Window;
use super::{Ended, POLL, Relay, Settings};
use crate::broker::{self, Session};
use crate::event::{Position, Recorded};
use crate::failpoints;
use crate::retry::Delays;
use crate::store::{self, RelayReader, Settled};

/// How far the run is.
struct Run {
    /// What is before it is settled.
    cursor: Position,
    lanes: Lanes,
    retrying: Retrying,
    replaying: Replaying,
    /// Between rounds of what RabbitMQ did not take.
    rounds: Delays,
    successor: Successor,
    /// What is left of a window that RabbitMQ did not take whole.
    unsettled: Option<Window>,
    /// What was read behind it.
    ahead: Vec<Recorded>,
    /// Whether the store may hold what the feed does not.
    look: bool,
    courtesy: Courtesy,
}

impl Relay {
    /// Relays until shutdown, or until something breaks.
    pub(super) async fn relay(
        &self,
        reader: &mut dyn RelayReader,
        session: &mut Session,
        shutdown: &CancellationToken,
        recovery: &mut Recovery,
    ) -> Result<(), Ended> {
        let mut run = self.begin(reader).await?;
        tracing::info!(
            position = run.cursor.0,
            broker = session.address(),
            "relaying"
        );
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
            self.between_windows(&mut run, reader, session, shutdown)
                .await?;
            if let Some(window) = self.next_window(&mut run, reader).await? {
                let (begun, open) = (Instant::now(), window.unsettled());
                self.get_out(&mut run, window, reader, session, shutdown, recovery)
                    .await?;
                let left = run.unsettled.as_ref().map_or(0, Window::unsettled);
                self.give_way(&mut run.courtesy, begun.elapsed(), open - left, shutdown)
                    .await;
                continue;
            }
            if !session.is_open() {
                return Err(Ended::Broker(broker::Error::Closed));
            }
            let poll = Instant::now() + POLL;
            let dues = [run.lanes.next_due(), run.replaying.next_due()];
            let due = dues.into_iter().flatten().fold(poll, Instant::min);
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = woken => (),
                () = sleep_until(due) => run.look = true,
            }
        }
    }

    async fn begin(&self, reader: &mut dyn RelayReader) -> Result<Run, Ended> {
        let (first, cap) = self.settings.retry_delays;
        Ok(Run {
            cursor: reader.position().await?,
            lanes: self.held_lanes().await?,
            retrying: Retrying::new(self.settings.retry_delays),
            replaying: Replaying::new(self.settings.retry_delays),
            rounds: Delays::new(first, cap),
            successor: Successor::default(),
            unsettled: None,
            ahead: Vec::new(),
            look: true,
            courtesy: Courtesy::new(self.feed.committed_in_all()),
        })
    }

    /// What is published beside the windows, each in its turn. Nothing is in flight before and after it.
    async fn between_windows(
        &self,
        run: &mut Run,
        reader: &mut dyn RelayReader,
        session: &mut Session,
        shutdown: &CancellationToken,
    ) -> Result<(), Ended> {
        self.succeed_session(session, &mut run.successor).await;
        self.take_retries(reader, session, &mut run.retrying, shutdown)
            .await?;
        self.turn_to_replays(reader, session, &mut run.replaying, shutdown)
            .await?;
        let released = self
            .try_held(reader, session, &mut run.lanes, shutdown)
            .await?;
        if let Some(window) = &mut run.unsettled {
            released.iter().for_each(|tenant| window.release(tenant));
        }
        Ok(())
    }

    /// What is left of the last window, or the next one, if there is any.
    async fn next_window(
        &self,
        run: &mut Run,
        reader: &mut dyn RelayReader,
    ) -> Result<Option<Window>, Ended> {
        if let Some(window) = run.unsettled.take() {
            return Ok(Some(window));
        }
        let mut events = std::mem::take(&mut run.ahead);
        if events.is_empty() {
            let size = run.courtesy.window(self.settings.window);
            events = self
                .next_events(reader, run.cursor, size, &mut run.look)
                .await?;
        }
        if events.is_empty() {
            return Ok(None);
        }
        failpoints::crash("relay.read");
        Ok(Some(Window::new(events, &run.lanes)))
    }

    /// Publishes a window while the next one is read, and settles what can be settled.
    async fn get_out(
        &self,
        run: &mut Run,
        mut window: Window,
        reader: &mut dyn RelayReader,
        session: &mut Session,
        shutdown: &CancellationToken,
        recovery: &mut Recovery,
    ) -> Result<(), Ended> {
        let last = window.last().unwrap_or(run.cursor);
        if failpoints::mutant("mutant.M8") {
            let settled = Settled {
                upto: last,
                published: window.unsettled() as i64,
                ..Settled::default()
            };
            self.settle(reader, &settled).await?;
        }
        let is_read = !run.ahead.is_empty();
        let size = run.courtesy.window(self.settings.window);
        let ((), read) = tokio::join!(
            self.publish_window(
                session,
                &mut window,
                &mut run.lanes,
                shutdown,
                &mut run.rounds
            ),
            self.read_ahead(reader, last, size, is_read)
        );
        failpoints::crash("relay.confirmed");
        // Even where reading ahead failed: what is not told of confirms comes again.
        if let Some(settled) = window.settle() {
            recovery.went_on();
            self.settle(reader, &settled).await?;
            run.cursor = settled.upto;
            failpoints::crash("relay.settled");
        }
        if let Some(error) = window.broken {
            return Err(Ended::Broker(error));
        }
        run.ahead.append(&mut read?);
        run.unsettled = (0 < window.unsettled()).then_some(window);
        Ok(())
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
        reader: &mut dyn RelayReader,
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
    async fn settle(
        &self,
        reader: &mut dyn RelayReader,
        settled: &Settled,
    ) -> Result<(), store::Error> {
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

    async fn read(
        &self,
        reader: &mut dyn RelayReader,
        after: Position,
        size: i64,
    ) -> Result<Vec<Recorded>, store::Error> {
        reader.read(after, size, self.settings.window_bytes).await
    }

    /// The next window, while this one is under way, unless it is read already; with an open feed it will
    /// come from there.
    async fn read_ahead(
        &self,
        reader: &mut dyn RelayReader,
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
