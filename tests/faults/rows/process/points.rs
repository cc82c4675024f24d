//! The daemon dies at one place of its code (D-02).

use std::os::unix::process::ExitStatusExt;

use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

const ABORTED: i32 = 6;

/// D-02: it aborts at the point that the row's name ends with, at one passage after another.
pub async fn crashed(lab: Lab) -> Outcome {
    let point = lab
        .row
        .strip_prefix("D-02-")
        .expect("named after its point");
    let mut random = lab.random();
    let mut run = lab.setup().failpoints("").without_daemon().start().await;
    for _ in 0..lab.times(3, 20) {
        // From the first one, which may come before the daemon is ready, to the midst of the load.
        let passages = random.below(60);
        let what = format!("abort at {point} after {passages} passages");
        run.fault(FaultKind::DaemonKill, &what, async |run| {
            run.failpoints(&format!("{point}={passages}*off->return"));
            match run.launch_daemon().await {
                Ok(()) => {
                    let status = run.daemon_dies().await;
                    let there = status.signal() == Some(ABORTED);
                    run.expect(&format!("it dies at {point}, not by {status}"), there);
                }
                Err(_) => run.end_was_meant(),
            }
            run.look_after_crash().await;
        })
        .await;
    }
    run.failpoints("");
    run.start_daemon().await;
    run.more(100).await;
    run.judge().await
}
