//! Three daemons on one Postgres, and the one that reads the log falls silent (D-05, D-06).

use tokio::time::Instant;

use crate::harness::Network;
use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

/// D-05: the daemon that reads is stopped in its tracks until another one reads, and goes on as if nothing were.
pub async fn frozen(lab: Lab) -> Outcome {
    let mut run = lab.setup().load(|load| load.rate = 300.0).start().await;
    for _ in 0..lab.times(3, 20) {
        run.start_replicas().await;
        run.more(200).await;
        run.fault(
            FaultKind::DaemonFreeze,
            "SIGSTOP of the reader",
            async |run| {
                let before = run.holders().await;
                let since = Instant::now();
                run.daemon().signal("STOP");
                run.lead_past_the_first();
                let taken_over = run.taken_over(&before, since).await;
                if taken_over {
                    run.arrived(400).await;
                }
                run.daemon().signal("CONT");
                if taken_over {
                    run.relays_no_more().await;
                }
                run.lead_to_all();
            },
        )
        .await;
        run.more(200).await;
        run.stop_replicas().await;
    }
    run.judge().await
}

/// The same where it is killed.
pub async fn killed(lab: Lab) -> Outcome {
    let mut run = lab.setup().load(|load| load.rate = 300.0).start().await;
    for _ in 0..lab.times(3, 20) {
        run.start_replicas().await;
        run.more(200).await;
        run.fault(
            FaultKind::DaemonKill,
            "kill -9 of the reader",
            async |run| {
                let before = run.holders().await;
                run.lead_past_the_first();
                let since = Instant::now();
                run.kill_daemon().await;
                run.taken_over(&before, since).await;
                run.arrived(400).await;
                run.start_daemon().await;
            },
        )
        .await;
        run.more(200).await;
        run.stop_replicas().await;
    }
    run.judge().await
}

/// D-06: the daemon that reads is cut off from Postgres, and not from RabbitMQ. Nobody is told.
pub async fn cut_off(lab: Lab) -> Outcome {
    let mut run = lab.setup().load(|load| load.rate = 300.0).start().await;
    // The others are not behind what is cut.
    run.config().store_url = run.store().url.clone();
    for _ in 0..lab.times(3, 20) {
        run.start_replicas().await;
        run.more(200).await;
        run.fault(
            FaultKind::Store,
            "the reader is cut off from Postgres",
            async |run| {
                let before = run.holders().await;
                let since = Instant::now();
                run.store().proxy().line.network(Network::Blackhole);
                run.lead_past_the_first();
                run.taken_over(&before, since).await;
                run.arrived(400).await;
                run.relays_no_more().await;
                run.store().proxy().line.network(Network::Passes);
                run.readiness(200).await;
                run.lead_to_all();
            },
        )
        .await;
        run.more(200).await;
        run.stop_replicas().await;
    }
    run.judge().await
}
