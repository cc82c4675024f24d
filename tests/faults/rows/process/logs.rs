//! Nobody takes the daemon's log lines (D-10).

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::super::identity::contact;
use crate::harness::services::send_signal;
use crate::lab::{Lab, Outcome, Run};
use crate::random::Random;
use crate::records::FaultKind;

/// Makes standard error a pipe to a process that writes its number down and passes everything on to where it
/// went before.
const PIPE: &str = r#"exec "$@" 2> >(echo $BASHPID >reader; exec cat >&2)"#;

/// What a pipe of 64 KiB holds at least: a line does not begin on a page that it does not fit into.
const HOLDS: u64 = 56 << 10;

/// More lines than it holds: the daemon says it of each event whose id it knows with other bytes.
const LINES: usize = 400;

/// Posted at once.
const TOGETHER: usize = 20;

/// How long such a post is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// As long as a stop may take.
const STOPS: Duration = Duration::from_secs(21);

/// Whoever reads the log of the daemon, stopped; goes on when this is dropped.
struct Stopped(u32);

impl Stopped {
    fn reader_of(run: &mut Run) -> Self {
        let pid = reader_of(run);
        send_signal("STOP", &[pid]);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        send_signal("CONT", &[self.0]);
    }
}

fn reader_of(run: &mut Run) -> u32 {
    let noted = std::fs::read_to_string(run.config().dir().join("reader"));
    noted.unwrap().trim().parse().unwrap()
}

/// D-10: the process that reads the log is stopped, and the pipe to it full; then another one is gone, and
/// every line fails as on a full disk. Events are taken and relayed all the same, and the daemon ends in
/// order.
pub async fn nobody_reads(lab: Lab) -> Outcome {
    let mut random = lab.random();
    let setup = lab.setup().daemon(|mut config| {
        config.wrapper = ["bash", "-c", PIPE, "bash"].map(ToOwned::to_owned).to_vec();
        config
    });
    let mut run = setup.start().await;
    let span = Duration::from_secs(lab.times(6, 60) as u64);
    for _ in 0..lab.times(1, 5) {
        run.arrived(400).await;
        let log = run.daemon().log_file().to_owned();
        let size = || std::fs::metadata(&log).unwrap().len();
        let read = size();
        let stopped = Stopped::reader_of(&mut run);
        feels_nothing(&mut run, &mut random, "is stopped", span).await;
        ends(&mut run, "is stopped").await;
        drop(stopped);
        // What was in the pipe comes now.
        sleep(Duration::from_secs(1)).await;
        run.expect("the pipe was full", HOLDS <= size() - read);
        run.start_daemon().await;

        run.arrived(200).await;
        let reader = reader_of(&mut run);
        send_signal("KILL", &[reader]);
        feels_nothing(&mut run, &mut random, "is gone", span).await;
        ends(&mut run, "is gone").await;
        run.start_daemon().await;
    }
    run.more(200).await;
    run.judge().await
}

/// States that events are answered and arrive for so long, while the daemon has something to say.
async fn feels_nothing(run: &mut Run, random: &mut Random, reader: &str, span: Duration) {
    let what = format!("the log's reader {reader}");
    run.fault(FaultKind::Other, &what, async |run| {
        let id = random.uuid();
        let spoke = make_it_speak(run, &id).await;
        let (from, acked, seen) = (run.micros(), run.load().acked(), run.sink().seen());
        sleep(span).await;
        let p99 = run.answered(from, run.micros()).p99();
        let (acked, seen) = (run.load().acked() - acked, run.sink().seen() - seen);
        run.figure(format!(
            "{what}: {acked} taken and {seen} arrived in {span:?}, p99 {} ms",
            p99.as_millis()
        ));
        // Of 200 a second, on a machine that may be busy.
        let least = 50 * span.as_secs() as usize;
        run.expect(&format!("{what}: what makes it speak is answered"), spoke);
        run.expect(&format!("{what}: events are taken"), least <= acked);
        run.expect(&format!("{what}: events arrive"), least <= seen);
        let soon = p99 < Duration::from_secs(1);
        run.expect(&format!("{what}: answers come as before"), soon);
    })
    .await;
}

/// Posts one id with ever other bytes, until one of the posts is not answered.
async fn make_it_speak(run: &Run, id: &str) -> bool {
    for first in (0..LINES).step_by(TOGETHER) {
        let posts = (first..first + TOGETHER).map(async |n| {
            let event = contact(n as u64, id);
            let t_send = run.micros();
            let answer = timeout(PATIENCE, run.post(&event)).await;
            let Ok(answer) = answer else {
                let left = std::io::Error::other("left after three seconds");
                run.note(&event, t_send, Err(&left));
                return false;
            };
            answer.is_some()
        });
        if !join_all(posts).await.into_iter().all(|answered| answered) {
            return false;
        }
    }
    true
}

async fn ends(run: &mut Run, reader: &str) {
    let what = format!("SIGTERM while the log's reader {reader}");
    run.fault(FaultKind::DaemonStop, &what, async |run| {
        let in_order = run.stop_or_kill(STOPS).await;
        run.expect(&format!("{what}: it ends with 0"), in_order);
    })
    .await;
}
