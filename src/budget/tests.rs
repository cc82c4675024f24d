#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    burst: 10,
    interval: Duration::from_secs(1),
    daily: 1_000,
};
const SECOND: i64 = 1_000_000;

fn answer(budget: &mut Budget, at: i64) {
    budget.end(&LIMITS, None, Micros(at));
}

#[test]
fn a_place_comes_free_one_interval_after_the_answer() {
    let mut budget = Budget::default();
    assert_eq!(budget.room(&LIMITS, Micros(0)), 10);
    budget.begin(10, Micros(0));
    assert_eq!(budget.room(&LIMITS, Micros(5 * SECOND)), 0, "all under way");
    for _ in 0..4 {
        answer(&mut budget, 5 * SECOND);
    }
    assert_eq!(budget.room(&LIMITS, Micros(6 * SECOND - 1)), 0);
    assert_eq!(
        budget.room_at(&LIMITS, Micros(6 * SECOND - 1)),
        Micros(6 * SECOND)
    );
    assert_eq!(budget.room(&LIMITS, Micros(6 * SECOND)), 4);
    budget.unmade();
    assert_eq!(budget.room(&LIMITS, Micros(6 * SECOND)), 5);
}

#[test]
fn a_call_with_a_place_of_its_own_rests_from_its_answer_or_from_its_longest_time() {
    let longest = Duration::from_secs(5);
    let mut budget = Budget::default();
    let reserve = |budget: &mut Budget| budget.reserve(&LIMITS, longest, Micros(0));
    let place = reserve(&mut budget);
    assert_eq!(place, Micros(6 * SECOND));
    reserve(&mut budget);
    assert_eq!(budget.room(&LIMITS, Micros(2 * SECOND)), 8);
    assert_eq!(budget.used_today(Micros(2 * SECOND)), 2);
    budget.settle(&LIMITS, place, Some(&Told::default()), Micros(2 * SECOND));
    assert_eq!(budget.room(&LIMITS, Micros(3 * SECOND - 1)), 8);
    assert_eq!(budget.room(&LIMITS, Micros(3 * SECOND)), 9, "answered");
    assert_eq!(budget.room(&LIMITS, Micros(6 * SECOND - 1)), 9);
    assert_eq!(budget.room(&LIMITS, Micros(6 * SECOND)), 10, "never told");
    let unmade = reserve(&mut budget);
    budget.settle(&LIMITS, unmade, None, Micros(1));
    assert_eq!(budget.room(&LIMITS, Micros(1)), 10);
    assert_eq!(budget.used_today(Micros(1)), 2);
    // Told later than its longest time: it had no place any more, and rests from its answer.
    let late = reserve(&mut budget);
    assert_eq!(budget.room(&LIMITS, Micros(7 * SECOND)), 10);
    budget.settle(&LIMITS, late, Some(&Told::default()), Micros(7 * SECOND));
    assert_eq!(budget.room(&LIMITS, Micros(7 * SECOND)), 9);
}

#[test]
fn the_day_ends_and_begins_with_the_next_call() {
    let limits = Limits {
        burst: 5_000,
        ..LIMITS
    };
    let mut budget = Budget::default();
    budget.begin(1_000, Micros(7));
    (0..1_000).for_each(|_| answer(&mut budget, 7));
    let later = Micros(2 * SECOND);
    assert_eq!(budget.room(&limits, later), 0);
    assert_eq!(budget.used_today(later), 1_000);
    assert_eq!(budget.room_at(&limits, later), Micros(7 + DAY));
    assert_eq!(budget.room(&limits, Micros(7 + DAY)), 1_000);
    assert_eq!(budget.used_today(Micros(7 + DAY)), 0);
}

#[test]
fn an_answer_narrows_the_budget_and_never_widens_it() {
    let mut budget = Budget::default();
    budget.begin(1, Micros(0));
    let told = Told {
        remaining: Some(3),
        ..Told::default()
    };
    budget.end(&LIMITS, Some(&told), Micros(0));
    assert_eq!(budget.room(&LIMITS, Micros(1)), 3, "others used six more");
    budget.begin(3, Micros(1));
    let told = Told {
        remaining: Some(9),
        ..Told::default()
    };
    budget.end(&LIMITS, Some(&told), Micros(1));
    assert_eq!(budget.room(&LIMITS, Micros(2)), 0);
}

#[test]
fn a_429_closes_for_ghls_interval_where_that_is_longer_up_to_a_bound() {
    for (theirs, closed) in [(0, 1), (500, 1), (20_000, 20), (3_600_000, 30)] {
        let mut budget = Budget::default();
        budget.begin(1, Micros(0));
        let told = Told {
            refused: true,
            interval: Some(Duration::from_millis(theirs)),
            ..Told::default()
        };
        budget.end(&LIMITS, Some(&told), Micros(0));
        let at = Micros(closed * SECOND);
        assert_eq!(budget.room_at(&LIMITS, Micros(3)), at, "{theirs} ms");
    }
}

#[test]
fn a_429_closes_for_one_interval_and_at_the_end_of_the_day_until_its_reset() {
    let mut budget = Budget::default();
    budget.begin(1, Micros(0));
    let told = Told {
        refused: true,
        ..Told::default()
    };
    budget.end(&LIMITS, Some(&told), Micros(0));
    assert_eq!(budget.room(&LIMITS, Micros(SECOND - 1)), 0);
    assert_eq!(budget.room_at(&LIMITS, Micros(3)), Micros(SECOND));
    assert_eq!(budget.room(&LIMITS, Micros(SECOND + GRAIN)), 10);
    budget.begin(1, Micros(2 * SECOND));
    let told = Told {
        refused: true,
        remaining: Some(10),
        daily_remaining: Some(0),
        daily_reset: Some(Duration::from_secs(3_600)),
        ..Told::default()
    };
    budget.end(&LIMITS, Some(&told), Micros(2 * SECOND));
    let reset = 3_602 * SECOND;
    assert_eq!(budget.room_at(&LIMITS, Micros(10 * SECOND)), Micros(reset));
    assert_eq!(budget.room(&LIMITS, Micros(reset - 1)), 0);
    assert_eq!(budget.room(&LIMITS, Micros(reset)), 10);
}

#[test]
fn an_account_survives_as_text() {
    let mut budget = Budget::default();
    budget.begin(3, Micros(5));
    answer(&mut budget, 9);
    assert_eq!(Budget::from_text(&budget.to_text()), budget);
    assert_eq!(Budget::from_text("nonsense"), Budget::default());
}

proptest! {
    /// Calls begin whenever there is room, take any time to arrive and to be answered, and a server counts
    /// them as they arrive: no interval of its own, wherever it begins, has more than are allowed.
    #[test]
    fn no_interval_of_the_server_ever_has_more_calls_than_allowed(
        delays in proptest::collection::vec((0..400_000_i64, 0..900_000_i64), 1..200),
        burst in 1..12_u32,
    ) {
        let limits = Limits { burst, ..LIMITS };
        let mut budget = Budget::default();
        let (mut now, mut open, mut arrived) = (0_i64, Vec::<i64>::new(), Vec::<i64>::new());
        for (there, back) in delays {
            loop {
                open.retain(|at| {
                    if *at <= now {
                        budget.end(&limits, None, Micros(*at));
                    }
                    now < *at
                });
                if 0 < budget.room(&limits, Micros(now)) {
                    break;
                }
                let next = open.iter().copied().min().unwrap_or(i64::MAX);
                now = budget.room_at(&limits, Micros(now)).0.min(next).max(now + 1);
            }
            budget.begin(1, Micros(now));
            arrived.push(now + there);
            open.push(now + there + back);
        }
        arrived.sort_unstable();
        for (n, first) in arrived.iter().enumerate() {
            let inside = arrived[n..].iter().take_while(|at| **at < first + SECOND).count();
            prop_assert!(inside <= burst as usize, "{inside} of {burst}");
        }
    }
}
