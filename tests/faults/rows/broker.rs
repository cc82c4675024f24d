//! RabbitMQ and the relay (rows F).

use std::time::Duration;

use tokio::time::sleep;

use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

const CONNECTED: &str = "hookwell_broker_connected";
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
    let refused = run.load().totals().answers.contains_key(&429);
    run.expect("ingest does not feel it", !refused);
    run.judge().await
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
    let refused = run.load().totals().answers.contains_key(&429);
    run.expect("ingest does not feel it", !refused);
    run.judge().await
}
