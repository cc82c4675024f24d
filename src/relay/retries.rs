//! Publishing again what a person asked for.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::publish::Handed;
use super::{Ended, REFUSED, RETRY_POLL, Relay, UNROUTABLE};
use crate::broker::{Outcome, Session};
use crate::event::Position;
use crate::retry::Delays;
use crate::store::{Parked, RelayReader};

/// Dead letters of one turn.
const AT_ONCE: i64 = 50;

/// Where the turns stand.
pub(super) struct Retrying {
    /// Behind this one they go on; what is rejected does not keep the others from theirs.
    after: Position,
    /// When the next one is.
    due: Instant,
    /// Between turns in which something is rejected.
    delays: Delays,
}

impl Retrying {
    /// At the beginning.
    pub(super) fn new((first, cap): (Duration, Duration)) -> Self {
        Self {
            after: Position(0),
            due: Instant::now(),
            delays: Delays::new(first, cap),
        }
    }
}

impl Relay {
    /// Publishes dead letters that a person asked for again, one by one, in turns. What a queue rejects stays to be tried.
    pub(super) async fn take_retries(
        &self,
        reader: &mut dyn RelayReader,
        session: &mut Session,
        retrying: &mut Retrying,
        shutdown: &CancellationToken,
    ) -> Result<(), Ended> {
        let now = Instant::now();
        if now < retrying.due {
            return Ok(());
        }
        retrying.due = now + RETRY_POLL;
        let asked_for = reader.retries(retrying.after, AT_ONCE).await?;
        let is_full = asked_for.len() as i64 == AT_ONCE;
        let mut rejected = 0;
        for recorded in &asked_for {
            let parked = |reason, detail| Parked {
                position: recorded.position,
                reason,
                detail,
            };
            let batch = [self.message(recorded)];
            let handed = self.hand_over(session, &batch, shutdown).await?;
            if !matches!(handed, Handed::GivenUp) {
                retrying.after = recorded.position;
            }
            let verdict = match handed {
                Handed::GivenUp => return Ok(()),
                Handed::Outcomes(outcomes) => {
                    self.count(std::iter::once(recorded).zip(&outcomes));
                    match outcomes.into_iter().next() {
                        Some(Outcome::Confirmed) => None,
                        Some(Outcome::Returned(reason)) => Some(parked(UNROUTABLE, reason)),
                        Some(Outcome::Nacked) | None => {
                            rejected += 1;
                            continue;
                        }
                    }
                }
                Handed::Refused(detail) => Some(parked(REFUSED, detail)),
            };
            match &verdict {
                None => tracing::info!(
                    position = recorded.position.0, event_key = %recorded.event.key,
                    "a dead letter is published"
                ),
                Some(parked) => tracing::warn!(
                    position = recorded.position.0, event_key = %recorded.event.key, reason = parked.reason, detail = %parked.detail,
                    "a dead letter was refused again and stays parked"
                ),
            }
            reader
                .settle_retry(recorded.position, verdict.as_ref(), (self.clock)())
                .await?;
        }
        if !is_full {
            retrying.after = Position(0);
        }
        if rejected == 0 {
            retrying.delays.reset();
            return Ok(());
        }
        let delay = retrying.delays.next_delay();
        retrying.due = Instant::now() + delay.max(RETRY_POLL);
        tracing::warn!(
            rejected,
            retry_in_ms = delay.as_millis() as u64,
            "RabbitMQ rejects dead letters that are to be published again: a queue is full"
        );
        Ok(())
    }
}
