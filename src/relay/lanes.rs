//! Which tenants are held, and what becomes of their events: pure, as the window is.
//!
//! A tenant is held when RabbitMQ refuses an event of it (its queue is full, nothing is bound for it) and
//! takes those of others: then the broker is well, and nobody else has to wait. Its events go on waiting in
//! the log, in order, and are tried with delays of their own. Where nobody's events are taken, nobody is
//! held: the relay waits as a whole.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Outcome;
use crate::event::{Position, Recorded};
use crate::retry::Delays;
use crate::store::{Parked, SettledHeld};

use super::{REFUSED, UNROUTABLE};

/// Tenants held at once. Beyond, it is no longer the affair of a few.
const MOST: usize = 256;
/// How many of the last tenants that got through are remembered.
const WITNESSES: usize = 16;

/// The tenants that are held.
pub(super) struct Lanes {
    held: HashMap<String, Lane>,
    /// Tenants whose events got through since a tenant was held for the last time.
    witnesses: VecDeque<String>,
    delays: (Duration, Duration),
    unroutable_attempts: u32,
}

/// One tenant's way out.
struct Lane {
    delays: Delays,
    /// When it is tried again.
    due: Instant,
    /// How many of its events are tried at once; grows while they get through.
    take: usize,
    /// The channel was closed on a batch with an event of it: the next one goes alone.
    suspect: bool,
    /// How often an event came back.
    returns: HashMap<Position, u32>,
}

impl Lane {
    fn new((first, cap): (Duration, Duration), due: Instant) -> Self {
        Self {
            delays: Delays::new(first, cap),
            due,
            take: 1,
            suspect: false,
            returns: HashMap::new(),
        }
    }
}

impl Lanes {
    /// With the tenants that the store says are held; they are due at once.
    pub(super) fn new(
        tenants: impl IntoIterator<Item = String>,
        delays: (Duration, Duration),
        unroutable_attempts: u32,
        now: Instant,
    ) -> Self {
        let lane = |tenant| (tenant, Lane::new(delays, now));
        Self {
            held: tenants.into_iter().map(lane).collect(),
            witnesses: VecDeque::new(),
            delays,
            unroutable_attempts,
        }
    }

    /// Whether events of this tenant have to wait.
    pub(super) fn holds(&self, tenant: &str) -> bool {
        !self.held.is_empty() && self.held.contains_key(tenant)
    }

    /// An event without a queue that came back so often is given up.
    pub(super) fn gives_up(&self, returns: u32) -> bool {
        self.unroutable_attempts <= returns
    }

    /// Remembers whose events got through.
    pub(super) fn got_through<'a>(&mut self, tenants: impl DoubleEndedIterator<Item = &'a str>) {
        for tenant in tenants.rev().take(WITNESSES) {
            if self.witnesses.iter().any(|known| known == tenant) {
                continue;
            }
            if self.witnesses.len() == WITNESSES {
                self.witnesses.pop_front();
            }
            self.witnesses.push_back(tenant.to_owned());
        }
    }

    /// Holds the tenants of refused events, if somebody else's got through; whether it did.
    pub(super) fn hold(&mut self, refused: &BTreeSet<String>, now: Instant) -> bool {
        let others = |witness: &String| !refused.contains(witness);
        let is_common = !self.witnesses.iter().any(others);
        if refused.is_empty() || is_common || MOST < self.held.len() + refused.len() {
            return false;
        }
        self.witnesses.clear();
        for tenant in refused {
            let mut lane = Lane::new(self.delays, now);
            lane.due = now + lane.delays.next_delay();
            self.held.insert(tenant.clone(), lane);
        }
        true
    }

    /// How often an event has come back already, before its tenant was held.
    pub(super) fn count_returns(&mut self, tenant: &str, position: Position, returns: u32) {
        if let Some(lane) = self.held.get_mut(tenant) {
            lane.returns.insert(position, returns);
        }
    }

    /// Who is to be tried now and with how many events, the longest due first, at most `count` tenants.
    pub(super) fn due(&self, now: Instant, count: usize) -> Vec<(String, usize)> {
        let mut due: Vec<_> = self
            .held
            .iter()
            .filter(|(_, lane)| lane.due <= now)
            .collect();
        due.sort_by_key(|(_, lane)| lane.due);
        let one = |(tenant, lane): &(&String, &Lane)| ((*tenant).clone(), lane.take);
        match due.iter().find(|(_, lane)| lane.suspect) {
            Some((tenant, _)) => vec![((*tenant).clone(), 1)],
            None => due.iter().take(count).map(one).collect(),
        }
    }

    /// When somebody is to be tried next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.values().map(|lane| lane.due).min()
    }

    /// Takes what became of a tenant's events; `most` bounds how many are tried at once from now on.
    pub(super) fn note(
        &mut self,
        tenant: &str,
        events: &[Recorded],
        outcomes: impl IntoIterator<Item = Outcome>,
        most: usize,
        now: Instant,
    ) -> SettledHeld {
        let mut settled = SettledHeld {
            tenant: tenant.to_owned(),
            ..SettledHeld::default()
        };
        let Some(lane) = self.held.get_mut(tenant) else {
            return settled;
        };
        lane.suspect = false;
        let mut nacked = false;
        for (recorded, outcome) in events.iter().zip(outcomes) {
            let position = recorded.position;
            match outcome {
                Outcome::Confirmed => settled.published.push(position),
                Outcome::Returned(detail) => {
                    let returns = lane.returns.entry(position).or_default();
                    *returns += 1;
                    if self.unroutable_attempts <= *returns {
                        settled.parked.push(Parked {
                            position,
                            reason: UNROUTABLE,
                            detail,
                        });
                    }
                }
                Outcome::Nacked => nacked = true,
            }
        }
        let done = settled.published.len() + settled.parked.len();
        for position in settled
            .published
            .iter()
            .chain(settled.parked.iter().map(|one| &one.position))
        {
            lane.returns.remove(position);
        }
        if 0 < done {
            lane.delays.reset();
        }
        if done == events.len() {
            lane.take = (lane.take * 2).min(most);
            lane.due = now;
        } else {
            lane.due = now + lane.delays.next_delay();
        }
        if nacked {
            // What is behind a full queue shall not overtake.
            lane.take = 1;
        }
        settled
    }

    /// The broker closed the channel on events of these tenants. Alone it was this very event, which is given
    /// up; else each of them is tried alone.
    pub(super) fn note_refusal(
        &mut self,
        tried: &[(String, Vec<Recorded>)],
        detail: &str,
        now: Instant,
    ) -> Option<SettledHeld> {
        if let [(tenant, events)] = tried
            && let [only] = events.as_slice()
        {
            let lane = self.held.get_mut(tenant)?;
            (lane.suspect, lane.due) = (false, now);
            lane.returns.remove(&only.position);
            return Some(SettledHeld {
                tenant: tenant.clone(),
                published: Vec::new(),
                parked: vec![Parked {
                    position: only.position,
                    reason: REFUSED,
                    detail: detail.to_owned(),
                }],
            });
        }
        for (tenant, _) in tried {
            if let Some(lane) = self.held.get_mut(tenant) {
                (lane.suspect, lane.take, lane.due) = (true, 1, now);
            }
        }
        None
    }

    /// Nothing of this tenant waits any more.
    pub(super) fn release(&mut self, tenant: &str) {
        self.held.remove(tenant);
    }
}

#[cfg(test)]
mod tests;
