//! Refresh tokens: each good once, and their chains going on or waiting for a person.

use super::check;
use super::follow_ups::{killed, request, with_follow_ups};
use super::log::{Log, STEP};
use crate::bench::checker::Finding;
use crate::bench::checker::Invariant::*;
use crate::bench::records::calls::{Presentations, Request};

fn presented(log: &mut Log, id: &str, successful: u64, spent: u64) {
    let token = Presentations {
        tenant: "tenant".to_owned(),
        successful,
        spent,
    };
    let report = log.report.as_mut().unwrap();
    report.refresh_tokens.insert(id.to_owned(), token);
}

/// A refresh whose answer was lost.
fn lost(log: &mut Log) {
    log.api.push(Request {
        path: "/oauth/token".to_owned(),
        query: String::new(),
        ..request("", 0, 12, None)
    });
    log.report.as_mut().unwrap().requests += 1;
}

#[test]
fn a_refresh_token_that_is_presented_again_is_found() {
    check(&[
        (
            "once",
            |log| {
                with_follow_ups(log);
                presented(log, "a", 1, 0);
                presented(log, "b", 1, 0);
            },
            &[],
        ),
        (
            "again when it was spent",
            |log| {
                with_follow_ups(log);
                presented(log, "a", 1, 1);
            },
            &[SingleUse],
        ),
        (
            "with two pairs",
            |log| {
                with_follow_ups(log);
                presented(log, "a", 2, 0);
            },
            &[SingleUse],
        ),
        (
            "again after a kill",
            |log| {
                with_follow_ups(log);
                killed(log, 12);
                presented(log, "a", 1, 1);
            },
            &[],
        ),
        (
            "again after a kill, and the one before it",
            |log| {
                with_follow_ups(log);
                killed(log, 12);
                presented(log, "a", 1, 1);
                presented(log, "b", 1, 1);
            },
            &[],
        ),
        (
            "again after a kill, and two before it",
            |log| {
                with_follow_ups(log);
                killed(log, 12);
                for id in ["a", "b", "c"] {
                    presented(log, id, 1, 1);
                }
            },
            &[SingleUse],
        ),
        (
            "one kill overtook the refreshes of two tenants",
            |log| {
                with_follow_ups(log);
                killed(log, 12);
                for (id, tenant) in [("a", "one"), ("b", "one"), ("c", "two"), ("d", "two")] {
                    presented(log, id, 1, 1);
                    let tokens = &mut log.report.as_mut().unwrap().refresh_tokens;
                    tokens.get_mut(id).unwrap().tenant = tenant.to_owned();
                }
            },
            &[],
        ),
        (
            "twice again after a kill",
            |log| {
                with_follow_ups(log);
                killed(log, 12);
                presented(log, "a", 1, 2);
            },
            &[SingleUse],
        ),
        (
            "again after an answer that was lost",
            |log| {
                with_follow_ups(log);
                lost(log);
                presented(log, "a", 1, 1);
            },
            &[],
        ),
        (
            "one that never was",
            |log| {
                with_follow_ups(log);
                log.report.as_mut().unwrap().unknown_refresh_tokens = 1;
            },
            &[SingleUse],
        ),
    ]);
}

#[test]
fn a_chain_that_ends_is_found() {
    fn left(log: &mut Log, state: &str) {
        with_follow_ups(log);
        log.end.chains[0].state = state.to_owned();
    }
    check(&[
        (
            "left to a person, and nothing happened",
            |log| left(log, "reauthorise"),
            &[SingleUse],
        ),
        (
            "left to a person after a kill",
            |log| {
                left(log, "reauthorise");
                killed(log, 12);
            },
            &[],
        ),
        (
            "left to a person after a lost answer",
            |log| {
                left(log, "reauthorise");
                lost(log);
            },
            &[],
        ),
        (
            "usable, as the store says, and no call succeeds",
            |log| {
                with_follow_ups(log);
                log.end.asked_at = Some(13 * STEP);
            },
            &[SingleUse],
        ),
        (
            "usable, and only others' calls succeed",
            |log| {
                with_follow_ups(log);
                log.end.chains[0].tenant = "another".to_owned();
            },
            &[SingleUse],
        ),
        (
            "usable, and nobody asked",
            |log| {
                with_follow_ups(log);
                log.end.chains[0].tenant = "another".to_owned();
                log.end.chains[0].asked = false;
            },
            &[],
        ),
    ]);
}

#[test]
fn chains_that_nobody_asked_decide_nothing() {
    let mut log = Log::good();
    with_follow_ups(&mut log);
    log.end.asked_at = None;
    log.end.chains[0].asked = false;
    let verdict = log.judge();
    let reason = Finding::NotApplicable("no chain was asked whether it goes on".to_owned());
    assert_eq!(verdict.findings[&SingleUse], reason);
    let verdict = Log::good().judge();
    let reason = Finding::NotApplicable("nobody counted refresh tokens".to_owned());
    assert_eq!(verdict.findings[&SingleUse], reason);
}
