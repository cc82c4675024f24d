//! Slopes of a soak: what rises is seen, and what only comes and goes is not taken for it.

use std::time::Duration;

use crate::bench::levels::{Level, Look, MEASURES, MEMORY, Slope, TASKS};
use crate::bench::random::Random;

const MIB: f64 = 1_048_576.0;
const SECONDS: u64 = 2;

/// Looks for so long, with this memory and so many tasks at each second.
fn looks(minutes: u64, memory: impl Fn(f64) -> f64, tasks: impl Fn(f64) -> f64) -> Vec<Look> {
    let seconds = (0..minutes * 60).step_by(SECONDS as usize);
    let look = |second: u64| Look {
        at: Duration::from_secs(second),
        memory: Some(memory(second as f64)),
        tasks: Some(tasks(second as f64)),
        ..Look::default()
    };
    seconds.map(look).collect()
}

/// What does not hold.
fn rising(looks: &[Look]) -> Vec<&'static str> {
    let levels = MEASURES
        .iter()
        .filter_map(|measure| Level::of(measure, looks));
    let rising = levels.filter(|level| !level.holds());
    rising.map(|level| level.expected()).collect()
}

/// As a daemon's: up and down with what it does, by chance, and high for a moment at every fault.
fn restless(second: f64) -> f64 {
    let chance = Random::new(second as u64).below(1_000) as f64 / 1_000.0;
    let burst = if second % 120.0 < 8.0 { 20.0 } else { 0.0 };
    MIB * (60.0 + 3.0 * (second / 5.0).sin() + chance + burst)
}

fn thirty(_: f64) -> f64 {
    30.0
}

#[test]
fn what_comes_and_goes_is_level() {
    for minutes in [1, 20, 240] {
        assert_eq!(
            rising(&looks(minutes, restless, thirty)),
            [""; 0],
            "{minutes}"
        );
    }
}

#[test]
fn a_leak_is_seen_through_what_comes_and_goes() {
    // A kibibyte with each of a hundred events a second, for the two minutes that count in a run of three.
    let leak = |second| restless(second) + 1024.0 * 100.0 * second;
    assert_eq!(rising(&looks(2, leak, thirty)), [MEMORY]);
    // 24 bytes with each: in hours that is as clear.
    let leak = |second| restless(second) + 24.0 * 100.0 * second;
    assert_eq!(rising(&looks(2, leak, thirty)), [""; 0]);
    assert_eq!(rising(&looks(120, leak, thirty)), [MEMORY]);
    let tasks = |second| 30.0 + second;
    assert_eq!(rising(&looks(2, restless, tasks)), [TASKS]);
}

#[test]
fn what_falls_or_was_never_seen_does_not_rise() {
    let falls = |second| restless(second) - 10_000.0 * second;
    assert_eq!(rising(&looks(20, falls, thirty)), [""; 0]);
    assert_eq!(rising(&[]), [""; 0]);
    assert_eq!(rising(&[Look::default(); 9]), [""; 0]);
}

#[test]
fn both_edges_of_what_may_be_gained() {
    // Tasks may gain eight, however long it takes; blocks hold the first and the last minutes of it.
    let by = |gain: f64| move |second: f64| 30.0 + gain * (second / 3600.0);
    assert_eq!(rising(&looks(60, restless, by(7.9))), [""; 0]);
    assert_eq!(rising(&looks(60, restless, by(8.1))), [TASKS]);
}

#[test]
fn the_range_of_a_slope_holds_what_chance_leaves_open() {
    let line: Vec<_> = (0..20)
        .map(|n| (f64::from(n), 3.0 * f64::from(n)))
        .collect();
    let exact = Slope {
        middle: 3.0,
        low: 3.0,
        high: 3.0,
    };
    assert_eq!(Slope::of(&line), Some(exact));
    // One point out of the line does not move it.
    let mut bent = line.clone();
    bent[10].1 = 1e6;
    let slope = Slope::of(&bent).unwrap();
    assert_eq!(slope.middle, 3.0);
    assert!(slope.low <= 3.0 && 3.0 <= slope.high);
    assert_eq!(Slope::of(&line[..1]), None);

    // Of a hundred lines through chance about five have a range without the true slope; runs of other seeds too.
    let misses = (0..400).filter(|seed| {
        let mut chance = Random::new(*seed);
        let noise = (0..20).map(|n| {
            let sum: u64 = (0..12).map(|_| chance.below(1_000)).sum();
            (f64::from(n), sum as f64 / 1_000.0 - 6.0)
        });
        let slope = Slope::of(&noise.collect::<Vec<_>>()).unwrap();
        0.0 < slope.low || slope.high < 0.0
    });
    let misses = misses.count();
    assert!((8..=40).contains(&misses), "{misses} of 400");
}

#[test]
fn a_line_of_the_table_says_what_was_judged() {
    let looks = looks(20, |_| 64.0 * MIB, |second| 30.0 + second);
    let lines: Vec<_> = MEASURES
        .iter()
        .filter_map(|measure| Some(Level::of(measure, &looks)?.to_string()))
        .collect();
    assert_eq!(
        lines,
        [
            "| memory | 64.0 MiB | 64.0–64.0 | +0.00 | +0.00 and +0.00 | +0.00 % | 4 MiB and 2 %/h | level |",
            "| tasks | 629.0 | 30.0–1228.0 | +3600.00 | +3600.00 and +3600.00 | +572.34 % | 8 | RISES |",
        ]
    );
}
