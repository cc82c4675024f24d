//! The network between a daemon and RabbitMQ (rows F).

use tokio::time::Instant;

use super::broker::{CONNECTED, noticed_soon, with_heartbeat};
use crate::harness::{Network, Side, eventually};
use crate::lab::{Lab, Outcome, Run, WITHIN};
use crate::records::FaultKind;

/// F-03: nothing that one side sends arrives any more; nobody is told.
pub async fn one_way(lab: Lab) -> Outcome {
    let mut run = lab.setup().daemon(with_heartbeat).start().await;
    run.arrived(200).await;
    for _ in 0..lab.times(1, 5) {
        for side in [Side::Client, Side::Server] {
            let what = match side {
                Side::Client => "nothing reaches the broker",
                Side::Server => "nothing comes from the broker",
            };
            run.fault(FaultKind::Broker, what, async |run| {
                let since = Instant::now();
                let line = &run.broker().proxy.line;
                line.network(Network::BlackholeFrom(side));
                run.becomes(CONNECTED, 0.0).await;
                noticed_soon(run, since);
                run.more(200).await;
                run.broker().proxy.line.network(Network::Passes);
                run.becomes(CONNECTED, 1.0).await;
            })
            .await;
            run.arrived(200).await;
        }
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// In the frame's front, in its body, and behind it.
const OFFSETS: [u32; 8] = [0, 1, 6, 7, 8, 100, 400, 100_000];

/// F-04: connections are reset in the midst of a frame.
pub async fn reset_in_a_frame(lab: Lab) -> Outcome {
    let mut random = lab.random();
    let mut run = lab.setup().start().await;
    run.arrived(200).await;
    let mut offsets = OFFSETS.to_vec();
    if lab.whole {
        offsets.extend(2..6);
        offsets.extend((16..800).step_by(16));
    }
    for offset in offsets {
        reset(
            &mut run,
            &format!("reset {offset} bytes into a body"),
            |run| {
                run.broker().proxy.cut_body_after(offset);
            },
        )
        .await;
    }
    // Anywhere else: handshake, declarations, publishes, confirms.
    for side in [Side::Client, Side::Server] {
        for _ in 0..lab.times(3, 30) {
            let bytes = random.below(8000) as u32;
            reset(&mut run, &format!("reset after {bytes} bytes"), |run| {
                let line = &run.broker().proxy.line;
                line.cut_after_from(side, bytes);
            })
            .await;
        }
    }
    run.ingest_feels_nothing();
    run.judge().await
}

async fn reset(run: &mut Run, what: &str, plan: impl FnOnce(&Run)) {
    run.fault(FaultKind::Broker, what, async |run| {
        plan(run);
        eventually("the connection is reset", WITHIN, async || {
            let proxy = &run.broker().proxy;
            let due = proxy.cut_is_due() || proxy.line.cut_is_due();
            (!due).then_some(())
        })
        .await;
        run.arrived(20).await;
    })
    .await;
}

/// F-04: the broker takes messages, and its confirms never reach the daemon.
pub async fn confirms_swallowed(lab: Lab) -> Outcome {
    let setup = lab.setup().daemon(|config| {
        let soon = "confirm_deadline = \"1s\"\nretry_max = \"1s\"";
        config.set("broker", soon)
    });
    let mut run = setup.start().await;
    run.arrived(200).await;
    for _ in 0..lab.times(2, 20) {
        run.fault(FaultKind::Broker, "confirms are swallowed", async |run| {
            let proxy = &run.broker().proxy;
            let before = proxy.line.counters().opened;
            proxy.drop_all_acks();
            // Given up at the deadline, connected again, given up again.
            eventually("two more connections", WITHIN, async || {
                let opened = run.broker().proxy.line.counters().opened;
                (before + 2 <= opened).then_some(())
            })
            .await;
            run.broker().proxy.drop_acks(0);
            run.arrived(100).await;
        })
        .await;
        run.fault(
            FaultKind::Broker,
            "three confirms are swallowed",
            async |run| {
                run.broker().proxy.drop_acks(3);
                eventually("three confirms less", WITHIN, async || {
                    (run.broker().proxy.acks_to_drop() == 0).then_some(())
                })
                .await;
                run.arrived(100).await;
            },
        )
        .await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}
