//! Calls that events call for: made, once, and not before their event is stored.

use super::check;
use super::log::{Log, STEP, delivery, fault, id, row, seen};
use crate::bench::checker::Finding;
use crate::bench::checker::Invariant::*;
use crate::bench::records::calls::{Call, Chain, FollowUps, Report, Request, Rule};
use crate::bench::records::{Ended, FaultKind, Life};

const SNAPSHOT: &str = "snapshot";
const TAG: &str = "tag";
/// The place of the answer in the log, behind the events.
const ANSWER: i64 = 9;

fn rule(name: &str, bind: &str, idempotent: bool) -> Rule {
    Rule {
        name: name.to_owned(),
        bind: vec![bind.to_owned()],
        idempotent,
        publishes: idempotent,
    }
}

/// A request for event `n`, made at a step.
pub fn request(name: &str, n: u64, step: u64, status: Option<u16>) -> Request {
    Request {
        t: step * STEP,
        answered: Some(step * STEP + 10),
        method: "GET".to_owned(),
        path: "/contacts/c".to_owned(),
        query: format!("rule={name}&for={}", id(n)),
        tenant: Some("tenant".to_owned()),
        status,
        fault: status.is_none().then(|| "hang_up".to_owned()),
    }
}

fn call(number: i64, name: &str, position: i64) -> Call {
    Call {
        id: number,
        position,
        rule: name.to_owned(),
        tenant: "tenant".to_owned(),
        entity: Some("c".to_owned()),
        state: "done".to_owned(),
        reason: None,
        planned: 0,
        ended: Some(0),
    }
}

/// The good run, in which event 2 has its contact fetched and event 3 a tag set. Every chain goes on.
pub fn with_follow_ups(log: &mut Log) {
    log.plan.follow_ups = Some(FollowUps {
        rules: vec![rule(SNAPSHOT, "fetch.#", true), rule(TAG, "write.#", false)],
        timeout_us: STEP,
        ..FollowUps::default()
    });
    log.attempts[2].routing_key = Some("fetch.a".to_owned());
    log.attempts[3].routing_key = Some("write.a".to_owned());
    log.calls = vec![call(1, SNAPSHOT, 3), call(2, TAG, 4)];
    log.api = vec![
        request(SNAPSHOT, 2, 10, Some(200)),
        request(TAG, 3, 11, Some(201)),
    ];
    log.report = Some(Report {
        requests: 2,
        ..Report::default()
    });
    log.end.chains = vec![Chain {
        tenant: "tenant".to_owned(),
        state: "usable".to_owned(),
        asked: true,
    }];
    log.end.asked_at = Some(9 * STEP);
    let name = format!("{SNAPSHOT}-3");
    let mut answer = row(50, ANSWER);
    answer.id.clone_from(&name);
    log.rows.push(answer);
    let mut came = delivery(50, ANSWER);
    came.id.clone_from(&name);
    log.delivered.push(came);
    let mut published = seen(1, "publish", Some(50), Some(9));
    published.id = Some(name);
    log.broker.push(published);
    log.broker.push(seen(1, "ack", None, Some(9)));
}

/// One more request.
fn again(log: &mut Log, request: Request) {
    log.api.push(request);
    log.report.as_mut().unwrap().requests += 1;
}

fn no_answer(log: &mut Log) {
    let name = format!("{SNAPSHOT}-3");
    log.rows.retain(|row| row.id != name);
    log.delivered.retain(|came| came.id != name);
    log.broker.truncate(log.broker.len() - 2);
}

/// A daemon that was killed at a step, before the last one.
pub fn killed(log: &mut Log, step: u64) {
    let life = Life {
        ended: Ended::Killed,
        t_asked: 0,
        t_ended: step * STEP,
        exit: None,
        metrics: log.end.lives[0].metrics.clone(),
        at_rest: false,
    };
    log.end.lives.insert(0, life);
    let kill = fault(FaultKind::DaemonKill, step * STEP, step * STEP + 1);
    log.faults.push(kill);
}

#[test]
fn a_run_with_follow_ups_is_sound() {
    let mut log = Log::good();
    with_follow_ups(&mut log);
    let verdict = log.judge();
    let line = verdict.line();
    assert!(verdict.holds(), "{line}");
    assert_eq!(verdict.findings[&EachCallMade], Finding::Ok);
    assert_eq!(verdict.findings[&SingleUse], Finding::Ok);
    assert!(line.contains(" rows=9 seen=9 "), "{line}");
    assert!(line.contains(" recovered=0 "), "{line}");
    assert!(line.contains(" calls=2 requests=2 answers=1 "), "{line}");
    let undecided = Log::good().judge();
    let reason = Finding::NotApplicable("no follow-ups".to_owned());
    assert_eq!(undecided.findings[&EachCallMade], reason);
}

#[test]
fn a_call_that_is_missing_is_found() {
    check(&[
        (
            "never written down",
            |log| {
                with_follow_ups(log);
                log.calls.remove(1);
            },
            &[EachCallMade],
        ),
        (
            "written down twice",
            |log| {
                with_follow_ups(log);
                log.calls.push(call(3, TAG, 4));
            },
            &[EachCallMade],
        ),
        (
            "done, and never made",
            |log| {
                with_follow_ups(log);
                log.api.remove(1);
                log.report.as_mut().unwrap().requests = 1;
            },
            &[EachCallMade],
        ),
        (
            "done with a refusal",
            |log| {
                with_follow_ups(log);
                log.api[0].status = Some(503);
            },
            // The chain had to go on with one of the two.
            &[EachCallMade],
        ),
        (
            "done, and its answer is not in the log",
            |log| {
                with_follow_ups(log);
                no_answer(log);
            },
            &[EachCallMade],
        ),
        (
            "its answer is in the log and never came",
            |log| {
                with_follow_ups(log);
                log.delivered.pop();
            },
            &[LogOrder, Conservation],
        ),
        (
            "still waiting",
            |log| {
                with_follow_ups(log);
                log.calls[1].state = "pending".to_owned();
            },
            &[EachCallMade],
        ),
        (
            "parked for a reason that the run does not explain",
            |log| {
                with_follow_ups(log);
                log.calls[1].state = "dead".to_owned();
                log.calls[1].reason = Some("outcome_unknown".to_owned());
            },
            &[EachCallMade],
        ),
        (
            "parked for a reason that it explains",
            |log| {
                with_follow_ups(log);
                log.calls[1].state = "dead".to_owned();
                log.calls[1].reason = Some("outcome_unknown".to_owned());
                let plan = log.plan.follow_ups.as_mut().unwrap();
                plan.parked = vec!["outcome_unknown".to_owned()];
            },
            &[],
        ),
        (
            "cancelled, and nothing was uninstalled",
            |log| {
                with_follow_ups(log);
                log.calls[1].state = "cancelled".to_owned();
            },
            &[EachCallMade],
        ),
        (
            "an answer to a call that nobody called for",
            |log| {
                with_follow_ups(log);
                log.rows[8].id = format!("{SNAPSHOT}-4");
                log.delivered[8].id = format!("{SNAPSHOT}-4");
                log.calls[0].state = "cancelled".to_owned();
                log.plan.follow_ups.as_mut().unwrap().uninstalls = true;
            },
            &[NothingInvented, Conservation],
        ),
    ]);
}

#[test]
fn a_call_is_made_again_only_where_nobody_could_know() {
    check(&[
        (
            "after its answer had come",
            |log| {
                with_follow_ups(log);
                again(log, request(SNAPSHOT, 2, 12, Some(200)));
            },
            &[EachCallMade],
        ),
        (
            "after a kill",
            |log| {
                with_follow_ups(log);
                killed(log, 11);
                again(log, request(SNAPSHOT, 2, 12, Some(200)));
            },
            &[],
        ),
        (
            "the kill was just before the first was read",
            |log| {
                with_follow_ups(log);
                killed(log, 9);
                again(log, request(SNAPSHOT, 2, 12, Some(200)));
            },
            &[],
        ),
        (
            "the kill was before",
            |log| {
                with_follow_ups(log);
                killed(log, 9);
                log.api[0] = request(SNAPSHOT, 2, 40, Some(200));
                again(log, request(SNAPSHOT, 2, 42, Some(200)));
            },
            &[EachCallMade],
        ),
        (
            "after a refusal",
            |log| {
                with_follow_ups(log);
                again(log, request(SNAPSHOT, 2, 12, Some(200)));
                log.api[0].status = Some(429);
            },
            &[],
        ),
        (
            "after an answer that did not come",
            |log| {
                with_follow_ups(log);
                again(log, request(SNAPSHOT, 2, 12, Some(200)));
                log.api[0] = request(SNAPSHOT, 2, 10, None);
            },
            &[],
        ),
        (
            "after an answer that came too late",
            |log| {
                with_follow_ups(log);
                again(log, request(SNAPSHOT, 2, 12, Some(200)));
                log.api[0].answered = Some(11 * STEP);
            },
            &[],
        ),
        (
            "what may not be made twice, after a kill",
            |log| {
                with_follow_ups(log);
                killed(log, 12);
                again(log, request(TAG, 3, 13, Some(201)));
            },
            &[EachCallMade],
        ),
        (
            "what may not be made twice, after a refusal",
            |log| {
                with_follow_ups(log);
                again(log, request(TAG, 3, 13, Some(201)));
                log.api[1].status = Some(503);
            },
            &[],
        ),
        (
            "called for by nobody",
            |log| {
                with_follow_ups(log);
                again(log, request(TAG, 5, 13, Some(201)));
            },
            &[EachCallMade],
        ),
        (
            "for an event that never was",
            |log| {
                with_follow_ups(log);
                again(log, request(TAG, 77, 13, Some(201)));
            },
            &[EachCallMade],
        ),
    ]);
}

#[test]
fn a_call_before_its_event_is_found() {
    check(&[
        (
            "before it was sent",
            |log| {
                with_follow_ups(log);
                log.api[0].t = 2 * STEP;
                log.api[0].answered = Some(2 * STEP + 10);
                // Another one keeps the chain.
                log.api[1].tenant = Some("tenant".to_owned());
            },
            &[EachCallMade],
        ),
        (
            "before a crash that had not stored it",
            |log| {
                with_follow_ups(log);
                let rows: Vec<_> = (0..2).zip(1..).map(|(n, at)| row(n, at)).collect();
                // Answered behind the crash, so that the event itself is not lost.
                log.after_crash = Some((12 * STEP, rows));
                for attempt in &mut log.attempts[2..8] {
                    attempt.t_recv = 13 * STEP;
                }
            },
            &[EachCallMade],
        ),
    ]);
}

#[test]
fn events_that_join_a_call_are_covered_by_it() {
    fn merged(log: &mut Log, into: i64) {
        with_follow_ups(log);
        log.attempts[4].routing_key = Some("fetch.a".to_owned());
        let mut joined = call(3, SNAPSHOT, 5);
        joined.state = "merged".to_owned();
        joined.reason = Some(format!("into {into}"));
        log.calls.push(joined);
    }
    check(&[
        ("one of the same record", |log| merged(log, 1), &[]),
        ("one of another rule", |log| merged(log, 2), &[EachCallMade]),
        ("one that never was", |log| merged(log, 9), &[EachCallMade]),
        (
            "one of another record",
            |log| {
                merged(log, 1);
                log.calls[2].entity = Some("d".to_owned());
            },
            &[EachCallMade],
        ),
        (
            "one that was made before",
            |log| {
                merged(log, 1);
                log.api[0].t = 4 * STEP;
                log.api[0].answered = Some(4 * STEP + 10);
            },
            &[EachCallMade],
        ),
    ]);
}

#[test]
fn a_journal_that_is_not_whole_decides_nothing() {
    let mut log = Log::good();
    with_follow_ups(&mut log);
    log.report.as_mut().unwrap().requests = 3;
    let verdict = log.judge();
    let reason = Finding::NotApplicable("the journal is not whole".to_owned());
    assert_eq!(verdict.findings[&EachCallMade], reason);
}
