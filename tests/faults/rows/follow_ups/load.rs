//! Many calls within their budgets (O-load, O-load-replicas), and many installs at once (O-bulk).

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::lifecycle::life;
use super::*;
use crate::harness::eventually;
use crate::lab::follow_ups::{COALESCED, TAG, tenant};

/// The tenant with more work than budget.
const HOT: &str = "HotTenant00000000001";
/// What a row with little room states, and a defect breaks.
pub const NOBODY_OVER_BUDGET: &str = "no request is over a budget";
/// Calls of the others together, a second: less than one daemon makes.
const PACE: u64 = 80;
/// Contacts from this number on are of nobody else.
const LATER: u64 = 900;

/// What a row is made of, and what it has to come to.
struct Size {
    burst: u32,
    interval: Duration,
    hot: u64,
    quiet: u64,
    tenants: u64,
    /// Of the hot tenant's budget. An answer takes its time, however short the interval is.
    used: f64,
    /// How much longer the others may wait beside the hot one.
    longer: Duration,
}

/// GHL's own limits, and ten thousand calls.
const WHOLE: Size = Size {
    burst: 100,
    interval: Duration::from_secs(10),
    hot: 1100,
    quiet: 8900,
    tenants: 99,
    used: 0.95,
    longer: Duration::from_millis(500),
};
/// Twice their rate in less than a third of the interval. It runs with every change, on machines that do other things
/// too: of what takes time it notices a collapse; the bars are those of the whole row.
const SLICE: Size = Size {
    burst: 60,
    interval: Duration::from_secs(3),
    hot: 240,
    quiet: 880,
    tenants: 20,
    used: 0.4,
    longer: Duration::from_secs(5),
};

/// O-load: a hundred tenants and ten thousand calls, more than a tenth of them of one tenant that has to wait for its
/// budget all the while. Nobody is over a budget, the hot one uses all of its own, and the others wait no longer.
pub async fn within_budgets(lab: Lab) -> Outcome {
    carried(lab, false).await
}

/// O-load-replicas: the same calls, made by three daemons between them. The budgets are as exact; the time they take is
/// told and not judged, for the three share the machine with everything else.
pub async fn within_budgets_of_three(lab: Lab) -> Outcome {
    carried(lab, true).await
}

async fn carried(lab: Lab, by_three: bool) -> Outcome {
    let Size {
        burst,
        interval,
        hot,
        quiet,
        tenants,
        used,
        longer,
    } = if lab.whole { WHOLE } else { SLICE };
    let calls = Calls {
        rules: vec![COALESCED, TAG],
        burst,
        interval: if lab.whole { "10s" } else { "3s" },
        ..Calls::default()
    };
    let mut run = setup(&lab, calls).straight_to_the_store().start().await;
    if by_three {
        run.start_replicas().await;
    }
    run.authorise(Some(HOT)).await;
    // Behind the load's own.
    let names: Vec<_> = (TENANTS..TENANTS + tenants).map(tenant).collect();
    for name in &names {
        run.authorise(Some(name)).await;
    }
    run.authorise_tenants(TENANTS).await;
    let calm = run.micros();
    paced(&mut run, &names, 0, 3 * PACE).await;
    let begun = run.micros();
    post_all(&mut run, &contacts(HOT, hot)).await;
    paced(&mut run, &names, 3 * PACE, quiet).await;
    run.calls_of_end(HOT, hot).await;
    let ended = run.micros();
    // Ten events for each of these contacts within half a second.
    let many: Vec<_> = (0..200)
        .map(|n| contact(&names[n % 20], LATER + n as u64 % 20))
        .collect();
    let at_once = Instant::now();
    post_all(&mut run, &many).await;
    let took = at_once.elapsed();
    run.load().set_rate(0.0);
    run.load().quiet(SETTLE).await;
    run.calls_settle().await;
    let journal = run.api().journal(run.clock()).await;
    let joined = made_for_later(&run).await;
    run.figure(format!(
        "200 events of 20 contacts within {took:.1?} were {joined} calls"
    ));
    run.expect("events of one contact are one call", joined < 100);
    let mut at: Vec<_> = journal
        .iter()
        .filter(|one| one.tenant.as_deref() == Some(HOT) && one.argument("rule").is_some())
        .map(|one| one.t)
        .collect();
    at.sort_unstable();
    let share = share(&at, burst, interval);
    run.figure(format!(
        "the hot tenant used {:.1} % of its budget",
        100.0 * share
    ));
    run.expect(
        &format!(
            "at least {} % of the budget is used while work waits",
            100.0 * used
        ),
        by_three || used <= share,
    );
    if by_three {
        let done = run
            .counts("hookwell_api_calls_total{outcome=\"done\"}")
            .await;
        run.figure(format!("calls of each daemon: {done:?}"));
        let all = done.len() == 3 && done.iter().all(|count| 0.0 < *count);
        run.expect("each of the three makes calls", all);
    }
    let report = run.api().report().await;
    run.expect(NOBODY_OVER_BUDGET, report.over_budget == 0);
    let most = report
        .tenants
        .values()
        .map(|used| used.most_in_an_interval)
        .max();
    run.expect(
        &format!("at most {burst} in any interval, not {most:?}"),
        most <= Some(u64::from(burst)),
    );
    let (calm, busy) = (
        run.waits(&names, calm, begun).await,
        run.waits(&names, begun, ended).await,
    );
    run.figure(format!(
        "the others wait {calm:.1?} at p99 before it, {busy:.1?} beside it"
    ));
    run.expect(
        "the others wait no longer beside it",
        by_three || busy < 2 * calm || busy < calm + longer,
    );
    run.judge().await
}

/// How many calls there were for the contacts from this number on.
async fn made_for_later(run: &Run) -> i64 {
    let of: Vec<_> = (0..20)
        .map(|n| format!("'{}'", entity_of(&contact(HOT, LATER + n))))
        .collect();
    let sql = format!(
        "select count(*) from follow_ups where state = 'done' and tenant <> '{HOT}' and entity_id in ({})",
        of.join(",")
    );
    run.number(&sql).await
}

/// The contact that an event is about.
fn entity_of(event: &Crafted) -> String {
    let body: Value = serde_json::from_slice(&event.body).unwrap();
    body["id"].as_str().unwrap_or_default().to_owned()
}

/// Posts one event after the other at a steady pace, of each tenant in turn.
async fn paced(run: &mut Run, tenants: &[String], from: u64, upto: u64) {
    let mut ticks = interval(Duration::from_micros(1_000_000 / PACE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in from..upto {
        ticks.tick().await;
        let tenants_count = tenants.len() as u64;
        let one = contact(&tenants[(n % tenants_count) as usize], n / tenants_count);
        run.post_expecting(200, "an event of a quiet tenant", &one)
            .await;
    }
}

/// The share of the budget that calls at these moments used: the shortest time that as many calls need, to the one
/// they took.
fn share(at: &[u64], burst: u32, interval: Duration) -> f64 {
    let (Some(first), Some(last)) = (at.first(), at.last()) else {
        return 0.0;
    };
    let whole = (at.len() as u64 - 1) / u64::from(burst);
    let shortest = whole as f64 * interval.as_micros() as f64;
    shortest / (last - first).max(1) as f64
}

/// O-bulk: an agency installs the app for all its locations within seconds. Each ends with a token that is good for
/// a call, and nobody is over the budget that the agency has.
pub async fn bulk_install(lab: Lab) -> Outcome {
    installed(lab, false).await
}

/// O-bulk-replicas: the same with three daemons, which have one budget between them.
pub async fn bulk_install_of_three(lab: Lab) -> Outcome {
    installed(lab, true).await
}

async fn installed(lab: Lab, by_three: bool) -> Outcome {
    let locations = lab.times(60, 500);
    let name = |n: usize| format!("BulkLocation{n:08}");
    let calls = Calls {
        burst: 100,
        interval: "10s",
        ..Calls::default()
    };
    let mut run = setup(&lab, calls).start().await;
    if by_three {
        run.start_replicas().await;
    }
    run.authorise_tenants(TENANTS).await;
    for n in 0..locations {
        run.api().put_location(&name(n)).await;
    }
    run.authorise(None).await;
    let begun = Instant::now();
    let mut events = vec![life("INSTALL", None, 0)];
    events.extend((0..locations).map(|n| life("INSTALL", Some(&name(n)), 0)));
    post_all(&mut run, &events).await;
    let installed = begun.elapsed();
    const USABLE: &str =
        "select count(*) from tokens where tenant like 'BulkLocation%' and state = 'usable'";
    eventually("each has a token", SETTLE, async || {
        (run.number(USABLE).await == locations as i64).then_some(())
    })
    .await;
    let took = begun.elapsed();
    run.figure(format!(
        "{locations} installs within {installed:.1?}, as many tokens within {took:.1?}"
    ));
    let report = run.api().report().await;
    let minted = report.minted.values().filter(|times| **times == 1).count();
    run.expect(
        &format!("{locations} tokens are minted once, not {minted}"),
        minted == locations,
    );
    let events: Vec<_> = (0..locations).map(|n| contact(&name(n), 1)).collect();
    post_all(&mut run, &events).await;
    run.load().set_rate(0.0);
    run.load().quiet(SETTLE).await;
    run.calls_settle().await;
    let done = "select count(*) from follow_ups where tenant like 'BulkLocation%' and rule = 'snapshot' and state = 'done'";
    let done = run.number(done).await;
    run.expect(
        &format!("{locations} tokens are good for a call, not {done}"),
        done == locations as i64,
    );
    let over = run.api().report().await.over_budget;
    run.expect(NOBODY_OVER_BUDGET, over == 0);
    run.judge().await
}
