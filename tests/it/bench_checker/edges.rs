//! Every condition by itself, on both sides of its edge: answers, rows, arrivals and their order.

use super::check;
use super::log::{Log, STEP, attempt, delivery, fault, id, row, seen};
use crate::bench::checker::Finding;
use crate::bench::checker::Invariant::*;
use crate::bench::records::FaultKind;

#[test]
fn answers() {
    check(&[
        (
            "signed and answered 415",
            |log| {
                let mut refused = attempt(3, Some(415));
                refused.t_recv -= 1;
                log.attempts.push(refused);
            },
            &[HonestAnswers],
        ),
        (
            "late, and a fault of the client that came after it",
            |log| {
                log.attempts[7].t_recv += 1_000_000;
                log.faults
                    .push(fault(FaultKind::Client, 2_000_000, 2_100_000));
            },
            &[HonestAnswers],
        ),
        (
            "late, while the daemon was stopped in its tracks",
            |log| {
                log.attempts[7].t_recv += 1_100_000;
                log.faults
                    .push(fault(FaultKind::DaemonFreeze, 8 * STEP, 12 * STEP));
            },
            &[],
        ),
        (
            "late, while the broker was away",
            |log| {
                log.attempts[7].t_recv += 1_100_000;
                log.faults
                    .push(fault(FaultKind::Broker, 8 * STEP, 12 * STEP));
            },
            &[HonestAnswers],
        ),
    ]);
}

#[test]
fn an_event_counts_once_however_often_it_was_posted_and_came() {
    let mut log = Log::good();
    log.attempts.insert(3, attempt(3, None));
    let mut again = delivery(3, 4);
    again.redelivered = true;
    log.delivered.push(again);
    let verdict = log.judge();
    assert!(verdict.holds(), "{}", verdict.line());
    assert_eq!((verdict.counts.unknown, verdict.counts.seen), (0, 8));

    let mut log = Log::good();
    log.remove_delivery(3);
    assert_eq!(log.judge().counts.lost, 1);
}

#[test]
fn rows_after_a_crash() {
    check(&[
        (
            "a file without a word",
            |log| log.files.push(("rows-after-crash-2.jsonl", "")),
            &[DurableBeforeAnswer],
        ),
        (
            "gone after the first of two crashes",
            |log| {
                let none = ("rows-after-crash-0.jsonl", "{\"taken\":50000}\n");
                log.files.push(none);
            },
            &[DurableBeforeAnswer],
        ),
        (
            "gone after the second of two crashes",
            |log| {
                let none = ("rows-after-crash-2.jsonl", "{\"taken\":50000}\n");
                log.files.push(none);
            },
            &[DurableBeforeAnswer],
        ),
    ]);
}

#[test]
fn rows_and_what_arrived_of_them() {
    check(&[
        (
            "two apps with one id",
            |log| {
                let mut other = attempt(70, Some(200));
                other.id = id(3);
                log.attempts.push(other);
                let mut kept = row(70, 9);
                (kept.id, kept.app) = (id(3), "other".to_owned());
                log.rows.push(kept);
                let mut came = delivery(70, 9);
                came.id = id(3);
                log.delivered.push(came);
            },
            &[],
        ),
        (
            "arrived, and never answered nor stored",
            |log| {
                log.attempts[7].status = None;
                log.remove_row(7);
            },
            &[NothingInvented, Conservation],
        ),
        (
            "under a key that its bytes do not make",
            |log| log.delivered[3].id.push_str("~1111111111111111"),
            &[NoLoss, NothingInvented, LogOrder, Conservation],
        ),
        (
            "in a queue that nobody is promised anything of",
            |log| {
                let mut copy = log.delivered[3].clone();
                copy.queue = "somebody's".to_owned();
                log.delivered.push(copy);
            },
            &[],
        ),
    ]);
}

/// Five comes before three, in the log and at the consumer.
fn five_before_three(log: &mut Log) {
    log.rows[3] = row(5, 4);
    log.rows[5] = row(3, 6);
    log.delivered[3] = delivery(5, 4);
    log.delivered[5] = delivery(3, 6);
    log.after_crash = None;
    log.broker.clear();
}

#[test]
fn order_in_time() {
    check(&[
        (
            "sent at the same time, and once more later",
            |log| {
                five_before_three(log);
                log.attempts[5].t_send = log.attempts[3].t_send;
                log.attempts.push(attempt(5, Some(200)));
            },
            &[],
        ),
        (
            "answered before, and once more later",
            |log| {
                five_before_three(log);
                let mut again = attempt(3, Some(200));
                again.t_send += 7 * STEP;
                again.t_recv += 7 * STEP;
                log.attempts.push(again);
            },
            &[RealTimeOrder],
        ),
        (
            "behind one, though not behind the one that was answered last",
            |log| {
                log.attempts[3].t_send = log.attempts[1].t_send;
                for (place, n) in [(1, 3), (3, 5), (5, 1)] {
                    let position = place as i64 + 1;
                    log.rows[place] = row(n, position);
                    log.delivered[place] = delivery(n, position);
                }
                log.after_crash = None;
                log.broker.clear();
            },
            &[RealTimeOrder],
        ),
        (
            "returned, and behind what was taken of its window",
            |log| {
                log.plan.window = 3;
                let name = id(3);
                let publish = log
                    .broker
                    .iter()
                    .position(|seen| seen.id.as_ref() == Some(&name));
                let returned = seen(1, "return", Some(3), None);
                log.broker.insert(publish.unwrap() + 1, returned);
                log.publish(1, 3);
                log.delivered.swap(3, 5);
            },
            &[],
        ),
    ]);
}

#[test]
fn bindings() {
    check(&[
        (
            "a pattern that ends before the key",
            |log| log.second_queue("none", "ghl.contact.create"),
            &[],
        ),
        (
            "a hash that stands for no word",
            |log| log.second_queue("all", "ghl.contact.create.tenant.#"),
            &[NoLoss, LogOrder],
        ),
    ]);
}

#[test]
fn what_is_broken_is_counted_and_a_few_of_it_shown() {
    let mut log = Log::good();
    log.delivered.clear();
    let verdict = log.judge();
    let Finding::Violated(count, examples) = &verdict.findings[&NoLoss] else {
        panic!("{}", verdict.line());
    };
    assert_eq!((*count, examples.len(), verdict.counts.lost), (8, 5, 8));

    let mut log = Log::good();
    log.delivered.swap(3, 5);
    let verdict = log.judge();
    let count = |invariant| match &verdict.findings[&invariant] {
        Finding::Violated(count, _) => *count,
        _ => 0,
    };
    let both = count(RealTimeOrder) + count(LogOrder);
    assert!(1 < both, "{}", verdict.line());
    assert_eq!(verdict.counts.order_violations, both);
}
