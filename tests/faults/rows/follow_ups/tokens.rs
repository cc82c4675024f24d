//! Tokens that end while many calls need them (O-01 and its like).

use super::*;
use crate::harness::{Backend, eventually};

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
        run.start_peer().await;
        run.start_peer().await;
        daemons = 3;
    }
    run.authorise_tenants(TENANTS).await;
    run.authorise(Some(OWN)).await;
    run.more(100).await;
    for round in 1..=lab.times(2, 20) as u64 {
        let before = run.api().report().await;
        // The load's calls would take claims: they may go on when the row's own are under way.
        run.load().set_rate(0.0);
        run.load().quiet(SETTLE).await;
        run.calls_settle().await;
        run.api()
            .fault(json!({"tenant": OWN, "path": "/contacts/", "count": AT_ONCE * daemons, "deed": {"delay": 2000}}))
            .await;
        post_all(&mut run, &contacts(OWN, AT_ONCE * daemons)).await;
        // Nothing is done yet, and nothing judged.
        eventually("all are under way", SETTLE, async || {
            (!run.api().is_faulty().await).then_some(())
        })
        .await;
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
