//! A task of the daemon panics (D-09).

use std::time::Duration;

use crate::harness::{Client, Daemon, eventually};
use crate::lab::follow_ups::Calls;
use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;
use crate::rows::follow_ups;

/// What a daemon ends with that one of its own tasks let down.
const SOFTWARE: i32 = 70;
/// The tasks, and how often each passes its point before it panics.
const TASKS: [(&str, u64); 5] = [
    ("relay", 30),
    ("writer", 30),
    ("retention", 0),
    ("planner", 30),
    ("runner", 30),
];

/// D-09: none of its tasks is missed in silence. The daemon says that it takes nothing more, ends with 70,
/// and the next one goes on where it was.
pub async fn panicked(lab: Lab) -> Outcome {
    // What is made up for after a panic opens no more connections to the API than there were.
    let calls = Calls {
        lines: "concurrency = 4".to_owned(),
        ..Calls::default()
    };
    // Planner and runner are there only where something is called.
    let setup = follow_ups::setup(&lab, calls).failpoints("");
    let setup = setup.parks(&["outcome_unknown", "reauthorise"]);
    let setup = setup.daemon(|config| config.set("http", "body_timeout = \"3s\""));
    let setup = setup.plan(|plan| plan.other_clients = true);
    // The daemon is down for most of the time, and four calls at once are what it makes up with: on a busy machine
    // some ten a second.
    let setup = setup.load(|load| load.rate = 20.0);
    let mut run = setup.start().await;
    run.authorise_tenants(follow_ups::TENANTS).await;
    run.more(100).await;
    run.stop_daemon().await;
    for _ in 0..lab.times(1, 5) {
        for (task, passages) in TASKS {
            let what = format!("{task} panics");
            run.fault(FaultKind::DaemonKill, &what, async |run| {
                run.failpoints(&format!("{task}.panic={passages}*off->return"));
                if run.launch_daemon().await.is_err() {
                    panic!("a daemon listens before {task} is started");
                }
                // Somebody in the midst of a body keeps it from ending before it is looked at.
                let slow = Client::connect(run.daemon().address()).await;
                if let Ok(mut slow) = slow {
                    let _ = slow
                        .write(b"POST /webhooks/ghl HTTP/1.1\r\nhost: hook\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
                        .await;
                    let said = unready(run.daemon()).await;
                    // Before the first look at the store it is not ready anyway; and it may be gone before it is asked.
                    run.expect(&format!("readyz says 503 or nothing after {what}, not {said:?}"), matches!(said, Some(503) | None));
                }
                let status = run.daemon_dies().await;
                run.end_was_meant();
                let code = status.code();
                run.expect(&format!("70 after {what}, not {code:?}"), code == Some(SOFTWARE));
                run.look_after_crash().await;
                run.claims_are_over().await;
            })
            .await;
            run.failpoints("");
            run.start_daemon().await;
            run.more(100).await;
            run.stop_daemon().await;
        }
    }
    run.failpoints("");
    run.start_daemon().await;
    run.more(100).await;
    run.judge().await
}

/// What readyz says when it no longer says 200.
async fn unready(daemon: &Daemon) -> Option<u16> {
    let within = Duration::from_secs(30);
    eventually("readyz does not say 200", within, async || {
        let said = daemon.ready().await;
        (said != Some(200)).then_some(said)
    })
    .await
}
