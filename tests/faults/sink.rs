//! The consumer at the other end: `sink.py` as a process, because pika and lapin have no bug in common.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::records::{Clock, SINK};
use crate::harness::eventually;
use crate::harness::services::send_signal;

const PATIENCE: Duration = Duration::from_secs(60);

/// A consumer at work. Dropping it kills it.
pub struct Sink {
    child: Child,
    _stdin: ChildStdin,
    seen: Arc<AtomicUsize>,
    ready: Arc<AtomicUsize>,
}

impl Sink {
    /// Consumes from these queues, now or as soon as they are there, into a run's folder. The URL may be
    /// several, with commas between them.
    ///
    /// # Panics
    /// Where there is no Python with pika.
    pub fn start(folder: &Path, clock: Clock, url: &str, queues: &[&str]) -> Self {
        let errors = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("sink.log"))
            .unwrap();
        let mut child = Command::new(python_with_pika())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/sink.py"))
            .arg(url)
            .arg(folder.join(SINK))
            .args(queues)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        set_zero(&mut stdin, &mut lines, clock);
        let (seen, ready) = (Arc::default(), Arc::default());
        listen(lines, Arc::clone(&seen), Arc::clone(&ready));
        Self {
            child,
            _stdin: stdin,
            seen,
            ready,
        }
    }

    /// Waits until it consumes from all its queues.
    pub async fn ready(&self) {
        eventually("the sink consumes", PATIENCE, async || {
            (self.ready.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
    }

    /// How many different message ids came so far, in all queues together.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// Waits until so many came.
    pub async fn wait_for(&self, count: usize, within: Duration) {
        let what = format!("{count} different messages at the sink");
        eventually(&what, within, async || (count <= self.seen()).then_some(())).await;
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It takes nothing any more, and its connection stands.
    pub fn freeze(&self) {
        send_signal("STOP", &[self.child.id()]);
    }

    /// It goes on.
    pub fn thaw(&self) {
        send_signal("CONT", &[self.child.id()]);
    }

    /// Ends it; everything that came is in the file then.
    pub async fn stop(mut self) {
        send_signal("TERM", &[self.child.id()]);
        let status = eventually("the sink ends", PATIENCE, async || {
            self.child.try_wait().unwrap()
        })
        .await;
        assert!(status.success(), "the sink ended with {status}");
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells it which moment of its clock is the run's start. Of several questions the one that was
/// answered soonest counts; the error is at most half of the time that one took.
fn set_zero(stdin: &mut ChildStdin, lines: &mut BufReader<ChildStdout>, clock: Clock) {
    let mut best = (u128::MAX, 0);
    for _ in 0..10 {
        let asked = clock.started().elapsed().as_nanos();
        writeln!(stdin, "now").unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let answered = clock.started().elapsed().as_nanos();
        let theirs: u128 = line.trim().parse().expect("sink.py tells the time");
        let middle = asked + (answered - asked) / 2;
        best = best.min((answered - asked, theirs - middle));
    }
    writeln!(stdin, "zero {}", best.1).unwrap();
}

/// Reads what it says until it ends.
fn listen(lines: BufReader<ChildStdout>, seen: Arc<AtomicUsize>, ready: Arc<AtomicUsize>) {
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if line == "ready" {
                ready.fetch_add(1, Ordering::SeqCst);
            } else if let Some(count) = line.strip_prefix("seen ") {
                seen.store(count.parse().unwrap(), Ordering::SeqCst);
            }
        }
    });
}

/// Debian's package of pika serves Debian's interpreter, which need not be the first on the PATH.
fn python_with_pika() -> &'static str {
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| {
            let imported = Command::new(python)
                .args(["-c", "import pika"])
                .stderr(Stdio::null())
                .status();
            imported.is_ok_and(|status| status.success())
        })
        .expect("no Python with pika: `bash deploy/services.sh install pika`")
}
