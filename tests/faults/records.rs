//! The record of a run: what everybody writes into its folder as JSON lines, and the one clock.
//!
//! All times are microseconds since the run's start by CLOCK_MONOTONIC: [`Clock`] in the bench's own
//! process, and `time.monotonic_ns()` in the sink, which learns the difference by a handshake when it
//! starts (see `sink.rs`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub mod calls;
mod held;

pub use held::{LIMITS, Resources};

/// What the run was set up as, written at its start.
pub const PLAN: &str = "run.json";
/// Every post that the generator made, when it was over.
pub const ATTEMPTS: &str = "attempts.jsonl";
/// Every delivery, in the order of its arrival.
pub const SINK: &str = "sink.jsonl";
/// What the proxy in front of the broker saw; a run may go without.
pub const BROKER: &str = "broker-proxy.jsonl";
/// What was broken, from when to when.
pub const FAULTS: &str = "faults.jsonl";
/// The log's rows at the end, a [`Taken`] and then [`Row`]s.
pub const ROWS: &str = "rows.jsonl";
/// Scrapes of `/metrics` during the run; a run may go without.
pub const SCRAPES: &str = "scrapes.jsonl";
/// The end state.
pub const END: &str = "end.json";
/// Rows right after a recovery, before anybody posts again: `rows-after-crash*.jsonl`, the form of [`ROWS`].
pub const AFTER_CRASH: &str = "rows-after-crash";

/// Microseconds since the run's start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A run that starts now.
    pub fn start() -> Self {
        Self::since(Instant::now())
    }

    /// A run that started then.
    pub fn since(started: Instant) -> Self {
        Self { started }
    }

    /// The run's start, for whoever counts from it by other means.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Now.
    pub fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What an attempt's error says where the generator itself gave up waiting.
pub const NO_ANSWER: &str = "no answer in time";

/// How a request was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// As GHL does. Only these may come in.
    Signed,
    /// Without a signature.
    Unsigned,
    /// Signed with somebody else's key.
    Forged,
    /// In a form that has to be refused: a broken signature header, a body over the limit.
    Malformed,
}

/// One post. Without a status its outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The event key that these bytes are expected to get.
    pub id: String,
    /// The entity, as `tenant/contact`.
    pub key: String,
    /// A counter for each key, in the order of their making.
    pub kseq: u64,
    /// The first post of an event is 1.
    pub attempt: u32,
    /// Of the body, 64 hex digits.
    pub sha256: String,
    /// How it was made.
    pub class: Class,
    /// Where the message of it goes; none where nothing may come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Before the first byte was written.
    pub t_send: u64,
    /// After the answer was read, or the failure was noticed.
    pub t_recv: u64,
    /// The answer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One message at a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Where it came from.
    pub queue: String,
    /// Counts the deliveries of a queue.
    pub n: u64,
    /// `message_id`.
    pub id: String,
    /// `hookwell-position`; 0 where the header is missing.
    pub position: i64,
    /// Of the body.
    pub sha256: String,
    /// Whether the broker says that it may have come before.
    pub redelivered: bool,
    /// When it arrived.
    pub t: u64,
}

/// What the proxy in front of the broker saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// A number for each connection.
    pub conn: u64,
    /// When.
    pub t: u64,
    /// `open`, `channel-open`, `publish`, `ack`, `nack`, `return`, `close`, or what is not judged.
    pub what: String,
    /// The channel; delivery tags count by channel.
    #[serde(default)]
    pub channel: u16,
    /// `message_id`, of a publish and a return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of a publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Of a publish (counted by the proxy), an ack and a nack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u64>,
    /// Of an ack and a nack: all tags up to this one.
    #[serde(default)]
    pub multiple: bool,
    /// Whether the other side got it.
    #[serde(default = "yes")]
    pub forwarded: bool,
}

fn yes() -> bool {
    true
}

/// What a fault breaks, as far as the judgement depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The broker is away or its connections break.
    Broker,
    /// The broker takes nothing, and connections stay.
    BrokerAlarm,
    /// The store is away, slow or out of room.
    Store,
    /// The network between the generator and the daemon.
    Client,
    /// A daemon was killed.
    DaemonKill,
    /// A daemon was stopped in its tracks: what it does late is excused.
    DaemonFreeze,
    /// A daemon was asked to end.
    DaemonStop,
    /// Everything that was not forced to the disk is gone.
    PowerCut,
    /// Queues, bindings or policies were changed.
    Topology,
    /// Anything else.
    Other,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it breaks.
    pub kind: FaultKind,
    /// In words.
    pub what: String,
    /// Before it was done.
    pub from: u64,
    /// After it was healed.
    pub to: u64,
}

/// The head of a file of rows: when the reading began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Before the first row was read.
    pub taken: u64,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its place.
    pub position: i64,
    /// The event key.
    pub id: String,
    /// The app.
    pub app: String,
    /// Of the body as it is stored.
    pub sha256: String,
}

/// Queues of which at least one gets each event that a binding takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Their names; more than one where a fault moves messages to another queue.
    pub queues: Vec<String>,
    /// Binding patterns; an event is wanted where one of them matches.
    pub bind: Vec<String>,
}

/// What a run is set up as, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Its name in the table.
    pub row: String,
    /// `sqlite` or `postgres`.
    pub store: String,
    /// What chance came from.
    pub seed: u64,
    /// `broker.window`.
    pub window: u64,
    /// Who gets what.
    pub wanted: Vec<Wanted>,
    /// Every attempt is answered or closed within this time.
    pub deadline_us: u64,
    /// Nothing is pending so long after the last fault.
    pub drain_us: u64,
    /// The longest a stop may take.
    pub stop_us: u64,
    /// Reasons for which this row may park events.
    pub parked: Vec<String>,
    /// Keys that this row blocks on purpose.
    pub blocked_keys: Vec<String>,
    /// Whether somebody else than the generator posts to the daemons too.
    pub other_clients: bool,
    /// Whether dead letters or old events are published again on request.
    pub replays: bool,
    /// The most that the daemon may hold at any time.
    pub limits: Resources,
    /// The calls that events call for, where a row has some.
    pub follow_ups: Option<calls::FollowUps>,
}

impl Default for Plan {
    fn default() -> Self {
        const SECOND: u64 = 1_000_000;
        Self {
            row: String::new(),
            store: String::new(),
            seed: 0,
            window: 1000,
            wanted: vec![Wanted {
                queues: vec!["hookwell.all".to_owned()],
                bind: vec!["#".to_owned()],
            }],
            deadline_us: 30 * SECOND,
            drain_us: 60 * SECOND,
            stop_us: 21 * SECOND,
            parked: Vec::new(),
            blocked_keys: Vec::new(),
            other_clients: false,
            replays: false,
            limits: LIMITS,
            follow_ups: None,
        }
    }
}

/// A parked event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place.
    pub position: i64,
    /// Why.
    pub reason: String,
    /// `parked` or `retry`.
    pub state: String,
}

/// How a daemon's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// It did not.
    Running,
    /// By a signal that it could not catch, or with the machine.
    Killed,
    /// It was asked to.
    Stopped,
    /// By itself.
    Itself,
}

/// One process of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// How it ended.
    pub ended: Ended,
    /// When it was asked to end, for one that was.
    #[serde(default)]
    pub t_asked: u64,
    /// When it had ended.
    #[serde(default)]
    pub t_ended: u64,
    /// Its exit code, where it had one.
    #[serde(default)]
    pub exit: Option<i32>,
    /// The last scrape of `/metrics`, series by their text.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Whether the scrape was made when nothing was under way any more.
    #[serde(default)]
    pub at_rest: bool,
}

/// One look at `/metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scrape {
    /// Whose: the place of the process in [`End::lives`].
    pub life: usize,
    /// When.
    pub t: u64,
    /// Series by their text.
    pub metrics: BTreeMap<String, f64>,
}

/// The end state, when everything is at rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// When it was taken.
    pub t: u64,
    /// When nothing was pending any more; none if that did not happen.
    pub drained_at: Option<u64>,
    /// `log_head`.
    pub head: i64,
    /// The relay's cursor.
    pub cursor: i64,
    /// What the cursor's row says was published.
    pub published: i64,
    /// Entries of the quarantine.
    pub quarantined: i64,
    /// What is parked.
    pub dead_letters: Vec<DeadLetter>,
    /// Every process of the daemon, in the order of their starts.
    pub lives: Vec<Life>,
    /// Before the first fault, without what clients take.
    pub before: Option<Resources>,
    /// The most that was seen.
    pub peak: Option<Resources>,
    /// After everything healed and settled, likewise.
    pub after: Option<Resources>,
    /// Every token.
    pub chains: Vec<calls::Chain>,
    /// Pages that a browser got, by their status; they are counted as answers, and are none to an event.
    pub pages: BTreeMap<u16, usize>,
    /// When every access token was ended, so that each chain had to show that it goes on.
    pub asked_at: Option<u64>,
}

/// The text of `/metrics` by series.
pub fn series(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Appends records to a file, from several tasks. Lines are whole; all of them are there after
/// [`Self::finish`] or the end of the last clone.
#[derive(Clone)]
pub struct Writer {
    file: Arc<Mutex<BufWriter<File>>>,
}

impl Writer {
    /// Opens `name` in a run's folder to append.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(folder.join(name))?;
        Ok(Self {
            file: Arc::new(Mutex::new(BufWriter::with_capacity(256 * 1024, file))),
        })
    }

    /// Appends one record.
    pub fn write<T: Serialize>(&self, record: &T) {
        let mut line = serde_json::to_vec(record).unwrap();
        line.push(b'\n');
        self.file.lock().unwrap().write_all(&line).unwrap();
    }

    /// Hands everything so far to the operating system.
    pub fn finish(&self) {
        self.file.lock().unwrap().flush().unwrap();
    }
}

/// Reads records one by one; memory does not grow with the file. A file that is not there has none.
pub fn each<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> io::Result<()> {
    each_line(path, |_, line| {
        take(serde_json::from_str(line)?);
        Ok(())
    })
}

/// Reads a file of rows: when it was taken, and each row.
pub fn each_row(path: &Path, mut take: impl FnMut(Row)) -> io::Result<Option<Taken>> {
    let mut taken = None;
    each_line(path, |number, line| {
        match number {
            1 => taken = Some(serde_json::from_str(line)?),
            _ => take(serde_json::from_str(line)?),
        }
        Ok(())
    })?;
    Ok(taken)
}

fn each_line(
    path: &Path,
    mut take: impl FnMut(usize, &str) -> serde_json::Result<()>,
) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path, 0, error)),
    };
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            break;
        }
        take(number, &line).map_err(|error| at(path, number, error))?;
    }
    Ok(())
}

/// Reads a file that is one value.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let file = File::open(path).map_err(|error| at(path, 0, error))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| at(path, 0, error))
}

/// Writes a file that is one value.
pub fn save<T: Serialize>(folder: &Path, name: &str, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value)?;
    std::fs::write(folder.join(name), text)
}

fn at(path: &Path, line: usize, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}:{line}: {error}", path.display()))
}
