//! The edge to RabbitMQ: a session that publishes batches and says what became of each message.
//!
//! The only AMQP of the project is here and in `broker/`. A session never reconnects by itself: on any
//! error the caller drops it, and with it everything whose fate is unknown, and opens another. It must
//! not know the store, nor what to do about a message that was not confirmed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lapin::options::ConfirmSelectOptions;
use lapin::types::ShortString;
use lapin::{Channel, Connection};
use tokio::time::{Instant, timeout};

use crate::failpoints;

mod connect;
mod error;
mod inspection;
mod publish;
mod tap;
mod topology;

pub use connect::{Credentials, Settings};
pub use error::{Cause, Error, Fault};
pub use inspection::Inspection;
pub use tap::{Arrival, Source, Tap};
pub use topology::{Argument, Queue, QueueKind, Topology, TopologyMode};

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it.
    Confirmed,
    /// No queue is bound for it, and there is no alternate exchange: it is nowhere.
    Returned(String),
    /// The broker did not take it, for example because a queue is full and rejects.
    Nacked,
}

/// A header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// UTF-8 text.
    Text(String),
    /// A 64-bit number.
    Number(i64),
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// A message as it will be published: persistent and mandatory.
#[derive(Debug, Clone)]
pub struct Message {
    /// `message_id`, at most 255 bytes.
    pub id: String,
    /// `type`, at most 255 bytes.
    pub kind: String,
    /// `timestamp`, in seconds since 1970.
    pub timestamp: u64,
    /// Messages with the same lane keep their order.
    pub lane: u64,
    /// At most 255 bytes.
    pub routing_key: String,
    /// Headers.
    pub headers: Vec<(&'static str, Header)>,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// How long the first confirm of a session may take, if its confirm deadline is not shorter: an election of RabbitMQ's
/// takes a second or two.
pub const FIRST_CONFIRM: Duration = Duration::from_secs(5);

/// How often whoever waits for an answer looks whether the broker has blocked the connection.
const BLOCKED_CHECK: Duration = Duration::from_millis(200);

/// A connection with its channels, ready to publish.
pub struct Session {
    connection: Connection,
    channels: Vec<Channel>,
    exchange: ShortString,
    confirm_deadline: Duration,
    /// The same, until the first confirm.
    first_deadline: Duration,
    address: String,
    rejected: OnceLock<Instant>,
    confirmed: AtomicBool,
}

impl Session {
    /// Connects to the first address that answers, declares or checks the topology, and turns publisher
    /// confirms on.
    ///
    /// # Errors
    /// [`Error::Connect`] when no address answers; [`Error::Topology`] when an object is missing or
    /// differs. Cancel-safe: nothing is published before it returns.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        let (connection, address) = connect::connect(settings).await?;
        let set_up = async {
            topology::establish(&connection, &settings.topology).await?;
            let mut channels = Vec::new();
            for _ in 0..settings.channels {
                let channel = connection.create_channel().await.map_err(Error::lost)?;
                if !failpoints::mutant("mutant.M4") {
                    channel
                        .confirm_select(ConfirmSelectOptions::default())
                        .await
                        .map_err(Error::lost)?;
                }
                channels.push(channel);
            }
            Ok(channels)
        };
        let within = settings.connect_timeout;
        let Ok(channels) = timeout(within, set_up).await else {
            return Err(Error::no_answer(address, within));
        };
        let channels = channels?;
        Ok(Self {
            connection,
            channels,
            exchange: settings.topology.exchange.as_str().into(),
            confirm_deadline: settings.confirm_deadline,
            first_deadline: FIRST_CONFIRM.min(settings.confirm_deadline),
            address,
            rejected: OnceLock::new(),
            confirmed: AtomicBool::new(false),
        })
    }

    /// When the first message of this session was answered with a negative confirm.
    ///
    /// Besides a full queue this can be the channel's own state: RabbitMQ 3.10 goes on rejecting what is
    /// published to a quorum queue on a channel that was opened before the queue had its next leader, and takes
    /// the same on a fresh one.
    pub fn rejected_since(&self) -> Option<Instant> {
        self.rejected.get().copied()
    }

    /// Lets the first positive confirm of this session take so long, if that is less than the confirm deadline.
    pub fn expect_confirm_within(&mut self, deadline: Duration) {
        self.first_deadline = deadline.min(self.confirm_deadline);
    }

    fn deadline(&self) -> Duration {
        match self.has_confirmed() {
            true => self.confirm_deadline,
            false => self.first_deadline,
        }
    }

    /// Whether a message of this session was answered with a positive confirm.
    pub fn has_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// Host and port of the broker.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the broker has stopped taking messages (memory or disk alarm). Nothing may be sent then.
    pub fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Whether connection and channels still stand.
    pub fn is_open(&self) -> bool {
        self.connection.status().connected()
            && self
                .channels
                .iter()
                .all(|channel| channel.status().connected())
    }

    /// Closes the connection; bounded, since a broker that is gone does not answer. After an error it
    /// comes before the next session: what this one still holds must not be sent beside it.
    pub async fn close(&self) {
        let _ = timeout(
            Duration::from_secs(2),
            self.connection.close(200, "bye".into()),
        )
        .await;
    }
}
