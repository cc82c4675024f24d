//! The events in flight and what is known of each: pure, so that every mixture of outcomes is a test.

use crate::broker::{self, Outcome};
use crate::event::{Position, Recorded};
use crate::failpoints;
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
        if failpoints::mutant("mutant.M6") {
            // Four workers that each claim rows of their own, one after the other.
            let mut claimed: Vec<_> = open.collect();
            claimed.sort_by_key(|index| index % 4);
            return claimed;
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{BodyHash, Event, EventKey, Micros, Origin, Tenant};
    use Outcome::{Confirmed, Nacked};
    use proptest::collection::vec;
    use proptest::prelude::{Just, ProptestConfig as Config, Strategy, prop_oneof, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    const ATTEMPTS: u32 = 3;

    /// A window of events at the positions 11, 12, ...
    fn window(count: i64) -> Window {
        let events = (0..count).map(|n| Recorded {
            position: Position(11 + n),
            event: Event {
                key: EventKey::from_stored(format!("event-{n}")),
                app_id: "app".to_owned(),
                event_type: "ContactCreate".to_owned(),
                tenant: Tenant::default(),
                entity_id: None,
                origin: Origin::Webhook,
                signature: None,
                received_at: Micros(0),
                body_hash: BodyHash::of(b""),
                body: bytes::Bytes::new(),
            },
        });
        Window::new(events.collect(), ATTEMPTS)
    }

    fn returned() -> Outcome {
        Outcome::Returned("312 NO_ROUTE".to_owned())
    }

    fn parked_at(position: i64, reason: &'static str, detail: &str) -> Parked {
        Parked {
            position: Position(position),
            reason,
            detail: detail.to_owned(),
        }
    }

    fn settled(upto: Option<i64>, published: i64, parked: Vec<Parked>) -> Settled {
        Settled {
            upto: upto.map(Position),
            published,
            parked,
        }
    }

    #[test]
    fn a_window_is_published_whole_and_settled_whole() {
        let mut window = window(3);
        assert_eq!(window.round(), [0, 1, 2]);
        assert_eq!(window.unsettled(), 3);
        assert!(window.note(&[0, 1, 2], vec![Confirmed; 3]));
        assert!(window.round().is_empty());
        assert_eq!(window.unsettled(), 0);
        assert_eq!(window.settled(), settled(Some(13), 3, vec![]));
    }

    #[test]
    fn nothing_is_settled_before_the_first_event_is() {
        let mut window = window(3);
        assert_eq!(window.settled(), settled(None, 0, vec![]));
        assert!(!window.note(&[0, 1, 2], vec![Nacked, Confirmed, Confirmed]));
        assert_eq!(window.settled(), settled(None, 0, vec![]));
        assert_eq!(window.round(), [0]);
        assert_eq!(window.problem(), "negative confirm");
        assert!(window.note(&[0], vec![Confirmed]));
        assert_eq!(window.settled(), settled(Some(13), 3, vec![]));
    }

    #[test]
    fn only_what_is_still_open_is_published_again_and_in_order() {
        let mut window = window(6);
        let outcomes = vec![Confirmed, Nacked, Confirmed, returned(), Confirmed, Nacked];
        assert!(!window.note(&window.round(), outcomes));
        assert_eq!(window.round(), [1, 3, 5]);
        assert_eq!(window.unsettled(), 3);
        assert_eq!(window.settled(), settled(Some(11), 1, vec![]));
        assert!(!window.note(&[1, 3, 5], vec![Confirmed, Nacked, Confirmed]));
        assert_eq!(window.round(), [3]);
        assert_eq!(window.settled(), settled(Some(13), 3, vec![]));
    }

    #[test]
    fn an_event_without_a_queue_is_parked_after_its_last_attempt_and_not_before() {
        let mut window = window(2);
        assert!(!window.note(&[0, 1], vec![returned(), Confirmed]));
        for _ in 2..ATTEMPTS {
            assert_eq!(window.round(), [0]);
            assert_eq!(window.settled(), settled(None, 0, vec![]));
            assert!(!window.note(&[0], vec![returned()]));
        }
        assert_eq!(window.round(), [0]);
        assert!(!window.note(&[0], vec![returned()]));
        assert!(window.round().is_empty());
        assert_eq!(window.problem(), "312 NO_ROUTE");
        let expected = settled(Some(12), 1, vec![parked_at(11, UNROUTABLE, "312 NO_ROUTE")]);
        assert_eq!(window.settled(), expected);
    }

    #[test]
    fn an_event_that_a_queue_rejects_is_never_parked() {
        let mut window = window(1);
        for _ in 0..10 * ATTEMPTS {
            assert!(!window.note(&[0], vec![Nacked]));
            assert_eq!(window.round(), [0]);
        }
        assert_eq!(window.settled(), settled(None, 0, vec![]));
        // Rejections do not count towards the attempts of an event without a queue either.
        assert!(!window.note(&[0], vec![returned()]));
        assert_eq!(window.unsettled(), 1);
    }

    #[test]
    fn after_a_refusal_events_go_one_at_a_time_until_the_culprit_is_parked() {
        let mut window = window(4);
        assert!(!window.note(&window.round(), vec![Confirmed, Nacked, Nacked, Nacked]));
        let round = window.round();
        assert_eq!(round, [1, 2, 3]);
        window.note_refusal(&round, "406 too large");
        // Nobody is parked for what may be another's fault, and what was settled stays so.
        assert_eq!(window.settled(), settled(Some(11), 1, vec![]));
        assert_eq!(window.unsettled(), 3);
        assert_eq!(window.round(), [1]);
        assert!(window.note(&[1], vec![Confirmed]));
        assert_eq!(window.round(), [2]);
        window.note_refusal(&[2], "406 too large");
        assert_eq!(window.problem(), "406 too large");
        assert_eq!(window.round(), [3]);
        assert!(window.note(&[3], vec![Confirmed]));
        assert!(window.round().is_empty());
        let expected = settled(Some(14), 3, vec![parked_at(13, REFUSED, "406 too large")]);
        assert_eq!(window.settled(), expected);
    }

    #[test]
    fn one_at_a_time_the_first_open_event_is_tried_until_it_is_settled() {
        let mut window = window(3);
        window.note_refusal(&[0, 1, 2], "406");
        assert_eq!(window.round(), [0]);
        assert!(!window.note(&[0], vec![Nacked]));
        assert_eq!(window.round(), [0]);
        assert!(window.note(&[0], vec![Confirmed]));
        assert_eq!(window.round(), [1]);
    }

    #[test]
    fn a_refused_event_alone_is_parked_at_once() {
        let mut window = window(1);
        window.note_refusal(&[0], "406 too large");
        assert!(window.round().is_empty());
        let expected = settled(Some(11), 0, vec![parked_at(11, REFUSED, "406 too large")]);
        assert_eq!(window.settled(), expected);
    }

    #[test]
    fn an_event_keeps_its_first_verdict() {
        let mut window = window(1);
        assert!(window.note(&[0], vec![Confirmed]));
        window.note(&[0], vec![returned()]);
        assert_eq!(window.settled(), settled(Some(11), 1, vec![]));
    }

    #[test]
    fn every_mixture_of_outcomes_ends_settled_and_counts_each_event_once() {
        const COUNT: i64 = 4;
        // Every row of four outcomes for the first round, with what is left confirmed afterwards.
        for mixture in 0..3_u32.pow(COUNT as u32) {
            let mut window = window(COUNT);
            let digit = |n: u32| mixture / 3_u32.pow(n) % 3;
            let outcomes = (0..COUNT as u32).map(|n| match digit(n) {
                0 => Confirmed,
                1 => returned(),
                _ => Nacked,
            });
            let outcomes: Vec<_> = outcomes.collect();
            let prefix = outcomes.iter().take_while(|o| **o == Confirmed).count() as i64;
            let clean = window.note(&window.round(), outcomes);
            assert_eq!(clean, mixture == 0, "{mixture}");
            let upto = (prefix > 0).then_some(10 + prefix);
            assert_eq!(window.settled(), settled(upto, prefix, vec![]), "{mixture}");
            let open = window.round();
            assert_eq!(open.len(), window.unsettled());
            assert!(window.note(&open, vec![Confirmed; open.len()]));
            let all = settled(Some(10 + COUNT), COUNT, vec![]);
            assert_eq!(window.settled(), all, "{mixture}");
        }
    }

    #[test]
    fn an_empty_window_has_nothing_to_say() {
        let window = window(0);
        assert!(window.round().is_empty());
        assert_eq!(window.settled(), settled(None, 0, vec![]));
    }

    /// What the broker says to a round.
    #[derive(Debug, Clone)]
    enum Answer {
        Outcomes(Vec<Outcome>),
        Refusal,
    }

    fn answers() -> impl Strategy<Value = Vec<Answer>> {
        let outcome = prop_oneof![Just(Confirmed), Just(Nacked), Just(returned())];
        let answer = prop_oneof![
            4 => vec(outcome, 8).prop_map(Answer::Outcomes),
            1 => Just(Answer::Refusal),
        ];
        vec(answer, 0..24)
    }

    proptest! {
        #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

        #[test]
        fn whatever_the_broker_says_each_event_has_one_fate_and_the_cursor_leaves_nothing_behind(
            count in 0..8_usize,
            answers in answers(),
        ) {
            let mut window = window(count as i64);
            let mut returns = vec![0; count];
            // `Some("")` for published.
            let mut fates = vec![None; count];
            for answer in answers {
                let open: Vec<_> = (0..count).filter(|n| fates[*n].is_none()).collect();
                let round = window.round();
                prop_assert!(round == open || round == open[..1], "{round:?} of {open:?}");
                if round.is_empty() {
                    break;
                }
                match (answer, &*round) {
                    (Answer::Refusal, [only]) => fates[*only] = Some(REFUSED),
                    (Answer::Refusal, _) => (),
                    (Answer::Outcomes(outcomes), _) => {
                        for (index, outcome) in round.iter().zip(&outcomes) {
                            returns[*index] += u32::from(*outcome == returned());
                            if *outcome == Confirmed {
                                fates[*index] = Some("");
                            } else if returns[*index] == ATTEMPTS {
                                fates[*index] = Some(UNROUTABLE);
                            }
                        }
                        let outcomes = outcomes[..round.len()].to_vec();
                        let clean = outcomes.iter().all(|outcome| *outcome == Confirmed);
                        prop_assert_eq!(window.note(&round, outcomes), clean);
                        prop_assert_eq!(window.settled(), expected(&fates));
                        continue;
                    }
                }
                window.note_refusal(&round, "406");
                prop_assert_eq!(window.settled(), expected(&fates));
            }
            prop_assert_eq!(window.unsettled(), fates.iter().filter(|fate| fate.is_none()).count());
            // A broker that confirms ends it, however it began.
            for _ in 0..count {
                let round = window.round();
                window.note(&round, vec![Confirmed; round.len()]);
            }
            let rest = fates.into_iter().map(|fate| Some(fate.unwrap_or("")));
            prop_assert_eq!(window.settled(), expected(&rest.collect::<Vec<_>>()));
        }
    }

    /// The settled prefix of these fates, and no more.
    fn expected(fates: &[Option<&'static str>]) -> Settled {
        let prefix: Vec<_> = fates.iter().map_while(|fate| *fate).collect();
        let upto = (!prefix.is_empty()).then_some(10 + prefix.len() as i64);
        let published = prefix.iter().filter(|fate| fate.is_empty()).count();
        let parked = (11..).zip(&prefix).filter(|(_, fate)| !fate.is_empty());
        let parked = parked.map(|(position, fate)| match *fate {
            REFUSED => parked_at(position, fate, "406"),
            _ => parked_at(position, fate, "312 NO_ROUTE"),
        });
        settled(upto, published as i64, parked.collect())
    }
}
