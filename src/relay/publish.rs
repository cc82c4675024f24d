//! Getting a window out: publishing until every event of it is settled or has to wait, waiting while the
//! broker blocks. What may be told to the store is the window's to say.

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::lanes::Lanes;
use super::window::Window;
use super::{POLL, Relay};
use crate::broker::{self, Outcome, Session};
use crate::failpoints;
use crate::retry::Delays;

/// What became of a batch.
pub(super) enum Handed {
    /// What RabbitMQ says of each message.
    Outcomes(Vec<Outcome>),
    /// It refused one of them, with its words.
    Refused(String),
    /// Shutdown came first.
    GivenUp,
}

impl Relay {
    /// Waits for the end of an alarm, or of the session, or for shutdown.
    pub(super) async fn wait_while_blocked(
        &self,
        session: &Session,
        shutdown: &CancellationToken,
    ) -> Result<(), broker::Error> {
        self.metrics.broker_blocked.set(1);
        tracing::warn!("RabbitMQ blocks publishers (memory or disk alarm); events wait in the log");
        while session.is_blocked() && session.is_open() && !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = sleep(POLL) => (),
            }
        }
        self.metrics.broker_blocked.set(0);
        if session.is_open() {
            Ok(())
        } else {
            Err(broker::Error::Closed)
        }
    }

    /// Publishes a batch on this session; `None` when shutdown came while the broker blocks: it may never answer, and
    /// what is in flight is repeated after the restart.
    async fn publish(
        &self,
        session: &Session,
        batch: &[broker::Message],
        shutdown: &CancellationToken,
    ) -> Option<Result<Vec<Outcome>, broker::Error>> {
        let (started, began) = (Instant::now(), (self.clock)());
        let given_up = async {
            loop {
                sleep(POLL).await;
                let blocked = session.is_blocked();
                self.metrics.broker_blocked.set(i64::from(blocked));
                if blocked && shutdown.is_cancelled() {
                    return;
                }
            }
        };
        let published = tokio::select! {
            published = session.publish(batch) => published,
            () = given_up => return None,
        };
        self.metrics.broker_blocked.set(0);
        self.metrics
            .publish_seconds
            .observe(started.elapsed().as_secs_f64());
        if let Ok(outcomes) = &published {
            self.trace(batch, outcomes, began);
        }
        Some(published)
    }

    /// Publishes a batch, and puts a fresh session in place of one that RabbitMQ closed for a message that it refuses.
    ///
    /// # Errors
    /// The session broke, or there is no fresh one: what became of the batch is not known.
    pub(super) async fn hand_over(
        &self,
        session: &mut Session,
        batch: &[broker::Message],
        shutdown: &CancellationToken,
    ) -> Result<Handed, broker::Error> {
        let Some(published) = self.publish(session, batch, shutdown).await else {
            return Ok(Handed::GivenUp);
        };
        if published.is_err() {
            self.count_unknown(batch.len());
        }
        match published {
            Ok(outcomes) => Ok(Handed::Outcomes(outcomes)),
            Err(broker::Error::Refused { code, text }) => {
                self.replace_session(session).await?;
                Ok(Handed::Refused(format!("{code} {text}")))
            }
            Err(error) => Err(error),
        }
    }

    /// Publishes until every event of the window is settled, or one delay is over, or the session breaks, or
    /// shutdown.
    pub(super) async fn publish_window(
        &self,
        session: &mut Session,
        window: &mut Window,
        lanes: &mut Lanes,
        shutdown: &CancellationToken,
        delays: &mut Delays,
    ) {
        loop {
            let round = window.round();
            if round.is_empty() {
                delays.reset();
                return;
            }
            if shutdown.is_cancelled() {
                return;
            }
            let batch: Vec<_> = round
                .iter()
                .map(|index| self.message(window.event(*index)))
                .collect();
            match self.hand_over(session, &batch, shutdown).await {
                Ok(Handed::GivenUp) => return,
                Ok(Handed::Outcomes(outcomes)) => {
                    let events = round.iter().map(|index| window.event(*index));
                    self.count(events.zip(&outcomes));
                    if window.note(&round, outcomes, lanes, Instant::now()) {
                        continue;
                    }
                }
                Ok(Handed::Refused(detail)) => {
                    window.note_refusal(&round, &detail);
                    continue;
                }
                Err(broker::Error::Deadline(_)) if failpoints::mutant("mutant.M11") => (),
                Err(error) => {
                    window.broken = Some(error);
                    return;
                }
            }
            let delay = delays.next_delay();
            tracing::warn!(
                unsettled = window.unsettled(), retry_in_ms = delay.as_millis() as u64,
                problem = %window.problem(), "RabbitMQ did not take every event; trying again"
            );
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = sleep(delay) => (),
            }
            return;
        }
    }
}
