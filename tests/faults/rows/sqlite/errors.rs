//! The disk under the file is full, or fails (L-03).

use std::time::Duration;

use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

/// Of 1 to 60: small ones hit the start, larger ones appends and checkpoints.
const SLICE: [usize; 6] = [1, 3, 8, 15, 30, 60];

/// L-03: the disk is full for a while.
pub async fn disk_full(lab: Lab) -> Outcome {
    let mut run = lab.setup().on_a_disk().start().await;
    for _ in 0..lab.times(2, 10) {
        run.more(300).await;
        run.fault(FaultKind::Store, "disk full", async |run| {
            run.disk().fill();
            run.refused(100).await;
            let seen = run.turns_unready(Duration::from_secs(10)).await;
            run.expect("readyz says that it takes nothing", seen);
            run.disk().empty();
            let took = run.takes_again().await;
            run.expect(
                &format!("it goes on by itself within 10 s, not {took:?}"),
                took < Duration::from_secs(10),
            );
            run.look_after_crash().await;
        })
        .await;
        run.readiness(200).await;
    }
    run.more(100).await;
    run.judge().await
}

/// The N-th fsync of a thread of the daemon's fails, once.
pub async fn sync_fails(lab: Lab) -> Outcome {
    let errors = |n: usize| format!("inject=fsync,fdatasync:error=EIO:when={n}");
    once_each(lab, "fsync,fdatasync", errors).await
}

/// From the N-th on, so many writes find no room.
pub async fn no_room_for_a_while(lab: Lab) -> Outcome {
    let errors = |n: usize| {
        let (from, to) = (10 * n, 10 * n + 40);
        format!("inject=pwrite64:error=ENOSPC:when={from}..{to}")
    };
    once_each(lab, "pwrite64", errors).await
}

/// Starts daemons whose calls fail, each with other errors, on the store that the one before left.
async fn once_each(lab: Lab, calls: &str, errors: impl Fn(usize) -> String) -> Outcome {
    let counts = match lab.whole {
        true => (1..=60).collect(),
        false => SLICE.to_vec(),
    };
    let mut run = lab.setup().without_daemon().start().await;
    for n in counts {
        run.fault(FaultKind::DaemonKill, &errors(n), async |run| {
            let calls = format!("trace={calls}");
            let strace = ["strace", "-D", "-qq", "-f", "-o", "/dev/null", "-e", &calls];
            let strace = strace.map(ToOwned::to_owned).into_iter();
            run.config().wrapper = strace.chain(["-e".to_owned(), errors(n)]).collect();
            match run.launch_daemon().await {
                // Whether or not it was hit, it serves.
                Ok(()) => {
                    run.more(150).await;
                    run.kill_daemon().await;
                }
                Err(said) => {
                    run.end_was_meant();
                    run.expect(
                        &format!("a start ends with 69: {said}"),
                        said.starts_with("Some(69)"),
                    );
                }
            }
            run.config().wrapper.clear();
            run.look_after_crash().await;
        })
        .await;
    }
    run.start_daemon().await;
    run.more(100).await;
    run.judge().await
}
