//! What must not be called broken.

use super::check;
use super::log::{EVENTS, Log, STEP, attempt, delivery, fault, hash, parked, row, seen};
use crate::bench::checker::Finding;
use crate::bench::checker::Invariant::*;
use crate::bench::records::{Ended, FaultKind, Wanted};

#[test]
fn a_good_run_has_every_figure_and_says_ok() {
    let verdict = Log::good().judge();
    assert_eq!(
        verdict.line(),
        "T-00 sqlite seed=0 attempts=9 acked=8 unknown=0 rows=8 seen=8 lost=0 unexpected=0 recovered=0 \
         duplicated=0 (allowed 0) order_violations=0 I1 I2 I3 I4 I5 I6 I7 I8 I9 I10 I11 I12 I16 I17 ok"
    );
    let undecided = Finding::NotApplicable("no key is blocked".to_owned());
    assert_eq!(verdict.findings[&Isolation], undecided);
}

#[test]
fn what_the_records_do_not_decide_is_neither() {
    let mut log = Log::good();
    log.after_crash = None;
    log.end.before = None;
    log.end.lives[0].ended = Ended::Running;
    let verdict = log.judge();
    assert!(verdict.holds(), "{}", verdict.line());
    for invariant in [DurableBeforeAnswer, Bounded, CleanStop] {
        let finding = &verdict.findings[&invariant];
        assert!(matches!(finding, Finding::NotApplicable(_)), "{invariant}");
    }
    assert!(!verdict.line().contains("I3"), "{}", verdict.line());
}

#[test]
fn unknown_outcomes_are_a_class_of_their_own() {
    let mut log = Log::good();
    // Stored and delivered, or neither: both are fine.
    log.attempts[6].status = None;
    log.attempts.push(attempt(50, None));
    let verdict = log.judge();
    assert!(verdict.holds(), "{}", verdict.line());
    let counts = &verdict.counts;
    assert_eq!((counts.acked, counts.unknown, counts.recovered), (7, 2, 1));
    check(&[
        (
            "unknown first, 200 at the retry",
            |log| {
                let mut lost = attempt(3, None);
                lost.t_recv -= STEP / 4;
                log.attempts.insert(3, lost);
                log.attempts[4].attempt = 2;
            },
            &[],
        ),
        (
            "429 first, 200 at the retry, and 503 for good",
            |log| {
                log.attempts.insert(3, attempt(3, Some(429)));
                log.attempts.push(attempt(60, Some(503)));
            },
            &[],
        ),
        (
            "429 though it was committed, and no retry",
            |log| log.attempts[7].status = Some(429),
            &[],
        ),
        (
            "one event posted three times at once",
            |log| {
                log.attempts
                    .extend([attempt(3, Some(200)), attempt(3, Some(200))]);
            },
            &[],
        ),
        (
            "an answer that a fault of the network held back",
            |log| {
                log.faults
                    .push(fault(FaultKind::Client, 8 * STEP, 12 * STEP));
                log.attempts[7].t_recv += 1_100_000;
                log.end.drained_at = Some(20 * STEP);
            },
            &[],
        ),
    ]);
}

#[test]
fn copies_that_a_loss_explains_are_not_broken() {
    check(&[
        (
            "marked as redelivered",
            |log| {
                let mut again = delivery(3, 4);
                again.redelivered = true;
                log.delivered.push(again);
            },
            &[],
        ),
        (
            "redelivered late, after others of its key",
            |log| {
                let mut late = log.delivered.remove(3);
                late.redelivered = true;
                log.delivered.push(late);
            },
            &[],
        ),
        (
            "a window of copies after a lost connection",
            |log| {
                log.faults.push(fault(FaultKind::Broker, STEP, 2 * STEP));
                log.close(1);
                for n in 6..EVENTS {
                    log.publish(2, n);
                    log.delivered.push(delivery(n, n as i64 + 1));
                }
            },
            &[],
        ),
        (
            "copies after a kill, without a record of the broker's connections",
            |log| {
                log.faults
                    .push(fault(FaultKind::DaemonKill, STEP, 2 * STEP));
                log.broker.clear();
                log.delivered.push(delivery(7, 8));
            },
            &[],
        ),
        (
            "published again after a nack",
            |log| {
                log.faults.push(fault(FaultKind::Topology, STEP, 2 * STEP));
                log.broker.push(seen(1, "publish", Some(50), Some(9)));
                log.broker.pop();
                let ack = log.broker.len() - 1;
                log.broker[ack].what = "nack".to_owned();
                log.publish(1, 7);
                log.delivered.push(delivery(7, 8));
            },
            &[],
        ),
        (
            "published again after a return",
            |log| {
                log.faults.push(fault(FaultKind::Topology, STEP, 2 * STEP));
                let publish = log.broker.len() - 2;
                log.broker
                    .insert(publish + 1, seen(1, "return", Some(7), None));
                log.publish(1, 7);
            },
            &[],
        ),
        (
            "a cursor of SQLite that went back at a power cut",
            |log| {
                log.faults
                    .push(fault(FaultKind::PowerCut, 9 * STEP, 10 * STEP));
                log.end.lives[0].ended = Ended::Killed;
                log.close(1);
                let mut open = seen(2, "open", None, None);
                open.t = 11 * STEP;
                log.broker.push(open);
                log.publish(2, 1);
            },
            &[],
        ),
        (
            "published again after a stop while the broker took nothing",
            |log| {
                log.faults
                    .push(fault(FaultKind::BrokerAlarm, STEP, 40 * STEP));
                let mut close = seen(1, "close", None, None);
                close.t = 31 * STEP;
                log.broker.push(close);
                log.publish(2, 7);
            },
            &[],
        ),
        (
            "dead letters published again on request",
            |log| {
                log.plan.replays = true;
                log.publish(1, 2);
                log.delivered.push(delivery(2, 3));
            },
            &[],
        ),
    ]);
}

#[test]
fn parked_and_altered_events_are_not_lost() {
    check(&[
        (
            "parked for the run's reason",
            |log| {
                log.plan.parked = vec!["unroutable".to_owned()];
                log.remove_delivery(3);
                log.end.dead_letters = vec![parked(4, "unroutable")];
            },
            &[],
        ),
        (
            "other bytes under a known id, kept under a key of their own",
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
            },
            &[],
        ),
        (
            "moved to the queue for what has no route",
            |log| {
                log.plan.wanted = vec![Wanted {
                    queues: vec!["hookwell.all".to_owned(), "hookwell.unrouted".to_owned()],
                    bind: vec!["#".to_owned()],
                }];
                log.delivered[3].queue = "hookwell.unrouted".to_owned();
            },
            &[],
        ),
        (
            "a queue for some",
            |log| {
                log.second_queue("contacts", "ghl.contact.*.#");
                log.second_queue("orders", "*.order.#");
                let copies = log.delivered.clone().into_iter().map(|mut delivered| {
                    delivered.queue = "contacts".to_owned();
                    delivered
                });
                let copies: Vec<_> = copies.collect();
                log.delivered.extend(copies);
            },
            &[],
        ),
    ]);
}

#[test]
fn what_was_rejected_may_come_behind_what_was_taken_of_its_window() {
    check(&[
        (
            "a window of three",
            |log| {
                log.plan.window = 3;
                log.nack(3);
                log.delivered.swap(3, 5);
            },
            &[],
        ),
        (
            "two of a held tenant, and another's between them",
            |log| {
                log.plan.window = 2;
                log.nack(3);
                log.delivered.swap(3, 5);
            },
            &[],
        ),
    ]);
}

#[test]
fn concurrent_requests_have_no_order_but_the_logs() {
    check(&[(
        "answered after the other one was sent",
        |log| {
            log.attempts[5].t_send = log.attempts[3].t_recv;
            log.rows[3] = row(5, 4);
            log.rows[5] = row(3, 6);
            log.delivered[3] = delivery(5, 4);
            log.delivered[5] = delivery(3, 6);
            log.after_crash = None;
            log.broker.clear();
        },
        &[],
    )]);
}

/// A run long enough for percentiles, in which the others' delay goes from 40 ms to `delay` microseconds.
pub fn with_blocked_keys(delay: u64) -> Log {
    let mut log = Log::good();
    log.after_crash = None;
    log.broker.clear();
    log.plan.blocked_keys = vec!["tenant/0".to_owned()];
    log.plan.parked = vec!["unroutable".to_owned()];
    for n in EVENTS..2000 {
        log.attempts.push(attempt(n, Some(200)));
        log.rows.push(row(n, n as i64 + 1));
        let mut came = delivery(n, n as i64 + 1);
        let slow = match (n < 1000, n % 2) {
            (true, _) => 40_000,
            (false, 0) => 1_000_000,
            (false, _) => delay,
        };
        came.t = log.attempts[log.attempts.len() - 1].t_recv + slow;
        log.delivered.push(came);
    }
    log.faults = vec![fault(FaultKind::Topology, 1000 * STEP, 2100 * STEP)];
    log.end.drained_at = Some(2200 * STEP);
    log.plan.drain_us = 2_000_000;
    log
}

#[test]
fn keys_that_slow_down_nobody_else_are_not_broken() {
    let verdict = with_blocked_keys(70_000).judge();
    assert!(verdict.holds(), "{}", verdict.line());
    assert_eq!(verdict.findings[&Isolation], Finding::Ok);
}
