//! Every condition by itself, on both sides of its edge: what explains a copy.

use super::check;
use super::log::{Log, STEP, attempt, delivery, fault, hash, parked, row, seen};
use crate::bench::checker::Invariant::*;
use crate::bench::records::{Ended, FaultKind};

const CONNECTS: &str = "hookwell_broker_connects_total{result=\"ok\"}";

fn broker_was_away(log: &mut Log) {
    log.faults.push(fault(FaultKind::Broker, STEP, 2 * STEP));
}

/// What is published without its outcome being known.
fn publish_openly(log: &mut Log, conn: u64, n: u64, tag: Option<u64>) {
    log.broker.push(seen(conn, "publish", Some(n), tag));
}

#[test]
fn copies_and_publishes() {
    check(&[
        (
            "as many as a loss explains, and more than were published",
            |log| {
                broker_was_away(log);
                log.close(1);
                log.delivered.push(delivery(3, 4));
            },
            &[OnlyInevitableCopies],
        ),
        (
            "as many as were published, and one of them never left",
            |log| {
                broker_was_away(log);
                log.close(1);
                log.publish(2, 7);
                let publish = log.broker.len() - 2;
                log.broker[publish].forwarded = false;
                log.delivered.push(delivery(7, 8));
            },
            &[OnlyInevitableCopies],
        ),
        (
            "of an event that was returned",
            |log| {
                log.faults.push(fault(FaultKind::Topology, STEP, 2 * STEP));
                let publish = log.broker.len() - 2;
                let returned = seen(1, "return", Some(7), None);
                log.broker.insert(publish + 1, returned);
                log.publish(1, 7);
                log.delivered.push(delivery(7, 8));
            },
            &[],
        ),
        (
            "while a connection was lost that had published nothing",
            |log| {
                broker_was_away(log);
                log.publish(2, 7);
                log.broker.push(seen(3, "open", None, None));
                log.close(3);
                log.delivered.push(delivery(7, 8));
            },
            &[OnlyInevitableCopies],
        ),
        (
            "twice on one connection, under the key of altered bytes",
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
                for tag in [9, 10] {
                    let mut publish = seen(1, "publish", Some(7), Some(tag));
                    publish.id = Some(kept.id.clone());
                    log.broker.push(publish);
                }
                log.rows.push(kept);
                log.delivered.push(came);
            },
            &[OnlyInevitableCopies],
        ),
    ]);
}

#[test]
fn nacks_are_attributed_by_their_tags() {
    check(&[
        (
            "everything on the channel",
            |log| {
                broker_was_away(log);
                log.close(1);
                publish_openly(log, 2, 6, Some(1));
                publish_openly(log, 2, 7, Some(2));
                let mut nack = seen(2, "nack", None, Some(0));
                nack.multiple = true;
                log.broker.push(nack);
                log.publish(2, 6);
                log.publish(2, 7);
            },
            &[],
        ),
        (
            "everything up to a tag",
            |log| {
                broker_was_away(log);
                log.close(1);
                publish_openly(log, 2, 6, Some(1));
                publish_openly(log, 2, 7, Some(2));
                let mut nack = seen(2, "nack", None, Some(2));
                nack.multiple = true;
                log.broker.push(nack);
                log.publish(2, 6);
                log.publish(2, 7);
            },
            &[],
        ),
        (
            "up to a tag, and not beyond it",
            |log| {
                broker_was_away(log);
                log.close(1);
                publish_openly(log, 2, 6, Some(1));
                publish_openly(log, 2, 7, Some(2));
                let mut nack = seen(2, "nack", None, Some(1));
                nack.multiple = true;
                log.broker.push(nack);
                log.publish(2, 6);
                log.publish(2, 7);
            },
            &[OnlyInevitableCopies],
        ),
        (
            "a message without an id has a tag too",
            |log| {
                broker_was_away(log);
                log.close(1);
                log.broker.push(seen(2, "publish", None, None));
                publish_openly(log, 2, 7, None);
                log.broker.push(seen(2, "nack", None, Some(2)));
                log.publish(2, 7);
            },
            &[],
        ),
        (
            "a new channel counts from one",
            |log| {
                broker_was_away(log);
                log.close(1);
                publish_openly(log, 2, 6, None);
                log.broker.push(seen(2, "channel-open", None, None));
                publish_openly(log, 2, 7, None);
                log.broker.push(seen(2, "nack", None, Some(1)));
                log.publish(2, 7);
            },
            &[],
        ),
    ]);
}

#[test]
fn losses_without_a_record_of_connections() {
    fn without_a_record(log: &mut Log) {
        log.broker.clear();
        log.delivered.push(delivery(7, 8));
    }
    check(&[
        (
            "nothing was lost",
            |log| {
                without_a_record(log);
                log.end.lives[0].ended = Ended::Running;
            },
            &[OnlyInevitableCopies],
        ),
        (
            "the broker was away",
            |log| {
                without_a_record(log);
                broker_was_away(log);
            },
            &[],
        ),
        (
            "a power cut",
            |log| {
                without_a_record(log);
                log.faults.push(fault(FaultKind::PowerCut, STEP, 2 * STEP));
            },
            &[],
        ),
        (
            "a refusal, which closes the channel",
            |log| {
                without_a_record(log);
                log.end.lives[0].ended = Ended::Running;
                log.plan.parked = vec!["refused_by_broker".to_owned()];
                log.remove_delivery(3);
                log.end.dead_letters = vec![parked(4, "refused_by_broker")];
            },
            &[],
        ),
        (
            "the daemon connected twice",
            |log| {
                without_a_record(log);
                log.end.lives[0].ended = Ended::Running;
                log.series.insert(CONNECTS.to_owned(), 2.0);
            },
            &[],
        ),
        (
            "the daemon was killed",
            |log| {
                without_a_record(log);
                log.end.lives[0].ended = Ended::Killed;
            },
            &[],
        ),
    ]);
}

#[test]
fn connections_that_a_stop_closed() {
    fn published_after_the_stop(log: &mut Log) {
        let mut close = seen(1, "close", None, None);
        close.t = 31 * STEP;
        log.broker.push(close);
        log.publish(2, 7);
    }
    check(&[
        (
            "they explain no copy",
            |log| {
                log.faults
                    .push(fault(FaultKind::DaemonStop, STEP, 2 * STEP));
                published_after_the_stop(log);
                log.delivered.push(delivery(7, 8));
            },
            &[OnlyInevitableCopies, CleanStop],
        ),
        (
            "the next process was killed soon after it",
            |log| {
                let kill = fault(FaultKind::DaemonKill, 45 * STEP, 46 * STEP);
                log.faults.push(kill);
                let mut close = seen(1, "close", None, None);
                close.t = 31 * STEP;
                log.broker.insert(1 + 2 * 7, close);
                for seen in &mut log.broker[2 + 2 * 7..] {
                    (seen.conn, seen.t) = (2, 40 * STEP);
                }
                log.close(2);
                log.broker.last_mut().unwrap().t = 45 * STEP;
                log.publish(3, 7);
                log.delivered.push(delivery(7, 8));
            },
            &[],
        ),
        (
            "a stop that failed is a loss",
            |log| {
                log.faults
                    .push(fault(FaultKind::DaemonStop, STEP, 2 * STEP));
                published_after_the_stop(log);
                log.end.lives[0].exit = Some(1);
                log.delivered.push(delivery(7, 8));
            },
            &[CleanStop],
        ),
        (
            "the broker was away before the stop",
            |log| {
                broker_was_away(log);
                published_after_the_stop(log);
            },
            &[CleanStop],
        ),
        (
            "the broker was away long after the stop",
            |log| {
                log.faults
                    .push(fault(FaultKind::Broker, 500 * STEP, 501 * STEP));
                published_after_the_stop(log);
            },
            &[CleanStop],
        ),
        (
            "the broker was away during the stop",
            |log| {
                log.faults.push(fault(FaultKind::Broker, STEP, 40 * STEP));
                published_after_the_stop(log);
            },
            &[],
        ),
        (
            "the store was away during the stop",
            |log| {
                log.faults.push(fault(FaultKind::Store, STEP, 40 * STEP));
                published_after_the_stop(log);
            },
            &[],
        ),
        (
            "a power cut takes nothing back from Postgres",
            |log| {
                log.plan.store = "postgres".to_owned();
                log.faults
                    .push(fault(FaultKind::PowerCut, 9 * STEP, 10 * STEP));
                log.end.lives[0].ended = Ended::Killed;
                log.close(1);
                let mut open = seen(2, "open", None, None);
                open.t = 11 * STEP;
                log.broker.push(open);
                log.publish(2, 1);
            },
            &[OnlyInevitableCopies],
        ),
    ]);
}
