//! Every mixture of outcomes, and what may be told to the store then.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::event::recorded::recorded;
use Outcome::{Confirmed, Nacked};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig as Config, Strategy, prop_oneof, proptest};
use proptest::{prop_assert, prop_assert_eq};

const ATTEMPTS: u32 = 3;

/// A window of events at the positions 11, 12, ...
fn window(count: i64) -> Window {
    let events = (11..11 + count).map(|position| recorded(position, ""));
    Window::new(events.collect(), &lanes())
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

fn settled(upto: Option<i64>, published: i64, parked: Vec<Parked>) -> Option<Settled> {
    upto.map(|upto| Settled {
        upto: Position(upto),
        published,
        parked,
        held: Vec::new(),
    })
}

/// Nobody is held, and nobody has got through.
fn lanes() -> Lanes {
    let delays = (Duration::from_millis(100), Duration::from_secs(10));
    Lanes::new([], delays, ATTEMPTS, Instant::now())
}

fn note(window: &mut Window, round: &[usize], outcomes: Vec<Outcome>) -> bool {
    window.note(round, outcomes, &mut lanes(), Instant::now())
}

/// What became of everything that is open.
fn note_all(window: &mut Window, outcomes: Vec<Outcome>) -> bool {
    let round = window.round();
    note(window, &round, outcomes)
}

/// What could be told to the store, left where it is.
fn peek(window: &Window) -> Option<Settled> {
    let copy = |range: &[Recorded]| range.to_vec();
    let mut window = Window {
        events: copy(&window.events),
        states: window.states.clone(),
        one_by_one: window.one_by_one,
        in_vain: window.in_vain.clone(),
        problem: String::new(),
        broken: None,
    };
    window.settle()
}

#[test]
fn a_window_is_published_whole_and_settled_whole() {
    let mut window = window(3);
    assert_eq!(window.round(), [0, 1, 2]);
    assert_eq!(window.unsettled(), 3);
    assert!(note(&mut window, &[0, 1, 2], vec![Confirmed; 3]));
    assert!(window.round().is_empty());
    assert_eq!(window.unsettled(), 0);
    assert_eq!(peek(&window), settled(Some(13), 3, vec![]));
}

#[test]
fn nothing_is_settled_before_the_first_event_is() {
    let mut window = window(3);
    assert_eq!(peek(&window), settled(None, 0, vec![]));
    assert!(!note(
        &mut window,
        &[0, 1, 2],
        vec![Nacked, Confirmed, Confirmed]
    ));
    assert_eq!(peek(&window), settled(None, 0, vec![]));
    assert_eq!(window.round(), [0]);
    assert_eq!(window.problem(), "negative confirm");
    assert!(note(&mut window, &[0], vec![Confirmed]));
    assert_eq!(peek(&window), settled(Some(13), 3, vec![]));
}

#[test]
fn only_what_is_still_open_is_published_again_and_in_order() {
    let mut window = window(6);
    let outcomes = vec![Confirmed, Nacked, Confirmed, returned(), Confirmed, Nacked];
    assert!(!note_all(&mut window, outcomes));
    assert_eq!(window.round(), [1, 3, 5]);
    assert_eq!(window.unsettled(), 3);
    assert_eq!(peek(&window), settled(Some(11), 1, vec![]));
    assert!(!note(
        &mut window,
        &[1, 3, 5],
        vec![Confirmed, Nacked, Confirmed]
    ));
    assert_eq!(window.round(), [3]);
    assert_eq!(peek(&window), settled(Some(13), 3, vec![]));
}

#[test]
fn an_event_without_a_queue_is_parked_after_its_last_attempt_and_not_before() {
    let mut window = window(2);
    assert!(!note(&mut window, &[0, 1], vec![returned(), Confirmed]));
    for _ in 2..ATTEMPTS {
        assert_eq!(window.round(), [0]);
        assert_eq!(peek(&window), settled(None, 0, vec![]));
        assert!(!note(&mut window, &[0], vec![returned()]));
    }
    assert_eq!(window.round(), [0]);
    assert!(!note(&mut window, &[0], vec![returned()]));
    assert!(window.round().is_empty());
    assert_eq!(window.problem(), "312 NO_ROUTE");
    let expected = settled(Some(12), 1, vec![parked_at(11, UNROUTABLE, "312 NO_ROUTE")]);
    assert_eq!(peek(&window), expected);
}

#[test]
fn an_event_that_a_queue_rejects_is_never_parked() {
    let mut window = window(1);
    for _ in 0..10 * ATTEMPTS {
        assert!(!note(&mut window, &[0], vec![Nacked]));
        assert_eq!(window.round(), [0]);
    }
    assert_eq!(peek(&window), settled(None, 0, vec![]));
    // Rejections do not count towards the attempts of an event without a queue either.
    assert!(!note(&mut window, &[0], vec![returned()]));
    assert_eq!(window.unsettled(), 1);
}

#[test]
fn after_a_refusal_events_go_one_at_a_time_until_the_culprit_is_parked() {
    let mut window = window(4);
    assert!(!note_all(
        &mut window,
        vec![Confirmed, Nacked, Nacked, Nacked]
    ));
    let round = window.round();
    assert_eq!(round, [1, 2, 3]);
    window.note_refusal(&round, "406 too large");
    // Nobody is parked for what may be another's fault, and what was settled stays so.
    assert_eq!(peek(&window), settled(Some(11), 1, vec![]));
    assert_eq!(window.unsettled(), 3);
    assert_eq!(window.round(), [1]);
    assert!(note(&mut window, &[1], vec![Confirmed]));
    assert_eq!(window.round(), [2]);
    window.note_refusal(&[2], "406 too large");
    assert_eq!(window.problem(), "406 too large");
    assert_eq!(window.round(), [3]);
    assert!(note(&mut window, &[3], vec![Confirmed]));
    assert!(window.round().is_empty());
    let expected = settled(Some(14), 3, vec![parked_at(13, REFUSED, "406 too large")]);
    assert_eq!(peek(&window), expected);
}

#[test]
fn one_at_a_time_the_first_open_event_is_tried_until_it_is_settled() {
    let mut window = window(3);
    window.note_refusal(&[0, 1, 2], "406");
    assert_eq!(window.round(), [0]);
    assert!(!note(&mut window, &[0], vec![Nacked]));
    assert_eq!(window.round(), [0]);
    assert!(note(&mut window, &[0], vec![Confirmed]));
    assert_eq!(window.round(), [1]);
}

#[test]
fn a_refused_event_alone_is_parked_at_once() {
    let mut window = window(1);
    window.note_refusal(&[0], "406 too large");
    assert!(window.round().is_empty());
    let expected = settled(Some(11), 0, vec![parked_at(11, REFUSED, "406 too large")]);
    assert_eq!(peek(&window), expected);
}

#[test]
fn an_event_keeps_its_first_verdict() {
    let mut window = window(1);
    assert!(note(&mut window, &[0], vec![Confirmed]));
    note(&mut window, &[0], vec![returned()]);
    assert_eq!(peek(&window), settled(Some(11), 1, vec![]));
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
        let clean = note_all(&mut window, outcomes);
        assert_eq!(clean, mixture == 0, "{mixture}");
        let upto = (prefix > 0).then_some(10 + prefix);
        assert_eq!(peek(&window), settled(upto, prefix, vec![]), "{mixture}");
        let open = window.round();
        assert_eq!(open.len(), window.unsettled());
        assert!(note(&mut window, &open, vec![Confirmed; open.len()]));
        let all = settled(Some(10 + COUNT), COUNT, vec![]);
        assert_eq!(peek(&window), all, "{mixture}");
    }
}

#[test]
fn an_empty_window_has_nothing_to_say() {
    let window = window(0);
    assert!(window.round().is_empty());
    assert_eq!(peek(&window), settled(None, 0, vec![]));
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
        // Rounds that followed at once though nothing got through or was parked.
        let mut in_vain = 0;
        for answer in answers {
            let open: Vec<_> = (0..count).filter(|n| fates[*n].is_none()).collect();
            let round = window.round();
            let is_one = round.len() == 1 && open.contains(&round[0]);
            prop_assert!(round == open || is_one, "{round:?} of {open:?}");
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
                    let goes_on = note(&mut window, &round, outcomes);
                    prop_assert!(goes_on || !clean);
                    let has_settled = round.iter().any(|index| fates[*index].is_some());
                    in_vain = if has_settled || !goes_on { 0 } else { in_vain + 1 };
                    // Each tenant once, then the broker is left alone for a while.
                    prop_assert!(in_vain < count, "it never rests");
                    prop_assert_eq!(peek(&window), expected(&fates));
                    continue;
                }
            }
            window.note_refusal(&round, "406");
            prop_assert_eq!(peek(&window), expected(&fates));
        }
        prop_assert_eq!(window.unsettled(), fates.iter().filter(|fate| fate.is_none()).count());
        // A broker that confirms ends it, however it began.
        for _ in 0..count {
            let round = window.round();
            note(&mut window, &round, vec![Confirmed; round.len()]);
        }
        let rest = fates.into_iter().map(|fate| Some(fate.unwrap_or("")));
        prop_assert_eq!(peek(&window), expected(&rest.collect::<Vec<_>>()));
    }
}

/// The settled prefix of these fates, and no more.
fn expected(fates: &[Option<&'static str>]) -> Option<Settled> {
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

/// Events of these tenants at the positions 11, 12, ...
fn window_of(tenants: &[&str], lanes: &Lanes) -> Window {
    let events = (11..)
        .zip(tenants)
        .map(|(position, tenant)| recorded(position, tenant));
    Window::new(events.collect(), lanes)
}

fn held(tenant: &str, reason: &'static str, detail: &str, positions: &[i64]) -> Held {
    Held {
        tenant: tenant.to_owned(),
        reason,
        detail: detail.to_owned(),
        positions: positions.iter().copied().map(Position).collect(),
    }
}

#[test]
fn a_tenant_whose_event_is_rejected_waits_with_all_that_follows_and_nobody_else_does() {
    let (mut lanes, now) = (lanes(), Instant::now());
    let mut window = window_of(&["a", "b", "a", "b", "c"], &lanes);
    // The second event of `a` is out already: it was published with the first one.
    let outcomes = vec![Nacked, Confirmed, Confirmed, Confirmed, returned()];
    let round = window.round();
    assert!(
        window.note(&round, outcomes, &mut lanes, now),
        "nobody waits"
    );
    assert!(window.round().is_empty());
    let expected = Settled {
        held: vec![
            held("a", REJECTED, "negative confirm", &[11]),
            held("c", UNROUTABLE, "312 NO_ROUTE", &[15]),
        ],
        ..settled(Some(15), 3, vec![]).unwrap()
    };
    assert_eq!(window.settle(), Some(expected));
    assert_eq!(window.last(), None);

    let mut window = window_of(&["a", "b", "c", "a"], &lanes);
    assert_eq!(window.round(), [1], "the others are not published");
    assert!(window.note(&[1], vec![Confirmed], &mut lanes, now));
    let expected = Settled {
        held: vec![held("a", "", "", &[11, 14]), held("c", "", "", &[13])],
        ..settled(Some(14), 1, vec![]).unwrap()
    };
    assert_eq!(window.settle(), Some(expected));
}

#[test]
fn a_tenant_is_held_as_a_whole_also_where_events_go_one_at_a_time() {
    let (mut lanes, now) = (lanes(), Instant::now());
    let mut window = window_of(&["a", "b", "b", "a", "b"], &lanes);
    let round = window.round();
    window.note_refusal(&round, "406");
    assert!(window.note(&[0], vec![Confirmed], &mut lanes, now));
    assert!(window.note(&[1], vec![Nacked], &mut lanes, now));
    assert_eq!(window.round(), [3]);
    assert!(window.note(&[3], vec![Confirmed], &mut lanes, now));
    let expected = Settled {
        held: vec![held("b", REJECTED, "negative confirm", &[12, 13, 15])],
        ..settled(Some(15), 2, vec![]).unwrap()
    };
    assert_eq!(window.settle(), Some(expected));
}

/// Of several tenants with full queues none is tried for ever while others could get through.
#[test]
fn one_at_a_time_a_refused_tenant_keeps_nobody_from_his_turn() {
    let (mut lanes, now) = (lanes(), Instant::now());
    let mut window = window_of(&["a", "a", "b", "c", "a"], &lanes);
    window.note_refusal(&[0, 1, 2, 3, 4], "406");
    for (turn, index) in [(1, 0), (2, 2)] {
        assert_eq!(window.round(), [index], "turn {turn}");
        let goes_on = window.note(&[index], vec![Nacked], &mut lanes, now);
        assert!(goes_on, "turn {turn}: others are left");
    }
    assert_eq!(window.round(), [3]);
    assert!(window.note(&[3], vec![Confirmed], &mut lanes, now));
    // `c` has shown that the broker takes events: now it is known whose affair it is.
    assert_eq!(window.round(), [0]);
    assert!(window.note(&[0], vec![Nacked], &mut lanes, now));
    assert!(lanes.holds("a") && !lanes.holds("b"));

    // Where nobody gets through, the relay waits after each has been tried, and begins anew.
    let mut window = window_of(&["d", "e"], &lanes);
    window.note_refusal(&[0, 1], "406");
    assert!(window.note(&[0], vec![Nacked], &mut lanes, now));
    assert!(!window.note(&[1], vec![Nacked], &mut lanes, now));
    assert_eq!(window.round(), [0]);
}

#[test]
fn where_nobody_got_through_the_window_waits_and_is_settled_as_far_as_it_goes() {
    let (mut lanes, now) = (lanes(), Instant::now());
    let mut window = window_of(&["a", "b", "c"], &lanes);
    assert!(!window.note(&[0, 1, 2], vec![Nacked; 3], &mut lanes, now));
    assert_eq!(window.settle(), None);
    assert_eq!(window.round(), [0, 1, 2]);
    let outcomes = vec![Confirmed, Nacked, Nacked];
    assert!(
        window.note(&[0, 1, 2], outcomes, &mut lanes, now),
        "now `a` did"
    );
    assert!(lanes.holds("b") && lanes.holds("c") && !lanes.holds("a"));
}

#[test]
fn what_is_given_up_at_once_holds_nobody() {
    let now = Instant::now();
    let delays = (Duration::from_millis(100), Duration::from_secs(10));
    let mut lanes = Lanes::new([], delays, 1, now);
    let mut window = window_of(&["a", "b"], &lanes);
    assert!(!window.note(&[0, 1], vec![returned(), Confirmed], &mut lanes, now));
    assert!(!lanes.holds("a"));
    let letter = parked_at(11, UNROUTABLE, "312 NO_ROUTE");
    assert_eq!(window.settle(), settled(Some(12), 1, vec![letter]));
}

#[test]
fn the_settled_prefix_leaves_the_window_and_the_rest_goes_on() {
    let mut window = window(4);
    assert!(!note_all(
        &mut window,
        vec![Confirmed, Nacked, Confirmed, Nacked]
    ));
    assert_eq!(window.settle(), settled(Some(11), 1, vec![]));
    assert_eq!(window.settle(), None);
    assert_eq!(
        (window.round(), window.last()),
        (vec![0, 2], Some(Position(14)))
    );
    assert_eq!(window.event(2).position, Position(14));
    assert!(note_all(&mut window, vec![Confirmed; 2]));
    assert_eq!(window.settle(), settled(Some(14), 3, vec![]));
    assert_eq!((window.unsettled(), window.last()), (0, None));
}

#[test]
fn what_waits_in_the_window_with_a_tenant_that_is_released_goes_on_in_order() {
    let (mut lanes, now) = (lanes(), Instant::now());
    lanes.got_through(["c"].into_iter());
    assert!(lanes.hold(&BTreeSet::from(["a".to_owned()]), now));
    let mut window = window_of(&["b", "a", "b", "a"], &lanes);
    assert!(!window.note(&[0, 2], vec![Nacked; 2], &mut lanes, now));
    assert_eq!(window.settle(), None);
    lanes.release("a");
    window.release("a");
    assert_eq!(window.round(), [0, 1, 2, 3]);
    assert!(window.note(&[0, 1, 2, 3], vec![Confirmed; 4], &mut lanes, now));
    assert_eq!(window.settle(), settled(Some(14), 4, vec![]));
}
