//! The daemon's process (rows D): killed, and asked to end.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness::Client;
use crate::harness::store::execute;
use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

pub mod clock;
pub mod logs;
pub mod memory;
pub mod panics;
pub mod points;
pub mod replicas;
pub mod settings;
pub mod starved;
pub mod threads;
pub mod upgrade;

/// D-01: the daemon is killed at random times.
pub async fn killed(lab: Lab) -> Outcome {
    let mut random = lab.random();
    let mut run = lab.setup().start().await;
    run.more(200).await;
    for _ in 0..lab.times(10, 100) {
        sleep(random.duration(Duration::ZERO, Duration::from_millis(1500))).await;
        run.fault(
            FaultKind::DaemonKill,
            "kill -9 of the daemon",
            async |run| {
                run.kill_daemon().await;
                run.look_after_crash().await;
                run.start_daemon().await;
            },
        )
        .await;
    }
    run.more(200).await;
    run.judge().await
}

/// Within so long after its start a daemon is killed again.
const SOON: Duration = Duration::from_millis(200);

/// D-15: a daemon that was killed is killed again while it recovers, several times.
pub async fn killed_again(lab: Lab) -> Outcome {
    in_a_loop(lab, false).await
}

/// D-15-replicas: the same beside two that stay, and read the log between its deaths.
pub async fn killed_again_beside_others(lab: Lab) -> Outcome {
    in_a_loop(lab, true).await
}

async fn in_a_loop(lab: Lab, beside_others: bool) -> Outcome {
    let mut random = lab.random();
    let (mut again, mut before) = (0, 0);
    let mut run = lab.setup().start().await;
    if beside_others {
        run.start_replicas().await;
    }
    for _ in 0..lab.times(3, 20) {
        run.more(200).await;
        run.fault(FaultKind::DaemonKill, "kill -9, and again", async |run| {
            run.kill_daemon().await;
            for _ in 0..5 {
                // Often within the first moments: it listens after some ten milliseconds.
                let most = random.duration(Duration::ZERO, SOON);
                let after = random.duration(Duration::ZERO, most);
                run.config().wrapper = dies_after(after);
                again += 1;
                match run.launch_daemon().await {
                    Ok(()) => drop(run.daemon_dies().await),
                    Err(_) => {
                        before += 1;
                        run.end_was_meant();
                    }
                }
            }
            run.config().wrapper.clear();
            // Not before: whoever looks into a SQLite file first has recovered it.
            if !beside_others {
                run.look_after_crash().await;
            }
            run.start_daemon().await;
        })
        .await;
    }
    run.figure(format!("{before} of {again} died before they listened"));
    run.more(200).await;
    run.judge().await
}

/// A shell that becomes the daemon, whose child kills it.
fn dies_after(time: Duration) -> Vec<String> {
    let kill = format!(
        "(sleep {:.3}; kill -9 $$) & exec \"$@\"",
        time.as_secs_f64()
    );
    ["sh", "-c", &kill, "sh"].map(ToOwned::to_owned).to_vec()
}

/// D-03: the daemon is asked to end under load, while a client sends its head a byte at a time.
pub async fn terminated(lab: Lab) -> Outcome {
    let mut run = lab
        .setup()
        .plan(|plan| plan.other_clients = true)
        .start()
        .await;
    for _ in 0..lab.times(3, 50) {
        run.more(200).await;
        let mut slow = Client::connect(run.daemon().address()).await.unwrap();
        slow.write(b"POST /webhooks/ghl HTTP/1.1\r\nhost: hook")
            .await
            .unwrap();
        run.fault(FaultKind::DaemonStop, "SIGTERM", async |run| {
            let (status, _) = run.stop_daemon().await;
            run.expect("it ends with 0", status.code() == Some(0));
            let closed = slow.is_closed(Duration::from_secs(1)).await;
            run.expect("the slow client is not left hanging", closed);
            run.look_after_crash().await;
            run.start_daemon().await;
        })
        .await;
    }
    run.judge().await
}

/// Appends take up to 15 ms more, each as it happens: one daemon's may be overtaken by the other's.
const UNEVEN: &str = "create function uneven() returns trigger language plpgsql as \
     $$ begin perform pg_sleep(random() * 0.015); return null; end $$; \
     create trigger uneven after insert on events for each statement execute function uneven()";

/// D-04: three daemons on one log take the load between them and are restarted in turn.
pub async fn rolling_restart(lab: Lab) -> Outcome {
    let mut run = lab.setup().load(|load| load.rate = 400.0).start().await;
    execute(&run.store().url, UNEVEN).await;
    run.start_replicas().await;
    for _ in 0..lab.times(2, 20) {
        run.more(800).await;
        run.fault(FaultKind::DaemonStop, "rolling restart", async |run| {
            let (status, _) = run.stop_daemon().await;
            run.expect("it ends with 0", status.code() == Some(0));
            run.start_daemon().await;
            for _ in 0..2 {
                run.more(400).await;
                let status = run.stop_peer().await;
                run.expect("another one ends with 0", status.code() == Some(0));
                run.start_peer().await;
            }
        })
        .await;
    }
    run.more(400).await;
    run.judge().await
}
