//! Who is held, when, and what becomes of the events that wait.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::event::recorded::recorded;
use Outcome::{Confirmed, Nacked};

const ATTEMPTS: u32 = 3;
const MOST_EVENTS: usize = 8;
const FIRST: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(2);

fn lanes(tenants: &[&str], now: Instant) -> Lanes {
    let tenants = tenants.iter().map(|tenant| (*tenant).to_owned());
    Lanes::new(tenants, (FIRST, CAP), ATTEMPTS, now)
}

fn set(tenants: &[&str]) -> BTreeSet<String> {
    tenants.iter().map(|tenant| (*tenant).to_owned()).collect()
}

fn events(tenant: &str, positions: &[i64]) -> Vec<Recorded> {
    let one = |position: &i64| recorded(*position, tenant);
    positions.iter().map(one).collect()
}

fn returned() -> Outcome {
    Outcome::Returned("312 NO_ROUTE".to_owned())
}

fn due(lanes: &Lanes, now: Instant) -> Vec<(String, usize)> {
    lanes.due(now, 32)
}

fn is_due(tenant: &str, take: usize) -> Vec<(String, usize)> {
    vec![(tenant.to_owned(), take)]
}

#[test]
fn a_tenant_is_held_only_where_another_one_got_through_since_the_last_was() {
    let now = Instant::now();
    let mut lanes = lanes(&[], now);
    assert!(!lanes.hold(&set(&["a"]), now), "nobody got through");
    lanes.got_through(["a"].into_iter());
    assert!(!lanes.hold(&set(&["a"]), now), "only its own events did");
    lanes.got_through(["b", "a"].into_iter());
    assert!(!lanes.hold(&set(&["a", "b"]), now), "both are refused now");
    assert!(!lanes.hold(&set(&[]), now));
    assert!(lanes.hold(&set(&["a"]), now));
    assert!(lanes.holds("a") && !lanes.holds("b"));
    assert!(
        !lanes.hold(&set(&["c"]), now),
        "b got through before a was held"
    );
    lanes.got_through(["b"].into_iter());
    assert!(lanes.hold(&set(&["c", "d"]), now));
    assert!(lanes.holds("c") && lanes.holds("d"));
    lanes.release("a");
    assert!(!lanes.holds("a"));
}

#[test]
fn one_tenant_that_sends_much_does_not_drive_out_who_else_got_through() {
    let now = Instant::now();
    let mut lanes = lanes(&[], now);
    lanes.got_through(["b"].into_iter());
    for _ in 0..100 {
        lanes.got_through(["a"; 100].into_iter());
    }
    assert!(lanes.hold(&set(&["a"]), now));
}

#[test]
fn so_many_refused_tenants_are_no_longer_the_affair_of_a_few() {
    let now = Instant::now();
    let mut lanes = lanes(&[], now);
    let many: BTreeSet<_> = (0..MOST).map(|n| n.to_string()).collect();
    lanes.got_through(["a"].into_iter());
    assert!(lanes.hold(&many, now));
    lanes.got_through(["a"].into_iter());
    assert!(!lanes.hold(&set(&["b"]), now));
    lanes.release("7");
    assert!(lanes.hold(&set(&["b"]), now));
}

#[test]
fn what_is_rejected_is_tried_one_at_a_time_with_growing_delays_and_never_given_up() {
    let mut now = Instant::now();
    let mut lanes = lanes(&["a"], now);
    let mut delays = Vec::new();
    for _ in 0..20 {
        assert_eq!(due(&lanes, now), is_due("a", 1));
        let settled = lanes.note("a", &events("a", &[1]), [Nacked], MOST_EVENTS, now);
        assert!(settled.published.is_empty() && settled.parked.is_empty());
        let next = lanes.next_due().unwrap();
        assert!(due(&lanes, next - Duration::from_nanos(1)).is_empty());
        delays.push(next - now);
        now = next;
    }
    assert!(delays[0] <= FIRST * 3 / 2, "{delays:?}");
    assert!(delays.iter().all(|delay| *delay <= CAP), "{delays:?}");
    assert!(CAP / 2 <= delays[19], "{delays:?}");
}

#[test]
fn what_gets_through_is_followed_at_once_by_twice_as_many_up_to_the_bound() {
    let now = Instant::now();
    let mut lanes = lanes(&["a"], now);
    for take in [1, 2, 4, 8, 8] {
        assert_eq!(due(&lanes, now), is_due("a", take));
        let positions: Vec<_> = (1..=take as i64).collect();
        let settled = lanes.note(
            "a",
            &events("a", &positions),
            vec![Confirmed; take],
            MOST_EVENTS,
            now,
        );
        assert_eq!(settled.tenant, "a");
        assert_eq!(settled.published.len(), take);
    }
    let outcomes = [Confirmed, Nacked, Confirmed];
    let settled = lanes.note("a", &events("a", &[1, 2, 3]), outcomes, MOST_EVENTS, now);
    assert_eq!(settled.published, [Position(1), Position(3)]);
    assert!(due(&lanes, now).is_empty());
    assert_eq!(due(&lanes, now + FIRST * 3 / 2), is_due("a", 1));
}

#[test]
fn what_has_no_queue_is_given_up_after_its_attempts_and_those_before_count() {
    let now = Instant::now();
    let mut lanes = lanes(&["a"], now);
    lanes.count_returns("a", Position(1), ATTEMPTS - 2);
    let both = events("a", &[1, 2]);
    let note = |lanes: &mut Lanes, events: &[Recorded]| {
        lanes.note(
            "a",
            events,
            vec![returned(); events.len()],
            MOST_EVENTS,
            now,
        )
    };
    assert!(note(&mut lanes, &both).parked.is_empty());
    let settled = note(&mut lanes, &both);
    let expected = Parked {
        position: Position(1),
        reason: UNROUTABLE,
        detail: "312 NO_ROUTE".to_owned(),
    };
    assert_eq!(settled.parked, [expected]);
    assert!(!lanes.gives_up(ATTEMPTS - 1) && lanes.gives_up(ATTEMPTS));
    assert_eq!(note(&mut lanes, &both[1..]).parked.len(), 1);
    assert_eq!(due(&lanes, now), is_due("a", 2), "nothing was left of it");
}

#[test]
fn the_culprit_of_a_closed_channel_is_looked_for_alone_and_given_up() {
    let now = Instant::now();
    let mut lanes = lanes(&["a", "b"], now);
    let tried = |tenant: &str, positions: &[i64]| (tenant.to_owned(), events(tenant, positions));
    let batch = [tried("a", &[1]), tried("b", &[2, 4])];
    assert_eq!(lanes.note_refusal(&batch, "406", now), None);
    let alone = due(&lanes, now);
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0].1, 1);
    let first = alone[0].0.clone();
    let sound = events(&first, &[1]);
    lanes.note(&first, &sound, [Confirmed], MOST_EVENTS, now);
    let alone = due(&lanes, now);
    assert_eq!(alone.len(), 1);
    let second = alone[0].0.clone();
    assert_ne!(second, first);
    let settled = lanes
        .note_refusal(&[tried(&second, &[2])], "406", now)
        .unwrap();
    assert_eq!(settled.tenant, second);
    assert_eq!(settled.parked[0].position, Position(2));
    assert_eq!(settled.parked[0].reason, REFUSED);
    assert_eq!(due(&lanes, now).len(), 2, "nobody is under suspicion");
}

#[test]
fn the_longest_due_come_first_and_only_so_many() {
    let now = Instant::now();
    let mut lanes = lanes(&["a", "b", "c"], now);
    lanes.note("a", &events("a", &[1]), [Nacked], MOST_EVENTS, now);
    let later = lanes.note(
        "b",
        &events("b", &[2]),
        [Confirmed],
        MOST_EVENTS,
        now + FIRST,
    );
    assert_eq!(later.published, [Position(2)]);
    let late = now + CAP;
    let order: Vec<_> = due(&lanes, late)
        .into_iter()
        .map(|(tenant, _)| tenant)
        .collect();
    assert_eq!(order[0], "c");
    assert_eq!(lanes.due(late, 2).len(), 2);
    assert_eq!(lanes.next_due(), Some(now));
}
