//! Getting a window out: publishing until every event of it is settled or has to wait, waiting while the
//! broker blocks, and counting what became of each. What may be told to the store is the window's to say.

use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::lanes::Lanes;
use super::message::ORIGIN;
use super::window::Window;
use super::{POLL, Relay};
use crate::broker::{self, Header, Outcome, Session};
use crate::event::{Micros, Origin, Recorded};
use crate::failpoints;
use crate::retry::Delays;
use crate::spans::{Kind, Span};

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

    /// Publishes a batch; `None` when shutdown came while the broker blocks: it may never answer, and
    /// what is in flight is repeated after the restart.
    pub(super) async fn publish(
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

    /// Tells what was published when.
    fn trace(&self, batch: &[broker::Message], outcomes: &[Outcome], began: Micros) {
        if self.spans.percent() == 0 {
            return;
        }
        let ended = (self.clock)();
        for (message, outcome) in batch.iter().zip(outcomes) {
            let header = |wanted| {
                let mut headers = message.headers.iter();
                headers.find_map(|(name, value)| match value {
                    Header::Text(text) if *name == wanted => Some(text.as_str()),
                    _ => None,
                })
            };
            let app_id = header("ghl-app-id").unwrap_or_default();
            let Some(context) = self.spans.of(app_id, &message.id) else {
                continue;
            };
            let origin = header(ORIGIN).and_then(Origin::parse);
            // What did not arrive as a request arrives here.
            let id = match origin {
                Some(Origin::FollowUp | Origin::Backfill) => context.span_id,
                _ => context.span(&["publish", &began.0.to_string()]),
            };
            self.spans.record(Span {
                context,
                id,
                name: format!("publish {}", message.kind),
                kind: Kind::Producer,
                began,
                ended,
                attributes: vec![
                    ("messaging.system", json!("rabbitmq")),
                    (
                        "messaging.rabbitmq.destination.routing_key",
                        json!(message.routing_key),
                    ),
                    ("messaging.message.id", json!(message.id)),
                    ("hookwell.origin", json!(header(ORIGIN))),
                ],
                error: match outcome {
                    Outcome::Confirmed => None,
                    Outcome::Returned(reason) => Some(reason.clone()),
                    Outcome::Nacked => Some("rejected".to_owned()),
                },
            });
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
            let Some(published) = self.publish(session, &batch, shutdown).await else {
                return;
            };
            match published {
                Ok(outcomes) => {
                    let events = round.iter().map(|index| window.event(*index));
                    self.count(events.zip(&outcomes));
                    if window.note(&round, outcomes, lanes, Instant::now()) {
                        continue;
                    }
                }
                Err(broker::Error::Refused { code, text }) => {
                    self.count_unknown(round.len());
                    window.note_refusal(&round, &format!("{code} {text}"));
                    if let Err(error) = self.replace_session(session).await {
                        window.broken = Some(error);
                        return;
                    }
                    continue;
                }
                Err(broker::Error::Deadline(_)) if failpoints::mutant("mutant.M11") => (),
                Err(error) => {
                    self.count_unknown(round.len());
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

    pub(super) fn count<'a>(&self, round: impl Iterator<Item = (&'a Recorded, &'a Outcome)>) {
        let now = (self.clock)();
        let (mut confirmed, mut returned, mut nacked) = (0, 0, 0);
        for (recorded, outcome) in round {
            match outcome {
                Outcome::Confirmed => {
                    confirmed += 1;
                    let event = &recorded.event;
                    let micros = now.0.saturating_sub(event.received_at.0).max(0);
                    self.metrics
                        .end_to_end_seconds
                        .with_label_values(&[event.origin.as_str()])
                        .observe(micros as f64 / 1e6);
                }
                Outcome::Returned(_) => returned += 1,
                Outcome::Nacked => nacked += 1,
            }
        }
        let outcomes = &self.metrics.publish_outcomes;
        outcomes.with_label_values(&["confirmed"]).inc_by(confirmed);
        outcomes.with_label_values(&["returned"]).inc_by(returned);
        outcomes.with_label_values(&["nacked"]).inc_by(nacked);
    }

    pub(super) fn count_unknown(&self, count: usize) {
        self.metrics
            .publish_outcomes
            .with_label_values(&["unknown"])
            .inc_by(count as u64);
    }
}
