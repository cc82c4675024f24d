//! Tokens that end while many calls need them (O-01 and its like).

use super::points::retry;
use super::*;
use crate::harness::{Backend, eventually};
use crate::proved;
use crate::records::FaultKind;

/// Calls of one daemon at once.
const AT_ONCE: u64 = 50;

/// O-01: fifty calls of each daemon, three of them where they can share a store, are refused for their token at once.
/// One of them all refreshes it.
pub async fn refreshed_once(lab: Lab) -> Outcome {
    let calls = Calls {
        lines: format!("concurrency = {AT_ONCE}"),
        ..Calls::default()
    };
    let mut run = setup(&lab, calls).start().await;
    let mut daemons = 1;
    if lab.store == Backend::Postgres {
        run.start_replicas().await;
        daemons = 3;
    }
    run.authorise_tenants(TENANTS).await;
    run.authorise(Some(OWN)).await;
    run.more(100).await;
    for round in 1..=lab.times(1, 20) as u64 {
        let before = run.api().report().await;
        // The load's calls would take claims: they may go on when the row's own are under way.
        run.load().set_rate(0.0);
        run.load().quiet(SETTLE).await;
        run.calls_settle().await;
        run.api()
            .fault(json!({"tenant": OWN, "path": "/contacts/", "count": AT_ONCE * daemons, "deed": {"delay": 3000}}))
            .await;
        post_all(&mut run, &contacts(OWN, AT_ONCE * daemons)).await;
        // Nothing is done yet, and nothing judged.
        eventually("all are under way", SETTLE, async || {
            (!run.api().is_faulty().await).then_some(())
        })
        .await;
        // The refresh takes its time, so every call comes to want it.
        let mut slowly = of_tokens(json!({"delay": 500}), 1);
        slowly["tenant"] = json!(OWN);
        run.api().fault(slowly).await;
        run.api().expire(Some(OWN)).await;
        run.load().set_rate(60.0);
        run.calls_of_end(OWN, AT_ONCE * daemons * round).await;
        let journal = run.api().journal(run.clock()).await;
        let refused = journal
            .iter()
            .filter(|one| one.status == Some(401) && one.path != "/oauth/token");
        let (refused, wanted) = (refused.count() as u64, AT_ONCE * daemons * round);
        run.expect(
            &format!("{wanted} calls are refused at once, not {refused}"),
            refused == wanted,
        );
        let of = |report: &crate::records::calls::Report| {
            report.refreshes.get(OWN).copied().unwrap_or(0)
        };
        let refreshes = of(&run.api().report().await) - of(&before);
        run.expect(
            &format!("one refresh for one expiry, not {refreshes}"),
            refreshes == 1,
        );
    }
    run.judge().await
}

/// What goes wrong at the token endpoint, and whether the pair can be had all the same.
const TROUBLE: &[(&str, bool)] = &[
    // Nothing is done.
    (r#"{"status":500}"#, true),
    (r#"{"status":503}"#, true),
    (r#"{"status":429}"#, true),
    (r#"{"hang_up":"before"}"#, true),
    (r#"{"flood":1073741824}"#, true),
    (
        r#"{"redirect":"http://169.254.169.254/latest/meta-data/"}"#,
        true,
    ),
    // It is done, and the answer is odd.
    (r#"{"expires_in":0}"#, true),
    (r#"{"expires_in":"never"}"#, true),
    (r#"{"expires_in":1e300}"#, true),
    (r#""no_refresh_token""#, true),
    (r#""camel_case""#, true),
    // It is done, and the answer is of no use: nobody has the new pair.
    (r#""malformed""#, false),
    (r#"{"hang_up":"after"}"#, false),
    (r#"{"hang_up":"midway"}"#, false),
];

fn troubled(number: usize) -> String {
    format!("Troubled{number:012}")
}

/// Tenants of [`TROUBLE`] whose token is in this state.
async fn in_state(run: &Run, state: &str) -> i64 {
    run.number(&format!(
        "select count(*) from tokens where tenant like 'Troubled%' and state = '{state}'"
    ))
    .await
}

/// O-03: a refresh meets every kind of trouble, each at a tenant of its own. Where nothing was spent the token is had
/// a little later; where the new pair is lost a person is asked, after one more try, and everything goes on.
pub async fn trouble_at_the_endpoint(lab: Lab) -> Outcome {
    let mut run = setup(&lab, Calls::default())
        .parks(&["reauthorise"])
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    for n in 0..TROUBLE.len() {
        run.authorise(Some(&troubled(n))).await;
    }
    for round in 1..=lab.times(1, 5) as u64 {
        let before = run.api().report().await;
        for (n, (deed, _)) in TROUBLE.iter().enumerate() {
            let deed: Value = serde_json::from_str(deed).unwrap();
            let mut fault = of_tokens(deed, 1);
            fault["tenant"] = json!(troubled(n));
            run.api().fault(fault).await;
            run.api().expire(Some(&troubled(n))).await;
        }
        let events: Vec<_> = (0..TROUBLE.len())
            .flat_map(|n| contacts(&troubled(n), 3))
            .collect();
        post_all(&mut run, &events).await;
        for n in 0..TROUBLE.len() {
            run.calls_of_end(&troubled(n), 3 * round).await;
        }
        run.expect("each met its trouble", !run.api().is_faulty().await);
        let left = in_state(&run, "reauthorise").await;
        let wanted = TROUBLE.iter().filter(|(_, had)| !had).count();
        run.expect(
            &format!("{wanted} tenants are left to a person, not {left}"),
            left == wanted as i64,
        );
        let report = run.api().report().await;
        let spent = |report: &crate::records::calls::Report| -> u64 {
            report
                .refresh_tokens
                .values()
                .map(|token| token.spent)
                .sum()
        };
        let again = spent(&report) - spent(&before);
        run.figure(format!("{again} presentations of spent tokens"));
        run.load().set_rate(60.0);
        // A person authorises them again; the token that had no successor is among them.
        for n in 0..TROUBLE.len() {
            run.authorise(Some(&troubled(n))).await;
        }
        retry(&mut run);
        for n in 0..TROUBLE.len() {
            run.calls_of_end(&troubled(n), 3 * round).await;
        }
        let dead = run
            .number("select count(*) from follow_ups where state = 'dead'")
            .await;
        run.expect(&format!("no call stays parked, not {dead}"), dead == 0);
    }
    run.judge().await
}

/// O-04: the answer to a refresh comes later than any call may take, and the daemon is asked to end meanwhile. The pair is kept before it
/// ends, and the next one goes on with it.
pub async fn late_answers(lab: Lab) -> Outcome {
    let brief = Calls {
        timeout: 2,
        ..Calls::default()
    };
    let mut run = setup(&lab, brief).start().await;
    run.authorise_tenants(TENANTS).await;
    run.authorise(Some(OWN)).await;
    for round in 1..=lab.times(2, 10) as u64 {
        run.more(40).await;
        let mut fault = of_tokens(json!({"late_answer": 3000}), 1);
        fault["tenant"] = json!(OWN);
        run.api().fault(fault).await;
        run.api().expire(Some(OWN)).await;
        post_all(&mut run, &contacts(OWN, 5)).await;
        eventually("the refresh is under way", SETTLE, async || {
            (!run.api().is_faulty().await).then_some(())
        })
        .await;
        // Whoever waits for it is gone every other time.
        if round % 2 == 1 {
            run.fault(
                FaultKind::DaemonStop,
                "SIGTERM during a refresh",
                async |run| {
                    run.stop_daemon().await;
                    run.start_daemon().await;
                },
            )
            .await;
        }
        run.calls_of_end(OWN, 5 * round).await;
        let report = run.api().report().await;
        let refreshes = report.refreshes.get(OWN).copied().unwrap_or(0);
        run.expect(
            &format!("one refresh for one expiry, not {refreshes} for {round}"),
            refreshes == round,
        );
        let spent = report.refresh_tokens.values().any(|token| token.spent != 0);
        run.expect("no token is presented twice", !spent);
    }
    run.judge().await
}

/// O-05: tokens at rest are read with their own key and at their own place, or not at all.
pub async fn sealed(lab: Lab) -> Outcome {
    Outcome::proved(&lab, proved::SEALED)
}

/// O-06: callbacks that did not begin here, came before, or bring nothing good.
pub async fn callbacks(lab: Lab) -> Outcome {
    Outcome::proved(&lab, proved::CALLBACK)
}
