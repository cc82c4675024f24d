//! The disk under the file is full, or fails (L-03).

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::generator::Retry;
use crate::harness::services::send_signal;
use crate::harness::{DaemonConfig, eventually};
use crate::lab::{Lab, Outcome, RATE, Run, WITHIN};
use crate::records::FaultKind;

/// Events that wait for RabbitMQ.
const PENDING: &str = "hookwell_ledger_events{state=\"pending\"}";

/// Of 1 to 60: small ones hit the start, larger ones appends and checkpoints.
const SLICE: [usize; 6] = [1, 3, 8, 15, 30, 60];

/// Webhooks a second while it is looked whether a full disk is told from one with room.
const TRICKLE: f64 = 0.5;
/// For how long.
const TRICKLES: Duration = Duration::from_secs(12);

/// L-03: the disk is full for a while. Nothing of it is kept back.
pub async fn disk_full(lab: Lab) -> Outcome {
    let without_reserve = |config: DaemonConfig| config.set("store", "disk_reserve = \"0\"");
    let setup = lab.setup().on_a_disk().daemon(without_reserve);
    // Repeats would be many webhooks where a few are asked for.
    let mut run = setup.load(|load| load.retry = Retry::off()).start().await;
    for _ in 0..lab.times(2, 10) {
        run.more(300).await;
        run.fault(FaultKind::Store, "disk full", async |run| {
            run.disk().fill();
            run.refused(100).await;
            let seen = run.turns_unready(Duration::from_secs(10)).await;
            run.expect("readyz says that it takes nothing", seen);
            run.load().set_rate(TRICKLE);
            let turns = turns(run, TRICKLES).await;
            run.figure(format!(
                "readyz turned {turns} times in {TRICKLES:?} of a full disk"
            ));
            run.expect("readyz does not go to and fro", turns < 3);
            run.load().set_rate(RATE);
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

/// How often the daemon changes its mind about what it takes.
async fn turns(run: &Run, within: Duration) -> usize {
    let deadline = Instant::now() + within;
    let (mut turns, mut before) = (0, run.daemon().ready().await);
    while Instant::now() < deadline {
        let now = run.daemon().ready().await;
        turns += usize::from(now != before);
        before = now;
        sleep(Duration::from_millis(50)).await;
    }
    turns
}

/// L-03-reserve: somebody else fills the disk while RabbitMQ takes nothing. Below its reserve the daemon takes no
/// webhook more, before one could not be committed, and what is in the log goes out when RabbitMQ takes it again.
pub async fn down_to_the_reserve(lab: Lab) -> Outcome {
    const MIB: u64 = 1024 * 1024;
    let setup = lab.setup().on_a_disk();
    let reserve = |config: DaemonConfig| config.set("store", "disk_reserve = \"128MiB\"");
    let mut run = setup.daemon(reserve).start().await;
    for _ in 0..lab.times(2, 10) {
        run.more(300).await;
        run.fault(FaultKind::Store, "the reserve of the disk", async |run| {
            run.broker().proxy.block("no memory");
            run.becomes("hookwell_broker_blocked", 1.0).await;
            run.more(300).await;
            run.disk().fill_but(96 * MIB);
            run.refused(100).await;
            let reason = "hookwell_refused_total{reason=\"disk_reserve\"}";
            let refused = run.daemon().metric(reason).await.unwrap_or_default();
            run.expect("they are refused for the reserve", 100.0 <= refused);
            run.readiness(503).await;
            let waiting = run.daemon().metric(PENDING).await.unwrap_or_default();
            run.expect("events wait in the log", 0.0 < waiting);
            run.broker().proxy.unblock();
            run.becomes(PENDING, 0.0).await;
            run.readiness(503).await;
            run.disk().empty();
            let took = run.takes_again().await;
            run.expect(
                &format!("it goes on by itself within 10 s, not {took:?}"),
                took < Duration::from_secs(10),
            );
            let failed = run.daemon().metric("hookwell_commit_errors_total").await;
            run.expect("no append failed", failed == Some(0.0));
        })
        .await;
        run.readiness(200).await;
    }
    run.more(100).await;
    run.judge().await
}

/// The N-th fsync of a thread of the daemon's fails, once. strace counts for each thread by itself, and whoever failed is
/// followed by a connection in a new thread: so it lets go of the daemon after the first error.
pub async fn sync_fails(lab: Lab) -> Outcome {
    let errors = |n: usize| format!("inject=fsync,fdatasync:error=EIO:when={n}");
    once_each(lab, "fsync,fdatasync", errors, Lasts::Once).await
}

/// From the N-th on, so many writes find no room.
pub async fn no_room_for_a_while(lab: Lab) -> Outcome {
    let errors = |n: usize| {
        let (from, to) = (10 * n, 10 * n + 40);
        format!("inject=pwrite64:error=ENOSPC:when={from}..{to}")
    };
    once_each(lab, "pwrite64", errors, Lasts::Throughout).await
}

/// How long a daemon has such errors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// Until an append failed.
    Once,
    /// Until it is killed.
    Throughout,
}

/// Starts daemons whose calls fail, each with other errors, on the store that the one before left.
async fn once_each(
    lab: Lab,
    calls: &str,
    errors: impl Fn(usize) -> String,
    lasts: Lasts,
) -> Outcome {
    let counts = match lab.whole {
        true => (1..=60).collect(),
        false => SLICE.to_vec(),
    };
    let mut run = lab.setup().without_daemon().start().await;
    for n in counts {
        run.fault(FaultKind::DaemonKill, &errors(n), async |run| {
            let calls = format!("trace={calls}");
            // With `-I 2` it can be ended; a program to start and a file to write to make it deaf otherwise.
            let strace = [
                "strace",
                "-D",
                "-I",
                "2",
                "-qq",
                "-f",
                "-o",
                "/dev/null",
                "-e",
                &calls,
            ];
            let strace = strace.map(ToOwned::to_owned).into_iter();
            run.config().wrapper = strace.chain(["-e".to_owned(), errors(n)]).collect();
            match run.launch_daemon().await {
                // Whether or not it was hit, it serves.
                Ok(()) => {
                    if lasts == Lasts::Once {
                        until_an_append_fails(run, 150).await;
                        let_go(run.daemon().pid());
                    }
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

/// Or until so many went through.
async fn until_an_append_fails(run: &Run, count: usize) {
    let goal = run.answers_of(200) + count;
    eventually("an append fails, or none does", WITHIN, async || {
        let failed = run.daemon().metric("hookwell_commit_errors_total").await;
        (Some(0.0) < failed || goal <= run.answers_of(200)).then_some(())
    })
    .await;
}

/// Ends the strace that traces the daemon. It is nobody's child (`-D`).
fn let_go(daemon: u32) {
    let status = std::fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer = tracer.and_then(|pid| pid.trim().parse().ok()).unwrap();
    // Where it has ended by itself, nobody traces.
    if tracer != 0 {
        send_signal("TERM", &[tracer]);
    }
}
