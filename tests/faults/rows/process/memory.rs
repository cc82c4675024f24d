//! The daemon runs out of memory (D-07).

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::abilities::said;
use crate::harness::Daemon;
use crate::lab::limits::Limit;
use crate::lab::{Lab, Outcome, WITHIN};
use crate::records::FaultKind;

const ABORTED: i32 = 6;
const KILLED: i32 = 9;
const SEGMENTATION_FAULT: i32 = 11;

/// What it may take on top of what it holds at a calm load.
const ROOM: u64 = 8 << 20;

/// Events a second, half of them with bodies of 200 KB: while it has what it needs, and when it has not.
const CALM: f64 = 20.0;
const BURST: f64 = 400.0;

/// How long a burst lasts for whoever lives through it.
const LIVES: Duration = Duration::from_secs(20);

/// D-07: it takes more than it may, and the kernel kills it.
pub async fn killed_at_a_limit(lab: Lab) -> Outcome {
    run_out(&lab, WITHIN, &[KILLED], |daemon| {
        Limit::of_memory(daemon.pid(), ROOM).expect("probed before")
    })
    .await
}

/// D-07-rlimit: it gets no more than it has. It ends at the first allocation of its own that fails, or at one of sqlx's
/// for SQLite (a panic that ends the process; a name that SQLite could not allocate and that is read all the same was a
/// segmentation fault once in some three hundred bursts). Where each of them is SQLite's, which says that it is out of
/// memory, senders are sent away and it lives.
pub async fn refused_at_a_limit(lab: Lab) -> Outcome {
    run_out(&lab, LIVES, &[ABORTED, SEGMENTATION_FAULT], DataLimit::on).await
}

/// A limit of a process's data, lifted when it is dropped.
struct DataLimit {
    pid: String,
}

impl DataLimit {
    fn on(daemon: &Daemon) -> Self {
        let pid = daemon.pid().to_string();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("VmData:"));
        let held = held.and_then(|held| held.trim().strip_suffix(" kB"));
        let held: u64 = held.unwrap().parse().unwrap();
        let limit = Self { pid };
        assert!(limit.set(&(held * 1024 + ROOM).to_string()));
        limit
    }

    /// Sets the limit, or lifts it.
    fn set(&self, bytes: &str) -> bool {
        // The soft one: not every root may raise the hard one again.
        let limit = format!("--data={bytes}:");
        said("prlimit", &["--pid", &self.pid, &limit]).is_some()
    }
}

impl Drop for DataLimit {
    fn drop(&mut self) {
        // Most have died of it.
        self.set("unlimited");
    }
}

/// Bursts of large bodies, of which it dies by one of these signals, and the next one goes on without a limit. Who must die, has
/// as long as anything may take.
async fn run_out<T>(
    lab: &Lab,
    within: Duration,
    by: &[i32],
    limit: impl Fn(&Daemon) -> T,
) -> Outcome {
    let setup = lab.setup().load(|load| {
        (load.rate, load.large, load.connections) = (CALM, 50.0, 64);
    });
    let mut run = setup.start().await;
    run.more(50).await;
    let (bursts, mut lived) = (lab.times(3, 20), 0);
    for _ in 0..bursts {
        run.fault(FaultKind::DaemonKill, "out of memory", async |run| {
            let limit = limit(run.daemon());
            run.load().set_rate(BURST);
            let died = run.daemon_dies_within(within).await;
            drop(limit);
            run.load().set_rate(CALM);
            match died {
                Some(status) => {
                    run.end_was_meant();
                    let so = status.signal().is_some_and(|signal| by.contains(&signal));
                    run.expect(&format!("it dies by signal {by:?}, not by {status}"), so);
                    run.look_after_crash().await;
                    run.start_daemon().await;
                }
                None => lived += 1,
            }
        })
        .await;
        run.more(50).await;
    }
    if 0 < lived {
        run.figure(format!("lived through {lived} of {bursts} bursts"));
        run.expect("it dies where it must", by != [KILLED] && lived < bursts);
    }
    run.judge().await
}
