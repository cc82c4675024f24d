//! The daemon gets hardly any time (D-08).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::lab::{Lab, Outcome, Run};
use crate::random::Random;
use crate::records::FaultKind;

/// How long it runs at a stretch: what a quota of a few per cent leaves of a period.
const RUNS: Duration = Duration::from_millis(10);

/// How long it is stopped then, at least and at most.
const STOPPED: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(600));

/// D-08: it runs a twentieth of the time, in bits. Noted as a fault that excuses nothing: it is slow, and
/// within its deadlines all the same.
pub async fn hardly_any_time(lab: Lab) -> Outcome {
    let mut random = lab.random();
    // The deadline of a commit, and half of it for everything before and behind.
    let setup = lab.setup().plan(|plan| plan.deadline_us = 7_500_000);
    let mut run = setup.start().await;
    run.arrived(400).await;
    for _ in 0..lab.times(1, 5) {
        let span = Duration::from_secs(lab.times(20, 60) as u64);
        run.fault(FaultKind::Other, "hardly any time", async |run| {
            let opened = run.broker().proxy.line.counters().opened;
            let (from, acked, seen) = (run.micros(), run.load().acked(), run.sink().seen());
            let ran = starve(run, &mut random, span).await;
            run.figure(format!("ran {:.1} % of the time", 100.0 * ran));
            let (acked, seen) = (run.load().acked() - acked, run.sink().seen() - seen);
            let p99 = run.answered(from, run.micros()).p99().as_millis();
            run.figure(format!(
                "{acked} answered 200 and {seen} arrived in {span:?}, p99 {p99} ms"
            ));
            run.expect("some are taken", 0 < acked);
            run.expect("some arrive", 0 < seen);
            let kept = opened == run.broker().proxy.line.counters().opened;
            run.expect("it keeps its connection to the broker", kept);
        })
        .await;
        let took = run.takes_again().await;
        run.expect(
            &format!("events are taken as before within 5 s, not {took:?}"),
            took < Duration::from_secs(5),
        );
    }
    run.more(400).await;
    run.judge().await
}

/// Stops the daemon most of the time; the share that it ran.
async fn starve(run: &Run, random: &mut Random, span: Duration) -> f64 {
    let since = Instant::now();
    let mut ran = Duration::ZERO;
    while since.elapsed() < span {
        run.daemon().signal("STOP");
        sleep(random.duration(STOPPED.0, STOPPED.1)).await;
        let from = Instant::now();
        run.daemon().signal("CONT");
        sleep(RUNS).await;
        ran += from.elapsed();
    }
    ran.as_secs_f64() / since.elapsed().as_secs_f64()
}
