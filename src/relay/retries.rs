//! Publishing again what a person asked for.

use tokio_util::sync::CancellationToken;

use super::{Ended, REFUSED, Relay, UNROUTABLE};
use crate::broker::{self, Outcome, Session};
use crate::store::{Parked, Reader};

impl Relay {
    /// Publishes dead letters that a person asked for again, one by one.
    pub(super) async fn take_retries(
        &self,
        reader: &mut dyn Reader,
        session: &mut Session,
        shutdown: &CancellationToken,
    ) -> Result<(), Ended> {
        const AT_ONCE: i64 = 50;
        for recorded in reader.retries(AT_ONCE).await? {
            let parked = |reason, detail| Parked {
                position: recorded.position,
                reason,
                detail,
            };
            let batch = [self.message(&recorded)];
            let Some(published) = self.publish(session, &batch, shutdown).await else {
                return Ok(());
            };
            let verdict = match published {
                Ok(outcomes) => match outcomes.into_iter().next() {
                    Some(Outcome::Confirmed) => None,
                    Some(Outcome::Returned(reason)) => Some(parked(UNROUTABLE, reason)),
                    Some(Outcome::Nacked) | None => continue,
                },
                Err(broker::Error::Refused { code, text }) => {
                    self.replace_session(session).await?;
                    Some(parked(REFUSED, format!("{code} {text}")))
                }
                Err(error) => return Err(error.into()),
            };
            let outcome = if verdict.is_some() {
                "returned"
            } else {
                "confirmed"
            };
            self.metrics
                .publish_outcomes
                .with_label_values(&[outcome])
                .inc();
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
        Ok(())
    }
}
