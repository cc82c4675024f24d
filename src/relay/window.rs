//! The events in flight and what is known of each: pure, so that every mixture of outcomes is a test.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::broker::{self, Outcome};
use crate::event::{Position, Recorded};
use crate::failpoints;
use crate::store::{Held, Parked, Settled};

use super::lanes::Lanes;
use super::{REFUSED, REJECTED, UNROUTABLE, lane};

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Not sent, or its fate is unknown.
    Open {
        returns: u32,
    },
    Settled(Fate),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Confirmed,
    Parked {
        reason: &'static str,
        detail: String,
    },
    /// Waits with its tenant; the reason is with the event for which the tenant was held.
    Held {
        reason: &'static str,
        detail: String,
    },
}

impl Fate {
    fn behind() -> Self {
        Self::Held {
            reason: "",
            detail: String::new(),
        }
    }
}

/// A run of the log that is being published.
pub(super) struct Window {
    events: Vec<Recorded>,
    states: Vec<State>,
    /// After a refusal that could be anybody's, events go one at a time, so that the next one is
    /// somebody's.
    one_by_one: bool,
    /// Tenants whose events were tried alone, in vain, since one got through: those of others are tried before
    /// them again, for only somebody who gets through shows that it is their affair and nobody else's.
    in_vain: BTreeSet<String>,
    problem: String,
    /// What ended the session, if something did.
    pub(super) broken: Option<broker::Error>,
}

impl Window {
    /// Events of tenants that are held already are not published.
    pub(super) fn new(events: Vec<Recorded>, lanes: &Lanes) -> Self {
        let state = |recorded| match lanes.holds(lane(recorded)) {
            true => State::Settled(Fate::behind()),
            false => State::Open { returns: 0 },
        };
        Self {
            states: events.iter().map(state).collect(),
            events,
            one_by_one: false,
            in_vain: BTreeSet::new(),
            problem: String::new(),
            broken: None,
        }
    }

    /// Where it ends; `None` when nothing is left of it.
    pub(super) fn last(&self) -> Option<Position> {
        self.events.last().map(|recorded| recorded.position)
    }

    pub(super) fn event(&self, index: usize) -> &Recorded {
        &self.events[index]
    }

    /// Which events to publish now, in order; empty when all are settled.
    pub(super) fn round(&self) -> Vec<usize> {
        let open = self
            .states
            .iter()
            .enumerate()
            .filter(|(_, state)| matches!(state, State::Open { .. }));
        let open = open.map(|(index, _)| index);
        if failpoints::mutant("mutant.M6") {
            // Four workers that each claim rows of their own, one after the other.
            let mut claimed: Vec<_> = open.collect();
            claimed.sort_by_key(|index| index % 4);
            return claimed;
        }
        if self.one_by_one {
            let others = |index: &usize| !self.in_vain.contains(lane(&self.events[*index]));
            open.filter(others).take(1).collect()
        } else {
            open.collect()
        }
    }

    /// Takes what became of a round; whether the next one may follow at once.
    pub(super) fn note(
        &mut self,
        round: &[usize],
        outcomes: Vec<Outcome>,
        lanes: &mut Lanes,
        now: Instant,
    ) -> bool {
        let of = |index: &usize| lane(&self.events[*index]);
        let confirmed = round.iter().zip(&outcomes);
        let confirmed = confirmed.filter(|(_, outcome)| **outcome == Outcome::Confirmed);
        lanes.got_through(confirmed.map(|(index, _)| of(index)));
        if outcomes.contains(&Outcome::Confirmed) {
            self.in_vain.clear();
        }
        let mut refused: BTreeMap<String, (&'static str, String)> = BTreeMap::new();
        let mut clean = true;
        for (index, outcome) in round.iter().zip(outcomes) {
            let State::Open { returns } = &mut self.states[*index] else {
                continue;
            };
            let (reason, detail) = match outcome {
                Outcome::Confirmed => {
                    self.states[*index] = State::Settled(Fate::Confirmed);
                    continue;
                }
                Outcome::Returned(detail) => {
                    *returns += 1;
                    (UNROUTABLE, detail)
                }
                // A full queue that rejects will have room again: to park would be to lose the order.
                Outcome::Nacked => (REJECTED, "negative confirm".to_owned()),
            };
            clean = false;
            self.problem.clone_from(&detail);
            if reason == UNROUTABLE && lanes.gives_up(*returns) {
                self.states[*index] = State::Settled(Fate::Parked { reason, detail });
            } else {
                let tenant = lane(&self.events[*index]).to_owned();
                refused.entry(tenant).or_insert((reason, detail));
            }
        }
        let tenants: BTreeSet<_> = refused.keys().cloned().collect();
        if !lanes.hold(&tenants, now) {
            return clean || self.asks_others(tenants);
        }
        self.in_vain.clear();
        for (recorded, state) in self.events.iter().zip(&mut self.states) {
            let State::Open { returns } = *state else {
                continue;
            };
            let tenant = lane(recorded);
            if lanes.holds(tenant) {
                lanes.count_returns(tenant, recorded.position, returns);
                // The first of a tenant says why.
                *state = State::Settled(match refused.remove(tenant) {
                    Some((reason, detail)) => Fate::Held { reason, detail },
                    None => Fate::behind(),
                });
            }
        }
        true
    }

    /// Where events go one at a time, those of other tenants come next; whether there are any. Once all were tried, the
    /// first one is the next again.
    fn asks_others(&mut self, tenants: BTreeSet<String>) -> bool {
        if !self.one_by_one {
            return false;
        }
        self.in_vain.extend(tenants);
        let is_left = !self.round().is_empty();
        if !is_left {
            self.in_vain.clear();
        }
        is_left
    }

    /// A tenant is held no more: what waits with it here, behind events that are still open, goes on.
    pub(super) fn release(&mut self, tenant: &str) {
        for (recorded, state) in self.events.iter().zip(&mut self.states) {
            if matches!(state, State::Settled(Fate::Held { .. })) && lane(recorded) == tenant {
                *state = State::Open { returns: 0 };
            }
        }
    }

    /// The broker closed the channel because of something in this round.
    pub(super) fn note_refusal(&mut self, round: &[usize], detail: &str) {
        detail.clone_into(&mut self.problem);
        match round {
            [only] => {
                self.states[*only] = State::Settled(Fate::Parked {
                    reason: REFUSED,
                    detail: detail.to_owned(),
                })
            }
            _ => self.one_by_one = true,
        }
    }

    pub(super) fn unsettled(&self) -> usize {
        self.states
            .iter()
            .filter(|state| matches!(state, State::Open { .. }))
            .count()
    }

    pub(super) fn problem(&self) -> &str {
        &self.problem
    }

    /// Takes the contiguous settled prefix out of the window: what may be told to the store. `None` when not
    /// even the first event is settled.
    pub(super) fn settle(&mut self) -> Option<Settled> {
        let is_open = |state: &State| matches!(state, State::Open { .. });
        let prefix = self.states.iter().position(is_open);
        let prefix = prefix.unwrap_or(self.states.len());
        let mut settled = Settled::default();
        for (recorded, state) in self.events.drain(..prefix).zip(self.states.drain(..prefix)) {
            let State::Settled(fate) = state else {
                break;
            };
            settled.upto = recorded.position;
            match fate {
                Fate::Confirmed => settled.published += 1,
                Fate::Parked { reason, detail } => settled.parked.push(Parked {
                    position: recorded.position,
                    reason,
                    detail,
                }),
                Fate::Held { reason, detail } => {
                    let tenant = lane(&recorded);
                    match settled.held.iter_mut().find(|held| held.tenant == tenant) {
                        Some(held) => held.positions.push(recorded.position),
                        None => settled.held.push(Held {
                            tenant: tenant.to_owned(),
                            reason,
                            detail,
                            positions: vec![recorded.position],
                        }),
                    }
                }
            }
        }
        (0 < prefix).then_some(settled)
    }
}

#[cfg(test)]
mod tests;
