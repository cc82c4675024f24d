//! What has to be found.

use super::check;
use super::log::{EVENTS, STEP, attempt, delivery, fault, hash, id, parked, row, seen};
use crate::bench::checker::Invariant::*;
use crate::bench::records::{Class, Ended, FaultKind, NO_ANSWER, Scrape};

#[test]
fn loss_and_invention_are_found() {
    check(&[
        // A lost event is also a gap, and one less than was published.
        (
            "never came",
            |log| log.remove_delivery(3),
            &[NoLoss, LogOrder, Conservation],
        ),
        (
            "missing in one of two queues",
            |log| {
                log.second_queue("contacts", "ghl.contact.#");
                for n in 1..EVENTS {
                    let mut other = log.delivered[n as usize].clone();
                    other.queue = "contacts".to_owned();
                    log.delivered.push(other);
                }
            },
            &[NoLoss, LogOrder],
        ),
        (
            "parked as unroutable though it came",
            |log| {
                log.plan.parked = vec!["unroutable".to_owned()];
                log.end.dead_letters = vec![parked(4, "unroutable")];
            },
            &[NoLoss],
        ),
        (
            "taken by no binding, and neither parked nor anywhere",
            |log| {
                log.plan.parked = vec!["unroutable".to_owned()];
                log.plan.wanted[0].bind = vec!["ghl.#".to_owned()];
                log.attempts[3].routing_key = Some("other".to_owned());
                log.remove_delivery(3);
            },
            &[NoLoss],
        ),
        (
            "parked for a reason that the run does not explain",
            |log| {
                log.plan.parked = vec!["unroutable".to_owned()];
                log.remove_delivery(3);
                log.end.dead_letters = vec![parked(4, "refused_by_broker")];
            },
            &[NoLoss],
        ),
        (
            "a copy with other bytes",
            |log| {
                let mut altered = delivery(3, 4);
                altered.sha256 = hash(77);
                log.delivered.push(altered);
            },
            &[NothingInvented],
        ),
        (
            "never sent",
            |log| log.delivered.push(delivery(77, 9)),
            &[NothingInvented],
        ),
        (
            "as another event",
            |log| log.delivered[3].id = id(4),
            &[NoLoss, NothingInvented, LogOrder, Conservation],
        ),
        (
            "at another position than in the log",
            |log| log.delivered[3].position = 5,
            &[NothingInvented],
        ),
        (
            "in a queue that is not bound for it",
            |log| {
                log.second_queue("orders", "ghl.order.*.#");
                let mut astray = delivery(3, 4);
                astray.queue = "orders".to_owned();
                log.delivered.push(astray);
            },
            &[NothingInvented],
        ),
        (
            "a row that nobody sent",
            |log| {
                log.rows.push(row(77, 9));
                log.series.insert(
                    "hookwell_ledger_events{state=\"published\"}".to_owned(),
                    9.0,
                );
            },
            &[NothingInvented, Conservation],
        ),
        (
            "a row with other bytes",
            |log| log.rows[3].sha256 = hash(77),
            &[NothingInvented, IdempotentIngest],
        ),
    ]);
}

#[test]
fn an_answer_without_a_row_is_found() {
    check(&[
        (
            "not there after a crash",
            |log| drop(log.after_crash.as_mut().unwrap().1.remove(2)),
            &[DurableBeforeAnswer],
        ),
        (
            "nothing there after a crash",
            |log| log.after_crash.as_mut().unwrap().1.clear(),
            &[DurableBeforeAnswer],
        ),
        (
            "neither stored nor delivered",
            |log| {
                log.remove_delivery(7);
                log.remove_row(7);
            },
            &[NoLoss, IdempotentIngest],
        ),
        (
            "two rows of one event",
            |log| {
                let mut again = row(3, 9);
                again.id.push_str("-again");
                log.rows.push(again);
            },
            &[NothingInvented, IdempotentIngest, Conservation],
        ),
        (
            "two rows of one key",
            |log| {
                log.rows[3].id = id(2);
                log.broker.clear();
            },
            &[NothingInvented, IdempotentIngest],
        ),
    ]);
}

#[test]
fn whoever_gets_in_is_found() {
    check(&[
        (
            "an unsigned one was answered 200",
            |log| {
                log.attempts.last_mut().unwrap().status = Some(200);
            },
            &[NobodyGetsIn],
        ),
        (
            "a forged one was answered 500",
            |log| {
                let last = log.attempts.last_mut().unwrap();
                (last.class, last.status) = (Class::Forged, Some(500));
            },
            &[NobodyGetsIn],
        ),
        (
            "an unsigned one arrived",
            |log| log.delivered.push(delivery(100, 9)),
            &[NobodyGetsIn],
        ),
        (
            "a malformed one is stored",
            |log| {
                log.attempts.last_mut().unwrap().class = Class::Malformed;
                log.rows.push(row(100, 9));
            },
            // Nine were published then, and eight came.
            &[NobodyGetsIn, Conservation],
        ),
    ]);
}

#[test]
fn copies_that_could_be_avoided_are_found() {
    check(&[
        (
            "a copy from one publish",
            |log| log.delivered.push(delivery(3, 4)),
            &[OnlyInevitableCopies, CleanStop],
        ),
        (
            "published again on one connection",
            |log| log.publish(1, 7),
            &[OnlyInevitableCopies],
        ),
        (
            "published again after the outcome of another was bad",
            |log| {
                log.broker.push(seen(1, "publish", Some(6), Some(9)));
                log.broker.push(seen(1, "nack", None, Some(9)));
                log.publish(1, 7);
            },
            &[OnlyInevitableCopies],
        ),
        (
            "published again though it was behind the window",
            |log| {
                log.faults.push(fault(FaultKind::Broker, STEP, 2 * STEP));
                log.close(1);
                log.publish(2, 5);
            },
            &[OnlyInevitableCopies],
        ),
        (
            "more copies than a lost connection explains",
            |log| {
                log.faults.push(fault(FaultKind::Broker, STEP, 2 * STEP));
                log.broker.clear();
                log.delivered
                    .extend((5..8).map(|n| delivery(n, n as i64 + 1)));
            },
            &[OnlyInevitableCopies],
        ),
        (
            "published again after a clean stop",
            |log| {
                log.faults
                    .push(fault(FaultKind::DaemonStop, STEP, 2 * STEP));
                let mut close = seen(1, "close", None, None);
                close.t = 31 * STEP;
                log.broker.push(close);
                log.publish(2, 7);
            },
            &[CleanStop],
        ),
        (
            "a copy after a clean stop",
            |log| {
                log.faults
                    .push(fault(FaultKind::DaemonStop, STEP, 2 * STEP));
                log.broker.clear();
                log.delivered.push(delivery(7, 8));
            },
            &[OnlyInevitableCopies, CleanStop],
        ),
    ]);
}

#[test]
fn a_wrong_order_is_found() {
    check(&[
        (
            "against time and log",
            |log| log.delivered.swap(3, 5),
            &[RealTimeOrder, LogOrder],
        ),
        (
            "against time, as in the log",
            |log| {
                log.rows[3] = row(5, 4);
                log.rows[5] = row(3, 6);
                log.delivered[3] = delivery(5, 4);
                log.delivered[5] = delivery(3, 6);
                log.after_crash = None;
                log.broker.clear();
            },
            &[RealTimeOrder],
        ),
        (
            "against time, and the latest of many before it",
            |log| {
                let first = log.delivered.remove(0);
                log.delivered.insert(7, first);
            },
            &[RealTimeOrder, LogOrder],
        ),
        (
            "rejected, and more than a window late",
            |log| {
                log.plan.window = 1;
                log.nack(3);
                log.delivered.swap(3, 5);
            },
            &[RealTimeOrder, LogOrder],
        ),
        (
            "late, where another one was rejected",
            |log| {
                log.plan.window = 3;
                log.nack(5);
                log.delivered.swap(3, 5);
            },
            &[RealTimeOrder, LogOrder],
        ),
        (
            "concurrent, against the log",
            |log| {
                log.attempts[5].t_send = log.attempts[3].t_send;
                log.delivered.swap(3, 5);
            },
            &[LogOrder],
        ),
        (
            "stored, never answered, and skipped",
            |log| {
                log.attempts[3].status = None;
                log.remove_delivery(3);
            },
            &[LogOrder, Conservation],
        ),
        (
            "two rows at one position",
            |log| {
                log.rows[3].position = 3;
                log.delivered[3].position = 3;
            },
            &[LogOrder],
        ),
    ]);
}

#[test]
fn dishonest_answers_are_found() {
    check(&[
        (
            "signed and answered 401",
            |log| {
                let mut refused = attempt(3, Some(401));
                refused.t_recv -= 1;
                log.attempts.push(refused);
            },
            &[HonestAnswers],
        ),
        (
            "an answer after the deadline",
            |log| log.attempts[7].t_recv += 1_000_000,
            &[HonestAnswers],
        ),
        (
            "no answer, and no close",
            |log| {
                let mut silent = attempt(7, None);
                silent.error = Some(NO_ANSWER.to_owned());
                log.attempts.push(silent);
            },
            &[HonestAnswers],
        ),
        (
            "an unsigned one held on to its connection",
            |log| log.attempts.last_mut().unwrap().t_recv += 1_000_000,
            &[HonestAnswers],
        ),
        (
            "a client's fault that was over",
            |log| {
                log.faults.push(fault(FaultKind::Client, STEP, 2 * STEP));
                log.attempts[7].t_recv += 1_000_000;
            },
            &[HonestAnswers],
        ),
    ]);
}

#[test]
fn what_is_left_over_is_found() {
    check(&[
        ("never drained", |log| log.end.drained_at = None, &[Drain]),
        (
            "drained too late",
            |log| log.end.drained_at = Some(3_000_000),
            &[Drain],
        ),
        (
            "the cursor is behind",
            |log| {
                log.adds_up = false;
                (log.end.head, log.end.cursor, log.end.published) = (8, 7, 7);
                log.remove_delivery(7);
                log.end.lives[0].at_rest = false;
            },
            &[NoLoss, Drain],
        ),
        (
            "a dead letter waits to be published again",
            |log| {
                log.plan.parked = vec!["unroutable".to_owned()];
                log.remove_delivery(3);
                let mut letter = parked(4, "unroutable");
                letter.state = "retry".to_owned();
                log.end.dead_letters = vec![letter];
            },
            &[Drain],
        ),
    ]);
}

#[test]
fn figures_that_do_not_add_up_are_found() {
    fn set(log: &mut super::Log, name: &str, value: f64) {
        log.series.insert(name.to_owned(), value);
    }
    check(&[
        (
            "accepted is not the rows",
            |log| set(log, "hookwell_ledger_events{state=\"accepted\"}", 9.0),
            &[Conservation],
        ),
        (
            "a mismatch is shown",
            |log| set(log, "hookwell_ledger_mismatch_events", 1.0),
            &[Conservation],
        ),
        (
            "a gauge is stale",
            |log| set(log, "hookwell_backlog_events", 3.0),
            &[Conservation],
        ),
        (
            "the quarantine is not as large",
            |log| log.end.quarantined = 2,
            &[Conservation],
        ),
        (
            "fewer accepted than answered 200",
            |log| set(log, "hookwell_events_accepted_total{outcome=\"new\"}", 7.0),
            &[Conservation],
        ),
        (
            "a refusal was not counted",
            |log| set(log, "hookwell_refused_total{reason=\"any\"}", 0.0),
            &[Conservation],
        ),
        (
            "answers by code",
            |log| {
                set(log, "hookwell_http_responses_total{code=\"200\"}", 7.0);
                set(log, "hookwell_http_responses_total{code=\"401\"}", 2.0);
            },
            &[Conservation],
        ),
        (
            "fewer confirms than published",
            |log| {
                set(
                    log,
                    "hookwell_publish_outcomes_total{outcome=\"confirmed\"}",
                    7.0,
                )
            },
            &[Conservation],
        ),
        (
            "a row was removed from the log",
            |log| {
                log.adds_up = false;
                (log.end.head, log.end.cursor, log.end.published) = (9, 9, 9);
                log.end.lives[0].at_rest = false;
            },
            &[Conservation],
        ),
        (
            "a counter fell",
            |log| {
                for value in [5.0, 4.0] {
                    let name = "hookwell_events_accepted_total{outcome=\"new\"}";
                    log.scrapes.push(Scrape {
                        life: 0,
                        t: STEP,
                        metrics: [(name.to_owned(), value)].into(),
                    });
                }
            },
            &[Conservation],
        ),
    ]);
}

#[test]
fn growth_and_bad_stops_are_found() {
    check(&[
        (
            "memory did not come back",
            |log| log.end.after.as_mut().unwrap().rss_bytes *= 2,
            &[Bounded],
        ),
        (
            "descriptors did not come back",
            |log| log.end.after.as_mut().unwrap().fds += 100,
            &[Bounded],
        ),
        (
            "more than may ever be held",
            |log| log.end.peak.as_mut().unwrap().rss_bytes *= 3,
            &[Bounded],
        ),
        (
            "a stop with an exit code",
            |log| log.end.lives[0].exit = Some(1),
            &[CleanStop],
        ),
        (
            "a stop that took too long",
            |log| log.end.lives[0].t_ended += 1_000_000,
            &[CleanStop],
        ),
        (
            "ended by itself",
            |log| log.end.lives[0].ended = Ended::Itself,
            &[CleanStop],
        ),
    ]);
}

#[test]
fn keys_that_slow_down_others_are_found() {
    let slow = super::sound::with_blocked_keys(200_000).judge();
    assert_eq!(slow.violated(), [Isolation], "{}", slow.line());
}
