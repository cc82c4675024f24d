//! RabbitMQ and the relay (rows F).

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::checker::Invariant;
use crate::harness::{DaemonConfig, Network, Side};
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

pub const CONNECTED: &str = "hookwell_broker_connected";
const BLOCKED: &str = "hookwell_broker_blocked";

/// F-01: the broker is killed under load and comes back.
pub async fn killed(lab: Lab) -> Outcome {
    let mut run = lab.setup().own_broker().start().await;
    // A quorum queue of RabbitMQ 3.10 that is killed within a second or so of its birth never elects a
    // leader again; a kill so early would test the broker.
    run.arrived(800).await;
    for _ in 0..lab.times(3, 20) {
        run.more(200).await;
        run.fault(FaultKind::Broker, "kill -9 of the broker", async |run| {
            run.broker().rabbit.server.kill9();
            run.more(200).await;
            run.broker().rabbit.server.restart().await;
            run.becomes(CONNECTED, 1.0).await;
        })
        .await;
        run.arrived(200).await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// In seconds. The confirm deadline is longer: what notices is the heartbeat.
const HEARTBEAT: u64 = 2;

pub fn with_heartbeat(config: DaemonConfig) -> DaemonConfig {
    config.set("broker", &format!("heartbeat = \"{HEARTBEAT}s\""))
}

/// States that a silence since then was noticed within two and a half heartbeats, and a little for a
/// machine that is busy.
pub fn noticed_soon(run: &mut Run, since: Instant) {
    let took = since.elapsed();
    let most = Duration::from_millis(2500 * HEARTBEAT + 2000);
    run.expect(
        &format!("noticed within {most:?}, not {took:?}"),
        took <= most,
    );
}

/// F-02: the broker stops in its tracks, and goes on.
pub async fn frozen(lab: Lab) -> Outcome {
    let setup = lab.setup().own_broker().daemon(with_heartbeat);
    let mut run = setup.start().await;
    run.arrived(800).await;
    let seconds: &[u64] = if lab.whole { &[5, 30, 300] } else { &[10] };
    for seconds in seconds {
        let what = format!("SIGSTOP of the broker for {seconds} s");
        run.fault(FaultKind::Broker, &what, async |run| {
            let since = Instant::now();
            run.broker().rabbit.server.freeze();
            run.becomes(CONNECTED, 0.0).await;
            noticed_soon(run, since);
            run.more(200).await;
            sleep_until(since + Duration::from_secs(*seconds)).await;
            run.broker().rabbit.server.thaw();
            run.becomes(CONNECTED, 1.0).await;
        })
        .await;
        run.arrived(200).await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// F-09: a daemon that forgets to ask for confirms loses what was on its way. A bench that does not see
/// the loss sees nothing.
pub async fn without_confirms(lab: Lab) -> Outcome {
    let mut run = lab.setup().failpoints("mutant.M4=return").start().await;
    run.arrived(200).await;
    run.fault(FaultKind::Broker, "a dead line, then reset", async |run| {
        let line = &run.broker().proxy.line;
        line.network(Network::BlackholeFrom(Side::Client));
        run.more(50).await;
        let line = &run.broker().proxy.line;
        line.cut();
        line.network(Network::Passes);
        run.becomes(CONNECTED, 1.0).await;
    })
    .await;
    run.arrived(100).await;
    run.judge().await.must_violate(Invariant::NoLoss)
}

/// F-08: the broker runs out of disk and takes nothing for a while.
pub async fn disk_alarm(lab: Lab) -> Outcome {
    let mut run = lab.setup().own_broker().start().await;
    run.arrived(200).await;
    run.fault(FaultKind::BrokerAlarm, "disk alarm", async |run| {
        let rabbit = run.broker().rabbit.clone();
        rabbit.control(&["set_disk_free_limit", "900GB"]).await;
        run.becomes(BLOCKED, 1.0).await;
        // Longer than the confirm deadline: nothing may be given up and sent again.
        sleep(Duration::from_secs(lab.times(20, 600) as u64)).await;
        run.more(200).await;
        let blocked = run.daemon().metric(BLOCKED).await;
        run.expect("the gauge says so all the time", blocked == Some(1.0));
        rabbit.control(&["set_disk_free_limit", "50MB"]).await;
        run.becomes(BLOCKED, 0.0).await;
    })
    .await;
    run.arrived(200).await;
    run.ingest_feels_nothing();
    run.judge().await
}
