//! The system gives the daemon no thread (D-07-threads).

use std::time::Duration;

use crate::harness::eventually;
use crate::lab::limits::Limit;
use crate::lab::{Lab, Outcome, WITHIN};
use crate::records::FaultKind;
use crate::rows::broker::CONNECTED;

/// How often a connection has to have failed.
const FAILURES: f64 = 3.0;
const FAILED: &str = "hookwell_broker_connects_total{result=\"error\"}";

/// D-07-threads: the connection to RabbitMQ breaks while no thread can be had to look its name up on, or to read from it.
/// Events are taken all the same, and go out when there are threads again.
pub async fn no_thread(lab: Lab) -> Outcome {
    let setup = lab
        .setup()
        .daemon(|config| config.set("broker", "retry_max = \"500ms\""));
    let mut run = setup.start().await;
    run.arrived(200).await;
    for _ in 0..lab.times(1, 5) {
        // What looked up a name before stays for ten seconds.
        let pid = run.daemon().pid();
        let patience = WITHIN + Duration::from_secs(10);
        eventually("only the workers are left", patience, async || {
            (threads(pid) <= 1 + std::thread::available_parallelism().unwrap().get()).then_some(())
        })
        .await;
        run.fault(
            FaultKind::Broker,
            "no thread for a new connection",
            async |run| {
                let before = run.daemon().metric(FAILED).await.unwrap_or(0.0);
                let limit = Limit::of_threads(run.daemon().pid()).expect("probed before");
                run.broker().proxy.line.cut();
                eventually("opening a connection fails", WITHIN, async || {
                    let failed = run.daemon().metric(FAILED).await?;
                    (before + FAILURES <= failed).then_some(())
                })
                .await;
                run.more(200).await;
                drop(limit);
                run.becomes(CONNECTED, 1.0).await;
            },
        )
        .await;
        run.arrived(400).await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// How many threads of the runtime, with the first one of the process, there are.
fn threads(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let names = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("comm")));
    names
        .flatten()
        .filter(|name| name.trim() == "hookwell")
        .count()
}
