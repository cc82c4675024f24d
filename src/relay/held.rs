//! Trying held tenants again, beside the windows.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lanes::Lanes;
use super::publish::Handed;
use super::{Ended, Relay};
use crate::broker::Session;
use crate::event::Recorded;
use crate::store::{self, RelayReader};

/// Held tenants tried in one batch.
const TENANTS_AT_ONCE: usize = 32;

impl Relay {
    /// The held tenants as the store knows them.
    pub(super) async fn held_lanes(&self) -> Result<Lanes, store::Error> {
        let held = self.store.held_tenants().await?;
        Ok(Lanes::new(
            held.into_iter().map(|held| held.tenant),
            self.settings.retry_delays,
            self.settings.unroutable_attempts,
            Instant::now(),
        ))
    }

    /// Publishes the oldest events of those held tenants whose time has come, as one batch; returns those that
    /// are held no more.
    pub(super) async fn try_held(
        &self,
        reader: &mut dyn RelayReader,
        session: &mut Session,
        lanes: &mut Lanes,
        shutdown: &CancellationToken,
    ) -> Result<Vec<String>, Ended> {
        let (tried, mut released) = self.read_held(reader, lanes).await?;
        if tried.is_empty() {
            return Ok(released);
        }
        let events = || tried.iter().flat_map(|(_, events)| events);
        let batch: Vec<_> = events().map(|one| self.message(one)).collect();
        let handed = self.hand_over(session, &batch, shutdown).await?;
        let now = Instant::now();
        let mut settled = Vec::new();
        match handed {
            Handed::GivenUp => return Ok(released),
            Handed::Outcomes(outcomes) => {
                self.count(events().zip(&outcomes));
                let most = usize::try_from(self.settings.window).unwrap_or(usize::MAX);
                let mut outcomes = outcomes.into_iter();
                for (tenant, events) in &tried {
                    let own = outcomes.by_ref().take(events.len());
                    settled.push(lanes.note(tenant, events, own, most, now));
                }
            }
            Handed::Refused(detail) => settled.extend(lanes.note_refusal(&tried, &detail, now)),
        }
        settled.retain(|one| !one.published.is_empty() || !one.parked.is_empty());
        if settled.is_empty() {
            return Ok(released);
        }
        let over = reader.settle_held(&settled, (self.clock)()).await?;
        for one in &settled {
            self.tell_parked(&one.parked);
        }
        for tenant in &over {
            lanes.release(tenant);
            tracing::info!(
                tenant,
                "RabbitMQ takes everything of a tenant that was held"
            );
        }
        released.extend(over);
        Ok(released)
    }

    /// What is to be tried now, at most a window of events; and tenants that have none any more, released.
    async fn read_held(
        &self,
        reader: &mut dyn RelayReader,
        lanes: &mut Lanes,
    ) -> Result<(Vec<(String, Vec<Recorded>)>, Vec<String>), store::Error> {
        let (mut tried, mut released) = (Vec::new(), Vec::new());
        let (mut room, mut bytes) = (self.settings.window, self.settings.window_bytes);
        for (tenant, take) in lanes.due(Instant::now(), TENANTS_AT_ONCE) {
            if room <= 0 || bytes <= 0 {
                break;
            }
            let take = i64::try_from(take).unwrap_or(i64::MAX).min(room);
            let events = reader.held(&tenant, take, bytes).await?;
            if events.is_empty() {
                // A person erased them.
                tracing::warn!(tenant, "the events of a held tenant are gone");
                lanes.release(&tenant);
                released.push(tenant);
                continue;
            }
            room -= events.len() as i64;
            bytes -= events
                .iter()
                .map(|one| one.event.body.len() as i64)
                .sum::<i64>();
            tried.push((tenant, events));
        }
        Ok((tried, released))
    }
}
