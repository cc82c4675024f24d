//! The log in a SQLite file (rows L): the daemon, or the machine, goes down.

use crate::checker::Invariant;
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

pub mod errors;
pub mod neighbours;

/// Of 1 to 200: small ones hit the first migration and the start, larger ones appends and checkpoints.
const SLICE: [usize; 12] = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 200];

/// L-01: the daemon is killed at the N-th time it forces something to the disk, on the store that the
/// crash before left, and started again.
pub async fn killed_at_fsync(lab: Lab) -> Outcome {
    let counts = match lab.whole {
        true => (1..=200).collect(),
        false => SLICE.to_vec(),
    };
    let mut run = lab.setup().without_daemon().start().await;
    for n in counts {
        run.fault(
            FaultKind::DaemonKill,
            &format!("kill -9 at fsync {n}"),
            async |run| {
                let inject = format!("inject=fsync,fdatasync:signal=SIGKILL:when={n}");
                let strace = [
                    "strace",
                    "-D",
                    "-qq",
                    "-f",
                    "-o",
                    "/dev/null",
                    "-e",
                    "trace=fsync,fdatasync",
                    "-e",
                    &inject,
                ];
                run.config().wrapper = strace.map(ToOwned::to_owned).to_vec();
                match run.launch_daemon().await {
                    Ok(()) => drop(run.daemon_dies().await),
                    Err(_) => run.end_was_meant(),
                }
                run.config().wrapper.clear();
                run.look_after_crash().await;
            },
        )
        .await;
    }
    run.start_daemon().await;
    run.more(100).await;
    run.judge().await
}

/// L-02: the power of the disk with the file is cut under load.
pub async fn power_cut(lab: Lab) -> Outcome {
    let mut run = lab.setup().on_a_disk().start().await;
    for _ in 0..lab.times(3, 20) {
        cut(&mut run).await;
    }
    run.judge().await
}

/// The same where a commit does not wait for the disk. A bench that does not see the loss sees nothing.
pub async fn power_cut_without_full(lab: Lab) -> Outcome {
    let mut run = lab
        .setup()
        .on_a_disk()
        .failpoints("mutant.M2=return")
        .start()
        .await;
    cut(&mut run).await;
    run.judge()
        .await
        .must_violate(Invariant::DurableBeforeAnswer)
}

async fn cut(run: &mut Run) {
    run.more(400).await;
    run.fault(FaultKind::PowerCut, "power cut under SQLite", async |run| {
        run.cut_power().await;
        run.disk().restore().await;
        run.look_after_crash().await;
        run.start_daemon().await;
        run.more(100).await;
    })
    .await;
}
