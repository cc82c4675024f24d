//! The daemon runs out of memory (D-07).

use std::os::unix::process::ExitStatusExt;

use crate::abilities::said;
use crate::harness::Daemon;
use crate::lab::memory::MemoryLimit;
use crate::lab::{Lab, Outcome, Setup};
use crate::records::FaultKind;

const ABORTED: i32 = 6;
const KILLED: i32 = 9;

/// What it may take on top of what it holds at a calm load.
const ROOM: u64 = 8 << 20;

/// Events a second, half of them with bodies of 200 KB: while it has what it needs, and when it has not.
const CALM: f64 = 20.0;
const BURST: f64 = 400.0;

/// D-07: it takes more than it may, and the kernel kills it.
pub async fn killed_at_a_limit(lab: Lab) -> Outcome {
    run_out(&lab, lab.setup(), KILLED, |daemon| {
        MemoryLimit::on(daemon.pid(), ROOM).expect("probed before")
    })
    .await
}

/// D-07-rlimit: it gets no more than it has, and ends at the first allocation that fails.
pub async fn refused_at_a_limit(lab: Lab) -> Outcome {
    run_out(&lab, lab.setup(), ABORTED, |daemon| {
        let pid = daemon.pid().to_string();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("VmData:"));
        let held = held.and_then(|held| held.trim().strip_suffix(" kB"));
        let held: u64 = held.unwrap().parse().unwrap();
        let limit = format!("--data={}", held * 1024 + ROOM);
        said("prlimit", &["--pid", &pid, &limit]).expect("a limit is set");
    })
    .await
}

/// It dies of a burst of large bodies, `by` this signal, and the next one goes on without a limit.
async fn run_out<T>(lab: &Lab, setup: Setup<'_>, by: i32, limit: impl Fn(&Daemon) -> T) -> Outcome {
    let setup = setup.load(|load| {
        (load.rate, load.large, load.connections) = (CALM, 50.0, 64);
    });
    let mut run = setup.start().await;
    run.more(50).await;
    for _ in 0..lab.times(3, 20) {
        run.fault(FaultKind::DaemonKill, "out of memory", async |run| {
            let limit = limit(run.daemon());
            run.load().set_rate(BURST);
            let status = run.daemon_dies().await;
            drop(limit);
            run.end_was_meant();
            let so = status.signal() == Some(by);
            run.expect(&format!("it dies by signal {by}, not by {status}"), so);
            run.load().set_rate(CALM);
            run.look_after_crash().await;
            run.start_daemon().await;
        })
        .await;
        run.more(50).await;
    }
    run.judge().await
}
