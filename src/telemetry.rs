//! Logs: pretty on a terminal, JSON lines otherwise. The one place where `tracing` is set up.
//!
//! No body, key or signature is ever logged. Values are escaped by the formatter, so a control
//! character in a webhook cannot forge a line or drive a terminal.
//!
//! Nobody waits for whoever reads the log: lines go through a bounded queue to a thread of their own. Where that
//! cannot write them (a pipe that nobody empties, a full disk) lines are dropped and counted, and the work goes
//! on.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// Lines that may wait to be written.
const WAITING: usize = 4_096;
/// How long the end of the process waits for them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The queue, once logging has started.
static LINES: OnceLock<SyncSender<Line>> = OnceLock::new();
/// Lines that were dropped since it was last said.
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Line {
    Text(Vec<u8>),
    /// Answered when everything before it is written.
    Written(SyncSender<()>),
}

/// What the formatter writes to: each write is a line, and never waits.
#[derive(Clone)]
struct Queue(SyncSender<Line>);

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Line::Text(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines to standard error for as long as the process lives.
fn write_out(lines: &Receiver<Line>, json: bool) {
    for line in lines {
        let text = match line {
            Line::Written(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(());
                continue;
            }
            Line::Text(text) => text,
        };
        if io::stderr().write_all(&text).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if 0 < dropped {
            let said = match json {
                true => format!(
                    "{{\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"lines\":{dropped}}}\n"
                ),
                false => format!(" WARN {dropped} log lines were dropped\n"),
            };
            if io::stderr().write_all(said.as_bytes()).is_err() {
                DROPPED.fetch_add(dropped, Ordering::Relaxed);
            }
        }
    }
}

/// Waits until what was logged is written, for half a second at most.
pub fn flush() {
    let Some(lines) = LINES.get() else { return };
    let (reply, written) = sync_channel(1);
    if lines.try_send(Line::Written(reply)).is_ok() {
        let _ = written.recv_timeout(LAST_WORDS);
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Checks a filter such as `info` or `hookwell=debug,lapin=warn`.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::builder()
        .parse(filter)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Starts logging to standard error; the first call counts.
pub fn start(format: Format, filter: &str) {
    let filter = EnvFilter::builder().parse_lossy(filter);
    let terminal = io::stderr().is_terminal();
    let json = format == Format::Json || (format == Format::Auto && !terminal);
    let (lines, queue) = sync_channel(WAITING);
    if LINES.set(lines.clone()).is_err() {
        return;
    }
    let writer = std::thread::Builder::new().name("log".to_owned());
    if let Err(error) = writer.spawn(move || write_out(&queue, json)) {
        eprintln!("hookwell: no thread for the log: {error}");
        return;
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Queue(lines.clone()));
    let started = match json {
        true => builder.json().flatten_event(true).try_init(),
        false => builder.with_ansi(terminal).with_target(false).try_init(),
    };
    // A second start in one process is a test's; the first one's lines go on.
    drop(started);
}

/// The threads on which a panic is heard of by others: whoever waits for a task of the runtime learns that it panicked.
const HEARD: [&str; 2] = ["main", RUNTIME_THREAD];
/// The name of the runtime's threads.
pub const RUNTIME_THREAD: &str = "hookwell";

/// Makes a panic a line of the log, and the end of the process where nobody else would hear of it.
///
/// sqlx runs SQLite on threads of its own. When one of them panics (there is no memory for a value, or for the thread
/// itself), the rows that it had read look like all of them, and whoever waits for its start waits for ever: only the
/// end of the process loses nothing. The line has no backtrace: `std` (1.95) prints one under a lock that its handler of
/// failed allocations takes as well, so a thread that has no memory left for it waits for itself.
pub fn hear_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let said = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        match LINES.get() {
            Some(_) => tracing::error!(thread = name, place, said, "panicked"),
            None => eprintln!("hookwell: the thread {name} panicked at {place}: {said}"),
        }
        if !HEARD.contains(&name) {
            flush();
            std::process::abort();
        }
    }));
}

/// Shows an error with everything that caused it: `a: b: c`, and nothing twice.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            // Some libraries repeat their cause in their own words.
            let text = cause.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said.push_str(&text);
            }
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};

    /// Names the thread on which a child panics.
    const THREAD: &str = "HOOKWELL_TEST_PANICS_ON";
    const ABORTED: i32 = 6;

    #[test]
    fn child() {
        let Ok(name) = std::env::var(THREAD) else {
            return;
        };
        super::hear_panics();
        let thread = std::thread::Builder::new().name(name);
        let panicking = thread.spawn(|| panic!("no memory")).unwrap();
        assert!(panicking.join().is_err());
    }

    fn panics_on(thread: &str) -> Output {
        let tests = std::env::current_exe().unwrap();
        let mut child = Command::new(tests);
        child.args(["--exact", "telemetry::tests::child", "--nocapture"]);
        child.env(THREAD, thread).env("RUST_BACKTRACE", "1");
        child.output().unwrap()
    }

    #[test]
    fn a_panic_of_which_nobody_hears_ends_the_process() {
        let heard = panics_on(super::RUNTIME_THREAD);
        assert!(heard.status.success(), "{heard:?}");
        let unheard = panics_on("sqlx-sqlite-worker-0");
        assert_eq!(unheard.status.signal(), Some(ABORTED), "{unheard:?}");
        for (ended, name) in [
            (heard, super::RUNTIME_THREAD),
            (unheard, "sqlx-sqlite-worker-0"),
        ] {
            let said = String::from_utf8(ended.stderr).unwrap();
            let line = format!("hookwell: the thread {name} panicked at src/telemetry.rs:");
            assert!(said.contains(&line) && said.contains("no memory"), "{said}");
            assert!(!said.contains("backtrace"), "{said}");
        }
    }
}
