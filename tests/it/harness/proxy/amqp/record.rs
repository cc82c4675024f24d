//! What the AMQP proxy saw, one JSON line each.

use std::io::{BufWriter, Write};
use std::sync::Mutex;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A connection to the broker stands.
    Open,
    /// It is gone, in whatever way.
    Close,
    /// Somebody closes it by the protocol; `code` and `text` say why.
    ConnectionClose,
    /// A channel is opened; its delivery tags begin again.
    ChannelOpen,
    /// Somebody closes a channel; `code` and `text` say why.
    ChannelClose,
    /// A whole message to the broker.
    Publish,
    /// A confirm.
    Ack,
    /// A refusal.
    Nack,
    /// A message that came back; its confirm follows.
    Return,
    /// The broker takes nothing; `text` says why.
    Blocked,
    /// It takes messages again.
    Unblocked,
    /// Not AMQP 0-9-1; from here on nothing is seen.
    Garbled,
}

/// One thing that was seen on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the epoch of the [`Recorder`].
    pub t: u64,
    /// The connection, counted from 1.
    pub conn: u64,
    /// What it is.
    pub what: What,
    /// The channel: delivery tags are counted on each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u16>,
    /// The property `message-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The routing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// The delivery tag; none for a publish on a channel without confirms, and for a return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u64>,
    /// Whether a confirm stands for all tags before its own too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiple: Option<bool>,
    /// Whether the proxy let it go on. What the network does to it behind that (a cut, a dead line) is
    /// not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<bool>,
    /// Whether the proxy made it up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub injected: bool,
    /// A reply code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Record {
    /// One without details; the recorder sets the time.
    pub fn new(conn: u64, what: What) -> Self {
        Self {
            t: 0,
            conn,
            what,
            channel: None,
            id: None,
            routing_key: None,
            tag: None,
            multiple: None,
            forwarded: None,
            injected: false,
            code: None,
            text: None,
        }
    }
}

/// Writes records with times of one epoch.
pub struct Recorder {
    epoch: Instant,
    into: Mutex<BufWriter<Box<dyn Write + Send>>>,
}

impl Recorder {
    /// Times count from `epoch`; lines go into `into`, through a buffer.
    pub fn new(epoch: Instant, into: impl Write + Send + 'static) -> Self {
        let into: Box<dyn Write + Send> = Box::new(into);
        Self {
            epoch,
            into: Mutex::new(BufWriter::new(into)),
        }
    }

    /// One that forgets everything.
    pub fn none() -> Self {
        Self::new(Instant::now(), std::io::sink())
    }

    /// Everything so far is written.
    pub fn flush(&self) {
        self.into.lock().unwrap().flush().unwrap();
    }

    /// Writes one, with the time that it is now. Times rise from line to line.
    pub(super) fn note(&self, mut record: Record) {
        let mut into = self.into.lock().unwrap();
        record.t = u64::try_from(self.epoch.elapsed().as_micros()).unwrap();
        serde_json::to_writer(&mut *into, &record).unwrap();
        into.write_all(b"\n").unwrap();
    }
}
