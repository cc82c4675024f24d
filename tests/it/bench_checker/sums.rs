//! Every condition by itself, on both sides of its edge: draining, figures, bounds and percentiles.

use super::check;
use super::log::{EVENTS, Log, STEP, attempt, delivery, fault, hash, parked, row};
use super::sound::with_blocked_keys;
use crate::bench::checker::Finding;
use crate::bench::checker::Invariant::*;
use crate::bench::records::{FaultKind, Scrape};

const NEW: &str = "hookwell_events_accepted_total{outcome=\"new\"}";
const OLDEST: &str = "hookwell_backlog_oldest_seconds";
const DUPLICATE: &str = "hookwell_events_accepted_total{outcome=\"duplicate\"}";
const ALTERED: &str = "hookwell_events_accepted_total{outcome=\"altered\"}";
const OK: &str = "hookwell_http_responses_total{code=\"200\"}";

fn set(log: &mut Log, name: &str, value: f64) {
    log.series.insert(name.to_owned(), value);
}

#[test]
fn draining_counts_from_what_came_last() {
    check(&[
        (
            "soon after the last post",
            |log| log.end.drained_at = Some(1_500_000),
            &[],
        ),
        (
            "soon after the last fault",
            |log| {
                log.faults.push(fault(FaultKind::Other, STEP, 5_000_000));
                log.end.drained_at = Some(5_500_000);
            },
            &[],
        ),
    ]);
}

#[test]
fn where_nothing_waits_nothing_is_old() {
    check(&[
        ("three seconds", |log| set(log, OLDEST, 3.0), &[Drain]),
        ("nobody says it", |log| log.hidden = OLDEST, &[Drain]),
        (
            "of a daemon that did not end at rest nothing is known",
            |log| {
                set(log, OLDEST, 3.0);
                log.end.lives[0].at_rest = false;
            },
            &[],
        ),
    ]);
}

#[test]
fn the_tables_among_each_other() {
    check(&[
        (
            "a parked event has no row",
            |log| {
                log.adds_up = false;
                log.plan.parked = vec!["unroutable".to_owned()];
                log.end.dead_letters = vec![parked(9, "unroutable")];
                (log.end.head, log.end.cursor, log.end.published) = (9, 9, 8);
                log.end.lives[0].at_rest = false;
            },
            &[Conservation],
        ),
        (
            "the cursor is beyond what was published",
            |log| {
                log.adds_up = false;
                log.plan.replays = true;
                (log.end.head, log.end.cursor, log.end.published) = (8, 8, 7);
                log.end.lives[0].at_rest = false;
            },
            &[Conservation],
        ),
        (
            "one more is published than came",
            |log| {
                log.attempts[7].status = None;
                log.remove_delivery(7);
            },
            &[LogOrder, Conservation],
        ),
        (
            "the same where some were published again on request: the sum says nothing",
            |log| {
                log.plan.replays = true;
                log.attempts[7].status = None;
                log.remove_delivery(7);
            },
            &[LogOrder],
        ),
        (
            "parked, and yet at a consumer",
            |log| {
                log.plan.parked = vec!["refused_by_broker".to_owned()];
                log.end.dead_letters = vec![parked(4, "refused_by_broker")];
            },
            &[],
        ),
    ]);
}

#[test]
fn each_gauge() {
    check(&[
        (
            "one is not shown",
            |log| log.hidden = "hookwell_ledger_mismatch_events",
            &[Conservation],
        ),
        (
            "pending",
            |log| set(log, "hookwell_ledger_events{state=\"pending\"}", 1.0),
            &[Conservation],
        ),
        (
            "parked",
            |log| set(log, "hookwell_ledger_events{state=\"parked\"}", 1.0),
            &[Conservation],
        ),
        (
            "published",
            |log| set(log, "hookwell_ledger_events{state=\"published\"}", 9.0),
            &[Conservation],
        ),
    ]);
}

#[test]
fn counters_against_what_the_sender_saw() {
    check(&[
        (
            "an answer that the sender did not see",
            |log| {
                log.attempts[7].status = None;
                set(log, OK, 8.0);
                set(log, NEW, 8.0);
            },
            &[],
        ),
        (
            "more answers than the sender can have missed",
            |log| {
                log.attempts[7].status = None;
                set(log, OK, 9.0);
                set(log, NEW, 8.0);
                set(log, DUPLICATE, 1.0);
            },
            &[Conservation],
        ),
        (
            "fewer new ones than rows",
            |log| {
                set(log, NEW, 6.0);
                set(log, DUPLICATE, 2.0);
            },
            &[Conservation],
        ),
        (
            "altered ones have rows too",
            |log| {
                let mut other = attempt(7, Some(200));
                other.sha256 = hash(70);
                other.t_send += STEP / 2;
                other.t_recv += STEP;
                log.attempts.push(other);
                let mut kept = row(7, 9);
                kept.id = format!("{}~{}", kept.id, &hash(70)[..16]);
                kept.sha256 = hash(70);
                let mut came = delivery(7, 9);
                (came.id, came.sha256) = (kept.id.clone(), hash(70));
                log.rows.push(kept);
                log.delivered.push(came);
                set(log, NEW, 8.0);
                set(log, ALTERED, 1.0);
            },
            &[],
        ),
        (
            "pages of a browser are answers, and to no event",
            |log| {
                log.end.pages.insert(200, 2);
                set(log, OK, 10.0);
            },
            &[],
        ),
        (
            "pages that nobody got",
            |log| {
                set(log, OK, 10.0);
            },
            &[Conservation],
        ),
        (
            "somebody else posts too",
            |log| {
                log.plan.other_clients = true;
                set(log, OK, 10.0);
                set(log, DUPLICATE, 2.0);
            },
            &[],
        ),
        (
            "somebody else posts too, and not even our own are counted",
            |log| {
                log.plan.other_clients = true;
                set(log, OK, 7.0);
                set(log, NEW, 7.0);
            },
            &[Conservation],
        ),
    ]);
}

#[test]
fn only_the_counters_of_one_process_never_fall() {
    fn scrape(log: &mut Log, life: usize, name: &str, value: f64) {
        log.scrapes.push(Scrape {
            life,
            t: STEP,
            metrics: [(name.to_owned(), value)].into(),
        });
    }
    check(&[
        (
            "the next process counts from nothing",
            |log| {
                scrape(log, 0, NEW, 5.0);
                scrape(log, 1, NEW, 1.0);
            },
            &[],
        ),
        (
            "a gauge may fall",
            |log| {
                scrape(log, 0, "hookwell_backlog_events", 5.0);
                scrape(log, 0, "hookwell_backlog_events", 4.0);
            },
            &[],
        ),
    ]);
}

#[test]
fn each_resource() {
    check(&[
        (
            "threads",
            |log| log.end.after.as_mut().unwrap().threads += 20,
            &[Bounded],
        ),
        (
            "connections",
            |log| log.end.after.as_mut().unwrap().connections += 6,
            &[Bounded],
        ),
        (
            "the write-ahead log",
            |log| log.end.after.as_mut().unwrap().wal_bytes += 2 << 20,
            &[Bounded],
        ),
        (
            "tasks, whatever there were under load",
            |log| {
                log.end.before.as_mut().unwrap().tasks = Some(400);
                log.end.after.as_mut().unwrap().tasks = Some(97);
            },
            &[Bounded],
        ),
        (
            "what pools open and keep is no leak",
            |log| {
                let after = log.end.after.as_mut().unwrap();
                after.fds += 8;
                after.connections += 5;
                after.tasks = Some(48);
            },
            &[],
        ),
        (
            "a tenth does not come on top of what an allocator keeps",
            |log| log.end.after.as_mut().unwrap().rss_bytes += 17 << 20,
            &[Bounded],
        ),
        (
            "a tenth where that is more",
            |log| {
                log.end.before.as_mut().unwrap().fds = 400;
                log.end.after.as_mut().unwrap().fds = 440;
            },
            &[],
        ),
        (
            "and no more than that",
            |log| {
                log.end.before.as_mut().unwrap().fds = 400;
                log.end.after.as_mut().unwrap().fds = 441;
            },
            &[Bounded],
        ),
    ]);
}

/// The delays of the events of other keys from the `from`th one on.
fn delay(log: &mut Log, from: u64, every: u64, micros: u64) {
    for came in &mut log.delivered[EVENTS as usize..] {
        let n = u64::try_from(came.position).unwrap() - 1;
        if from <= n && n % every == every - 1 {
            came.t = attempt(n, None).t_recv + micros;
        }
    }
}

#[test]
fn percentiles_of_the_other_keys() {
    let violated = |log: Log| log.judge().violated();
    assert_eq!(
        violated(with_blocked_keys(100_000)),
        [Isolation],
        "2.5 times"
    );

    let mut log = with_blocked_keys(70_000);
    delay(&mut log, 1000, 20, 500_000);
    assert_eq!(violated(log), [Isolation], "a twentieth is slow");

    let mut log = with_blocked_keys(70_000);
    delay(&mut log, 1000, 400, 500_000);
    assert_eq!(violated(log), [], "one of four hundred is slow");

    let mut log = with_blocked_keys(70_000);
    log.faults[0].to = 1500 * STEP;
    delay(&mut log, 1510, 2, 1_000_000);
    assert_eq!(violated(log), [], "slow when the fault was over");

    let mut log = with_blocked_keys(45_000);
    for came in &mut log.delivered[EVENTS as usize..1000] {
        came.t -= 30_000;
    }
    assert_eq!(violated(log), [], "4.5 times of next to nothing");

    let mut log = with_blocked_keys(70_000);
    log.delivered
        .retain(|came| came.position < 1000 || came.position % 40 != 0);
    let found = violated(log);
    assert_eq!(
        found,
        [NoLoss, LogOrder, Conservation, Isolation],
        "never came"
    );
}

#[test]
fn a_percentile_of_few_events_decides_nothing() {
    for (from, to) in [(100, 2100), (1000, 1100)] {
        let mut log = with_blocked_keys(200_000);
        log.faults[0] = fault(FaultKind::Topology, from * STEP, to * STEP);
        let verdict = log.judge();
        assert!(verdict.holds(), "{}", verdict.line());
        let undecided = Finding::NotApplicable("too few events of other keys".to_owned());
        assert_eq!(verdict.findings[&Isolation], undecided);
    }
}
