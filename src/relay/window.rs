//! The events in flight and what is known of each: pure, so that every mixture of outcomes is a test.

use crate::broker::{self, Outcome};
use crate::event::{Position, Recorded};
use crate::store::Parked;

use super::{REFUSED, UNROUTABLE};

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Not sent, or its fate is unknown.
    Open {
        returns: u32,
    },
    Confirmed,
    Parked {
        reason: &'static str,
        detail: String,
    },
}

/// A run of the log that is being published.
pub(super) struct Window {
    events: Vec<Recorded>,
    states: Vec<State>,
    unroutable_attempts: u32,
    /// After a refusal that could be anybody's, events go one at a time, so that the next one is
    /// somebody's.
    one_by_one: bool,
    problem: String,
    /// What ended the session, if something did.
    pub(super) broken: Option<broker::Error>,
}

/// What may be told to the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// End of the contiguous settled prefix; `None` when not even the first event is settled.
    pub(super) upto: Option<Position>,
    pub(super) published: i64,
    pub(super) parked: Vec<Parked>,
}

impl Window {
    pub(super) fn new(events: Vec<Recorded>, unroutable_attempts: u32) -> Self {
        let states = vec![State::Open { returns: 0 }; events.len()];
        Self {
            events,
            states,
            unroutable_attempts,
            one_by_one: false,
            problem: String::new(),
            broken: None,
        }
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
        if self.one_by_one {
            open.take(1).collect()
        } else {
            open.collect()
        }
    }

    /// Takes what became of a round; whether all of it was confirmed.
    pub(super) fn note(&mut self, round: &[usize], outcomes: Vec<Outcome>) -> bool {
        let clean = outcomes
            .iter()
            .all(|outcome| *outcome == Outcome::Confirmed);
        for (index, outcome) in round.iter().zip(outcomes) {
            let State::Open { returns } = &mut self.states[*index] else {
                continue;
            };
            match outcome {
                Outcome::Confirmed => self.states[*index] = State::Confirmed,
                Outcome::Returned(reason) => {
                    *returns += 1;
                    self.problem.clone_from(&reason);
                    if self.unroutable_attempts <= *returns {
                        self.states[*index] = State::Parked {
                            reason: UNROUTABLE,
                            detail: reason,
                        };
                    }
                }
                // A full queue that rejects will have room again: to park would be to lose the order.
                Outcome::Nacked => "negative confirm".clone_into(&mut self.problem),
            }
        }
        clean
    }

    /// The broker closed the channel because of something in this round.
    pub(super) fn note_refusal(&mut self, round: &[usize], detail: &str) {
        detail.clone_into(&mut self.problem);
        match round {
            [only] => {
                self.states[*only] = State::Parked {
                    reason: REFUSED,
                    detail: detail.to_owned(),
                }
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

    pub(super) fn settled(&self) -> Settled {
        let mut settled = Settled {
            upto: None,
            published: 0,
            parked: Vec::new(),
        };
        for (recorded, state) in self.events.iter().zip(&self.states) {
            match state {
                State::Open { .. } => break,
                State::Confirmed => settled.published += 1,
                State::Parked { reason, detail } => settled.parked.push(Parked {
                    position: recorded.position,
                    reason,
                    detail: detail.clone(),
                }),
            }
            settled.upto = Some(recorded.position);
        }
        settled
    }
}
