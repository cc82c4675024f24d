//! The wall clock jumps under a running daemon (D-14).

use crate::harness::Network;
use crate::lab::wall_clock::WallClock;
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

const HOUR: i64 = 3600;
const CONNECTED: &str = "hookwell_broker_connected";
const REMOVED: [&str; 2] = [
    "hookwell_retention_removed_total{what=\"events\"}",
    "hookwell_retention_removed_total{what=\"keys\"}",
];

/// D-14: forward and back by an hour, with the broker away meanwhile, so that something is being retried.
pub async fn jumped(lab: Lab) -> Outcome {
    let mut run = lab.setup().without_daemon().start().await;
    let clock = WallClock::new(&lab.folder);
    run.config().variables.extend(clock.variables());
    run.start_daemon().await;
    run.arrived(200).await;
    for _ in 0..lab.times(1, 5) {
        for offset in [HOUR, -HOUR, 0] {
            let what = format!("the clock jumps to {offset:+} s");
            run.fault(FaultKind::Broker, &what, async |run| {
                let line = &run.broker().proxy.line;
                line.network(Network::Refuses);
                line.cut();
                run.becomes(CONNECTED, 0.0).await;
                run.more(50).await;
                clock.jump_to(offset);
                run.more(200).await;
                run.broker().proxy.line.network(Network::Passes);
                run.becomes(CONNECTED, 1.0).await;
            })
            .await;
            let shown = shown_now(&run);
            run.expect(
                &format!("the daemon goes by the jumped clock: {shown} s"),
                (shown - offset).abs() < 300,
            );
            run.arrived(100).await;
        }
    }
    for removed in REMOVED {
        let count = run.daemon().metric(removed).await;
        run.expect(
            &format!("{removed}: {count:?}"),
            count.unwrap_or(0.0) == 0.0,
        );
    }
    run.judge().await
}

/// How far the daemon's wall clock is from the machine's, by what it wrote last, in seconds.
fn shown_now(run: &Run) -> i64 {
    let log = run.daemon().log();
    let last = log.lines().last().expect("it has said something");
    let line: serde_json::Value = serde_json::from_str(last).unwrap();
    let said = humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    let now = std::time::SystemTime::now();
    match said.duration_since(now) {
        Ok(ahead) => ahead.as_secs().cast_signed(),
        Err(behind) => -behind.duration().as_secs().cast_signed(),
    }
}
