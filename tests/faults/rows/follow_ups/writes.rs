//! Calls that take effect and are not answered (O-07 and O-08): reads are made again, writes wait for a person.

use super::*;
use crate::harness::eventually;
use crate::lab::follow_ups::tagged;
use crate::records::FaultKind;

/// How long the daemon waits for an answer, in seconds.
const TIMEOUT: u64 = 2;

/// What goes wrong with a read, and what becomes of it.
const READS: &[(&str, &str, &str)] = &[
    (r#"{"status":429}"#, "done", ""),
    (r#"{"status":500}"#, "done", ""),
    (r#"{"status":503}"#, "done", ""),
    (r#"{"delay":1000}"#, "done", ""),
    (r#"{"late_answer":4000}"#, "done", ""),
    (r#"{"hang_up":"before"}"#, "done", ""),
    (r#"{"hang_up":"after"}"#, "done", ""),
    (r#"{"hang_up":"midway"}"#, "done", ""),
    (r#"{"flood":1073741824}"#, "dead", "answer_too_large"),
    (r#"{"status":403}"#, "dead", "no_access"),
    (r#"{"status":422}"#, "dead", "invalid"),
    ("\"malformed\"", "done", ""),
];

/// The same with a write.
const WRITES: &[(&str, &str, &str)] = &[
    (r#"{"status":429}"#, "done", ""),
    (r#"{"delay":1000}"#, "done", ""),
    (r#"{"status":500}"#, "dead", "outcome_unknown"),
    (r#"{"status":502}"#, "dead", "outcome_unknown"),
    (r#"{"status":503}"#, "dead", "outcome_unknown"),
    (r#"{"status":422}"#, "dead", "outcome_unknown"),
    (r#"{"late_answer":4000}"#, "dead", "outcome_unknown"),
    (r#"{"hang_up":"before"}"#, "dead", "outcome_unknown"),
    (r#"{"hang_up":"after"}"#, "dead", "outcome_unknown"),
    (r#"{"hang_up":"midway"}"#, "dead", "outcome_unknown"),
];

fn quick() -> Calls {
    Calls {
        timeout: TIMEOUT,
        interval: "1s",
        lines: "max_answer = \"64KiB\"".to_owned(),
        ..Calls::default()
    }
}

fn troubled(number: usize) -> String {
    format!("Troubled{number:012}")
}

/// O-07: reads meet every kind of trouble, each at a tenant of its own. Nobody else notices.
pub async fn trouble_with_reads(lab: Lab) -> Outcome {
    let mut run = setup(&lab, quick())
        .parks(&["answer_too_large", "no_access", "invalid", "unexpected"])
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    let elsewhere = troubled(READS.len());
    for n in 0..=READS.len() {
        run.authorise(Some(&troubled(n))).await;
    }
    run.more(60).await;
    for round in 1..=lab.times(1, 10) as u64 {
        run.fault(FaultKind::Other, "trouble with reads", async |run| {
            // Where a client that follows redirects would be seen.
            let to = format!("{}/followed", run.api().url());
            let redirect = json!({"tenant": elsewhere, "path": "/contacts/", "count": 1, "deed": {"redirect": to}});
            run.api().fault(redirect).await;
            let one = contacts(&elsewhere, 1);
            post_all(run, &one).await;
            run.calls_of_end(&elsewhere, round).await;
            meet(run, READS, contacts, round).await;
        })
        .await;
    }
    let journal = run.api().journal(run.clock()).await;
    let followed = journal.iter().any(|request| request.path == "/followed");
    run.expect("no redirect is followed", !followed);
    run.ingest_feels_nothing();
    run.judge().await
}

/// O-08: writes meet the same. What may have had its effect is not made again.
pub async fn trouble_with_writes(lab: Lab) -> Outcome {
    let mut run = setup(&lab, quick())
        .parks(&["outcome_unknown"])
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    for n in 0..WRITES.len() {
        run.authorise(Some(&troubled(n))).await;
    }
    let writes = |tenant: &str, count: u64| (0..count).map(|n| tagged(tenant, n)).collect();
    for round in 1..=lab.times(1, 10) as u64 {
        run.more(60).await;
        run.fault(FaultKind::Other, "trouble with writes", async |run| {
            meet(run, WRITES, writes, round).await;
        })
        .await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// Each trouble at a tenant of its own, for the first of two calls; states what becomes of the call that met it.
async fn meet(
    run: &mut Run,
    trouble: &[(&str, &str, &str)],
    events: impl Fn(&str, u64) -> Vec<Crafted>,
    round: u64,
) {
    for (n, (deed, ..)) in trouble.iter().enumerate() {
        let deed: Value = serde_json::from_str(deed).unwrap();
        let fault = json!({"tenant": troubled(n), "path": "/contacts/", "count": 1, "deed": deed});
        run.api().fault(fault).await;
    }
    let all: Vec<_> = (0..trouble.len())
        .flat_map(|n| events(&troubled(n), 2))
        .collect();
    post_all(run, &all).await;
    for (n, (deed, state, reason)) in trouble.iter().enumerate() {
        run.calls_of_end(&troubled(n), 2 * round).await;
        let of = |more: &str| {
            let tenant = troubled(n);
            format!("select count(*) from follow_ups where tenant = '{tenant}' and {more}")
        };
        let done = run.number(&of("state = 'done'")).await;
        let wanted = if *state == "done" { 2 } else { 1 };
        run.expect(
            &format!("{deed} leaves {wanted} of two calls done, not {done}"),
            done == (wanted * round) as i64,
        );
        if *state == "dead" {
            let dead = run
                .number(&of(&format!("state = 'dead' and reason = '{reason}'")))
                .await;
            run.expect(
                &format!("{deed} parks a call as {reason}"),
                dead == round as i64,
            );
        }
    }
    run.expect("each met its trouble", !run.api().is_faulty().await);
}

/// O-08-killed: the daemon is killed while reads and writes have had their effect and are not answered.
pub async fn killed_before_the_answer(lab: Lab) -> Outcome {
    const EACH: u64 = 3;
    let mut run = setup(&lab, Calls::default())
        .parks(&["outcome_unknown"])
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    run.authorise(Some(OWN)).await;
    for round in 1..=lab.times(2, 20) as u64 {
        run.more(40).await;
        let late = json!({"tenant": OWN, "path": "/contacts/", "count": 2 * EACH, "deed": {"late_answer": 20_000}});
        run.api().fault(late).await;
        let mut events = contacts(OWN, EACH);
        events.extend((0..EACH).map(|n| tagged(OWN, n)));
        post_all(&mut run, &events).await;
        eventually("all are under way", SETTLE, async || {
            (!run.api().is_faulty().await).then_some(())
        })
        .await;
        run.fault(FaultKind::DaemonKill, "kill -9 during calls", async |run| {
            run.kill_daemon().await;
            run.look_after_crash().await;
            run.claims_are_over().await;
            run.start_daemon().await;
        })
        .await;
        run.calls_of_end(OWN, 2 * EACH * round).await;
        let of = |rule: &str, state: &str| {
            format!(
                "select count(*) from follow_ups where tenant = '{OWN}' and rule = '{rule}' and state = '{state}'"
            )
        };
        let made = run.number(&of("snapshot", "done")).await;
        let parked = run.number(&of("tag", "dead")).await;
        let wanted = (EACH * round) as i64;
        run.expect(
            &format!("{wanted} reads are made again, not {made}"),
            made == wanted,
        );
        run.expect(
            &format!("{wanted} writes wait for a person, not {parked}"),
            parked == wanted,
        );
    }
    run.judge().await
}
