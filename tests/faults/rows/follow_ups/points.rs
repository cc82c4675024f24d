//! The daemon dies at one place of planning, of a call or of a refresh (O-02).

use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::harness::{eventually, run_cli};
use crate::records::FaultKind;

const ABORTED: i32 = 6;
const LEFT_TO_A_PERSON: &str = "select count(*) from tokens where state = 'reauthorise'";

/// O-02: it aborts at the point that the row's name ends with, at one passage after another, and is started again
/// when the time of its claims is over.
pub async fn crashed(lab: Lab) -> Outcome {
    let point = lab
        .row
        .strip_prefix("O-02-")
        .expect("named after its point");
    let of_tokens = point.starts_with("refresh.");
    // Between an answer and its commit a pair is lost, whatever one does.
    let loses = point == "refresh.answered";
    let passages = match point.split('.').next() {
        // Of some tenants the pair may be lost already.
        Some("refresh") if loses => 1,
        Some("refresh") => TENANTS - 1,
        Some("planner") => 6,
        _ => 40,
    };
    let mut random = lab.random();
    let mut run = setup(&lab, Calls::default())
        .failpoints("")
        .parks(&["outcome_unknown", "reauthorise"])
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    for _ in 0..lab.times(2, 20) {
        run.more(40).await;
        let passages = random.below(passages);
        let what = format!("abort at {point} after {passages} passages");
        run.fault(FaultKind::DaemonKill, &what, async |run| {
            run.stop_daemon().await;
            if of_tokens {
                run.api().expire(None).await;
            }
            run.failpoints(&format!("{point}={passages}*off->return"));
            run.launch_daemon().await.unwrap();
            let status = run.daemon_dies().await;
            let there = status.signal() == Some(ABORTED);
            run.expect(&format!("it dies at {point}, not by {status}"), there);
            run.look_after_crash().await;
            run.claims_are_over().await;
            run.failpoints("");
            run.start_daemon().await;
        })
        .await;
        if loses {
            eventually("the tenant is left to a person", SETTLE, async || {
                (0 < run.number(LEFT_TO_A_PERSON).await).then_some(())
            })
            .await;
        }
        if of_tokens {
            authorise_again(&mut run).await;
        }
    }
    run.load().set_rate(0.0);
    run.load().quiet(SETTLE).await;
    run.calls_settle().await;
    if of_tokens {
        // Several may have been under way when it died.
        authorise_again(&mut run).await;
        run.calls_settle().await;
        let spent = spent(&run).await;
        run.figure(format!("{spent} presentations of spent tokens"));
    }
    let left = run.number(LEFT_TO_A_PERSON).await;
    run.expect(
        &format!("nobody is left to a person, not {left}"),
        left == 0,
    );
    run.judge().await
}

/// O-02-refresh.panic: the first refresh of each tenant panics before it asks. The daemon goes on, and when the time of
/// these refreshes is over others bring the tokens.
pub async fn refreshes_panic(lab: Lab) -> Outcome {
    let mut run = setup(&lab, Calls::default())
        .failpoints(&format!("refresh.panic={TENANTS}*return"))
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    run.more(40).await;
    run.api().expire(None).await;
    run.more(40).await;
    refreshes_under_way(&run, TENANTS as i64).await;
    run.change("update tokens set refreshing_until = 0 where refreshing_until is not null")
        .await;
    refreshes_under_way(&run, 0).await;
    run.more(40).await;
    run.load().set_rate(0.0);
    run.load().quiet(SETTLE).await;
    run.calls_settle().await;
    let spent = spent(&run).await;
    run.expect(&format!("no token is spent twice, not {spent}"), spent == 0);
    run.judge().await
}

/// Waits until so many refreshes have begun and not ended.
async fn refreshes_under_way(run: &Run, wanted: i64) {
    let sql = "select count(*) from tokens where refreshing_until is not null";
    let what = format!("{wanted} refreshes are under way");
    eventually(&what, SETTLE, async || {
        (run.number(sql).await == wanted).then_some(())
    })
    .await;
}

/// A person authorises the app again where it is necessary, and nowhere else: a tenant whose token is good would keep
/// it as the one before.
async fn authorise_again(run: &mut Run) {
    for tenant in run.left_to_a_person().await {
        run.authorise(Some(&tenant)).await;
    }
    retry(run);
}

/// Presentations of tokens that were spent.
async fn spent(run: &Run) -> u64 {
    let report = run.api().report().await;
    report
        .refresh_tokens
        .values()
        .map(|token| token.spent)
        .sum()
}

/// A person has the parked reads made again; what may not be made twice stays.
pub(super) fn retry(run: &mut Run) {
    let config = run.config().clone();
    let arguments = ["follow-ups", "retry", "--rule", "snapshot"];
    let output = tokio::task::block_in_place(|| run_cli(&arguments, &config));
    run.expect("parked calls can be retried", output.status.success());
}
