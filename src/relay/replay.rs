//! Publishing again what was published before, because a person asked: each replay at a rate of its own, beside the
//! windows, in the order of the log.
//!
//! A replay's cursor moves after the confirms, as the relay's does: after a crash a run of it comes again. What
//! RabbitMQ returns or refuses is counted and passed over, for it is no dead letter: it was out once. What it
//! rejects makes the replay wait.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::message::ORIGIN;
use super::publish::Handed;
use super::{Ended, RETRY_POLL, Relay};
use crate::broker::{Header, Message, Outcome, Session};
use crate::event::{Origin, Position, Recorded};
use crate::retry::Delays;
use crate::store::{RelayReader, Replay, ReplayStep};

/// Replays that run at once; others wait for their end.
const AT_ONCE: i64 = 8;
/// How often a relay without other work turns to its replays.
const TURN: Duration = Duration::from_millis(50);
/// How long one turn may look for what a rare filter lets through.
const LOOK: Duration = Duration::from_millis(50);

/// The replays that are under way.
pub(super) struct Replaying {
    running: Vec<Replay>,
    turns: HashMap<i64, Turn>,
    look_at: Instant,
    delays: (Duration, Duration),
}

/// What is known of one replay beside what is stored.
struct Turn {
    pace: Pace,
    delays: Delays,
    /// It waits, because RabbitMQ rejected.
    not_before: Instant,
    /// Up to here one by one: RabbitMQ refused a batch, and only one alone says whose fault it is.
    singly: Position,
}

impl Replaying {
    /// None yet; `delays` are between attempts at what is rejected.
    pub(super) fn new(delays: (Duration, Duration)) -> Self {
        Self {
            running: Vec::new(),
            turns: HashMap::new(),
            look_at: Instant::now(),
            delays,
        }
    }

    /// When a relay without other work is to look again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (!self.running.is_empty()).then(|| Instant::now() + TURN)
    }

    fn know(&mut self, running: Vec<Replay>, now: Instant) {
        self.turns
            .retain(|id, _| running.iter().any(|replay| replay.id == *id));
        for replay in &running {
            self.turns.entry(replay.id).or_insert_with(|| {
                tracing::info!(
                    replay = replay.id, who = %replay.who, events = replay.left(), rate = replay.rate,
                    "events are published again"
                );
                Turn {
                    pace: Pace::new(replay.rate, now),
                    delays: Delays::new(self.delays.0, self.delays.1),
                    not_before: now,
                    singly: Position(0),
                }
            });
        }
        self.running = running;
    }
}

/// So many a second, and after a rest no more than a second's worth at once. Pure.
struct Pace {
    rate: f64,
    credit: f64,
    at: Instant,
}

impl Pace {
    fn new(rate: i64, now: Instant) -> Self {
        Self {
            rate: rate.max(1) as f64,
            credit: 1.0,
            at: now,
        }
    }

    /// How many may go out now.
    fn room(&mut self, now: Instant) -> i64 {
        let earned = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.at = now;
        self.credit = (self.credit + earned).min(self.rate.max(1.0));
        self.credit as i64
    }

    fn spend(&mut self, count: usize) {
        self.credit -= count as f64;
    }
}

impl Relay {
    /// Gives each replay its turn.
    pub(super) async fn turn_to_replays(
        &self,
        reader: &mut dyn RelayReader,
        session: &mut Session,
        replaying: &mut Replaying,
        shutdown: &CancellationToken,
    ) -> Result<(), Ended> {
        let now = Instant::now();
        if replaying.look_at <= now {
            replaying.look_at = now + RETRY_POLL;
            let running = reader.running_replays(AT_ONCE).await?;
            replaying.know(running, now);
        }
        for replay in &mut replaying.running {
            let Some(turn) = replaying.turns.get_mut(&replay.id) else {
                continue;
            };
            if turn.not_before <= now {
                self.replay(reader, session, replay, turn, shutdown).await?;
            }
        }
        replaying
            .running
            .retain(|replay| replay.position < replay.filter.upto);
        Ok(())
    }

    /// One turn of one replay: a batch at most.
    async fn replay(
        &self,
        reader: &mut dyn RelayReader,
        session: &mut Session,
        replay: &mut Replay,
        turn: &mut Turn,
        shutdown: &CancellationToken,
    ) -> Result<(), Ended> {
        let now = Instant::now();
        let mut room = turn.pace.room(now).min(self.settings.window);
        if room < 1 {
            return Ok(());
        }
        if replay.position < turn.singly {
            room = 1;
        }
        let (events, upto) = loop {
            let read = reader.read_replay(replay, room, self.settings.window_bytes);
            let (events, upto) = read.await?;
            let over = replay.filter.upto <= upto || LOOK <= now.elapsed();
            if !events.is_empty() || over {
                break (events, upto);
            }
            replay.position = upto;
        };
        let mut step = ReplayStep {
            id: replay.id,
            upto: replay.position,
            published: 0,
            failed: 0,
            detail: None,
        };
        if events.is_empty() {
            step.upto = upto;
        } else {
            let message = |one| again(self.message(one));
            let batch: Vec<_> = events.iter().map(message).collect();
            turn.pace.spend(batch.len());
            match self.hand_over(session, &batch, shutdown).await? {
                Handed::GivenUp => return Ok(()),
                Handed::Outcomes(outcomes) => {
                    let rejected = note(&mut step, &events, outcomes);
                    if rejected {
                        turn.not_before = Instant::now() + turn.delays.next_delay();
                    } else {
                        turn.delays.reset();
                    }
                }
                Handed::Refused(detail) => {
                    if let [alone] = events.as_slice() {
                        step.upto = alone.position;
                        step.failed = 1;
                        step.detail = Some(detail);
                    } else {
                        turn.singly = upto;
                    }
                }
            }
        }
        reader.settle_replay(&step, (self.clock)()).await?;
        replay.position = step.upto;
        let count = |outcome, count: i64| {
            let replayed = self.metrics.replay_events.with_label_values(&[outcome]);
            replayed.inc_by(u64::try_from(count).unwrap_or(0));
        };
        count("published", step.published);
        count("failed", step.failed);
        if replay.filter.upto <= step.upto {
            tracing::info!(replay = replay.id, "a replay is done");
        }
        Ok(())
    }
}

/// The same message, which says that it was asked for again.
fn again(mut message: Message) -> Message {
    for (name, value) in &mut message.headers {
        if *name == ORIGIN {
            *value = Header::Text(Origin::Replay.as_str().to_owned());
        }
    }
    message
}

/// Counts up to the first event that was rejected; whether there was one.
fn note(step: &mut ReplayStep, events: &[Recorded], outcomes: Vec<Outcome>) -> bool {
    for (recorded, outcome) in events.iter().zip(outcomes) {
        match outcome {
            Outcome::Confirmed => step.published += 1,
            Outcome::Returned(reason) => {
                step.failed += 1;
                step.detail = Some(reason);
            }
            Outcome::Nacked => {
                step.detail = Some("RabbitMQ rejects it: a queue is full".to_owned());
                return true;
            }
        }
        step.upto = recorded.position;
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::message;
    use super::*;
    use crate::event::{BodyHash, Event, EventKey, Micros, Tenant};

    fn recorded(position: i64) -> Recorded {
        let body = bytes::Bytes::from_static(b"{}");
        Recorded {
            position: Position(position),
            event: Event {
                key: EventKey::from_id("k").unwrap(),
                app_id: "a".to_owned(),
                event_type: "ContactCreate".to_owned(),
                tenant: Tenant::default(),
                entity_id: None,
                origin: Origin::Webhook,
                signature: None,
                received_at: Micros(0),
                body_hash: BodyHash::of(&body),
                body,
            },
        }
    }

    #[test]
    fn a_pace_gives_its_rate_and_no_more_than_a_second_of_it_after_a_rest() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(100, start);
        assert_eq!(pace.room(start), 1);
        pace.spend(1);
        let mut out = 0;
        for millis in (50..=2_000).step_by(50) {
            let room = pace.room(after(millis));
            pace.spend(usize::try_from(room).unwrap());
            out += room;
        }
        assert!((199..=200).contains(&out), "{out}");
        assert_eq!(pace.room(after(60_000)), 100);
    }

    #[test]
    fn a_step_ends_before_what_was_rejected_and_passes_what_no_queue_takes() {
        let events: Vec<_> = [3, 5, 8, 9].map(recorded).into();
        let step = |outcomes: Vec<Outcome>| {
            let mut step = ReplayStep {
                id: 1,
                upto: Position(2),
                published: 0,
                failed: 0,
                detail: None,
            };
            let rejected = note(&mut step, &events, outcomes);
            (step.upto.0, step.published, step.failed, rejected)
        };
        use Outcome::{Confirmed, Nacked, Returned};
        let returned = || Returned("312 NO_ROUTE".to_owned());
        assert_eq!(
            step(vec![Confirmed, returned(), Confirmed, Confirmed]),
            (9, 3, 1, false)
        );
        assert_eq!(
            step(vec![Confirmed, returned(), Nacked, Confirmed]),
            (5, 1, 1, true)
        );
        assert_eq!(step(vec![Nacked, Nacked, Nacked, Nacked]), (2, 0, 0, true));
    }

    #[test]
    fn a_message_that_is_published_again_differs_in_its_origin_alone() {
        let mut recorded = recorded(4);
        // A type of GHL's that looks like one of our own: its key must not change with the origin.
        recorded.event.event_type = "contact.merged".to_owned();
        let (first, second) = (message(&recorded, 0), again(message(&recorded, 0)));
        assert!(first.routing_key.starts_with("other."));
        assert_eq!(
            (&first.id, &first.routing_key, &first.body, first.timestamp),
            (
                &second.id,
                &second.routing_key,
                &second.body,
                second.timestamp
            )
        );
        let differing: Vec<_> = first
            .headers
            .iter()
            .zip(&second.headers)
            .filter(|(one, other)| one.1.to_string() != other.1.to_string())
            .map(|(one, other)| (one.0, other.1.to_string()))
            .collect();
        assert_eq!(differing, [("hookwell-origin", "replay".to_owned())]);
    }
}
