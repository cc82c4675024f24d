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
