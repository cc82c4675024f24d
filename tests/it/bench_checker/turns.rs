//! Who publishes when: one connection at a time, on both sides of what is allowed beyond that.

use super::check;
use super::log::{Log, STEP, fault, seen};
use crate::bench::checker::Finding;
use crate::bench::checker::Invariant::*;
use crate::bench::records::FaultKind;

/// The good run's publishes of these events, and their confirms, are those of another connection.
fn published_on(log: &mut Log, conn: u64, events: &[u64]) {
    for n in events {
        let publish = 1 + 2 * *n as usize;
        for seen in &mut log.broker[publish..=publish + 1] {
            seen.conn = conn;
        }
    }
}

/// Event 4 goes out on a second connection and the last three on the first one again: one more than a window.
fn three_late(log: &mut Log) {
    published_on(log, 2, &[4]);
}

/// The same with only two of them.
fn two_late(log: &mut Log) {
    published_on(log, 2, &[5]);
}

/// Between the last publish of the first connection's turn and the first one after it.
fn stopped(log: &mut Log) {
    let freeze = fault(FaultKind::DaemonFreeze, 4 * STEP + STEP / 2, 6 * STEP);
    log.faults.push(freeze);
}

#[test]
fn a_connection_whose_turn_is_over_publishes_nothing() {
    check(&[
        (
            "one after the other",
            |log| {
                published_on(log, 2, &[4, 5]);
                published_on(log, 3, &[6, 7]);
            },
            &[],
        ),
        (
            "opened first, and the second to publish",
            |log| {
                published_on(log, 0, &[4, 5, 6, 7]);
                log.broker.insert(0, seen(0, "open", None, None));
            },
            &[],
        ),
        ("after the next one", two_late, &[OnePublisher]),
        (
            "after the next but one",
            |log| {
                published_on(log, 2, &[5]);
                published_on(log, 3, &[6]);
            },
            &[OnePublisher],
        ),
        (
            "what the proxy kept from the broker counts",
            |log| {
                published_on(log, 2, &[6]);
                log.broker[1 + 2 * 7].forwarded = false;
                log.remove_delivery(7);
                log.remove_row(7);
                log.attempts.remove(7);
            },
            &[OnePublisher],
        ),
        (
            "a message without an id counts",
            |log| {
                published_on(log, 2, &[7]);
                log.broker.push(seen(1, "publish", None, None));
            },
            &[OnePublisher],
        ),
        (
            "a confirm that comes late is not a publish",
            |log| {
                published_on(log, 2, &[7]);
                log.broker.push(seen(1, "ack", None, Some(7)));
            },
            &[],
        ),
    ]);
}

#[test]
fn a_daemon_that_was_stopped_may_be_late_by_a_window() {
    check(&[
        (
            "a window after one fault",
            |log| {
                two_late(log);
                stopped(log);
            },
            &[],
        ),
        (
            "more than a window after one fault",
            |log| {
                three_late(log);
                stopped(log);
            },
            &[OnePublisher],
        ),
        (
            "more than a window after two",
            |log| {
                three_late(log);
                stopped(log);
                stopped(log);
            },
            &[],
        ),
        (
            "the fault was over when its turn was not",
            |log| {
                two_late(log);
                let before = fault(FaultKind::DaemonFreeze, STEP, 2 * STEP);
                log.faults.push(before);
            },
            &[OnePublisher],
        ),
        (
            "the fault came behind it",
            |log| {
                two_late(log);
                let behind = fault(FaultKind::DaemonFreeze, 9 * STEP, 10 * STEP);
                log.faults.push(behind);
            },
            &[OnePublisher],
        ),
    ]);
}

#[test]
fn no_other_fault_lets_a_connection_go_on() {
    const OTHERS: [FaultKind; 4] = [
        FaultKind::Broker,
        FaultKind::BrokerAlarm,
        FaultKind::Store,
        FaultKind::DaemonKill,
    ];
    for kind in OTHERS {
        let mut log = Log::good();
        two_late(&mut log);
        log.faults.push(fault(kind, STEP, 8 * STEP));
        let verdict = log.judge();
        assert_eq!(verdict.violated(), [OnePublisher], "{kind:?}");
    }
}

#[test]
fn without_a_record_of_connections_nobody_knows_who_published() {
    let mut log = Log::good();
    log.broker.clear();
    let verdict = log.judge();
    let reason = "no record of the broker's connections".to_owned();
    let finding = &verdict.findings[&OnePublisher];
    assert_eq!(*finding, Finding::NotApplicable(reason));
    assert!(verdict.holds(), "{}", verdict.line());
}
