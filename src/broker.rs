//! The edge to RabbitMQ: a session that publishes batches and says what became of each message.
//!
//! The only AMQP of the project is here and in `broker/`. A session never reconnects by itself: on any
//! error the caller drops it, and with it everything whose fate is unknown, and opens another. It must
//! not know the store, nor what to do about a message that was not confirmed.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, join_all};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::{Instant, sleep, timeout};

use crate::failpoints;

mod connect;
mod error;
mod inspection;
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

    /// Publishes a batch and says what became of each message, in order.
    ///
    /// The confirm deadline is the longest time without a message written or a positive confirm, not the
    /// longest batch: on a slow line a batch that makes progress would otherwise be given up and sent again
    /// for ever. (A broker without a leader trickles negative confirms for minutes.) Nor does it run while the
    /// broker blocks the connection: a timeout does not withdraw what was sent, and sending it again
    /// would pile up copies. A connection that is dead is not waited for: lapin 4.12 can leave what is handed to
    /// a channel in the moment its connection dies without any answer (seen with acknowledgements, once in some
    /// twenty kills), and a broker that blocked before it died blocks for ever.
    ///
    /// # Errors
    /// After any error the fate of the whole batch is unknown and the session must be dropped.
    pub async fn publish(&self, batch: &[Message]) -> Result<Vec<Outcome>, Error> {
        let answers = AtomicUsize::new(0);
        let work = self.publish_and_collect(batch, &answers);
        tokio::pin!(work);
        let mut deadline = Instant::now() + self.deadline();
        let mut answered = 0;
        let mut was_open = true;
        loop {
            tokio::select! {
                outcomes = &mut work => return outcomes,
                () = sleep(BLOCKED_CHECK) => {
                    let now = Instant::now();
                    // The answers of the dead say more, where there are any: they get one check's time.
                    let open = self.is_open();
                    if !open && !was_open {
                        return Err(Error::Closed);
                    }
                    was_open = open;
                    let answers = answers.load(Ordering::Relaxed);
                    let waits = self.is_blocked() && !failpoints::mutant("mutant.M11");
                    if waits || answered < answers {
                        answered = answers;
                        deadline = now + self.deadline();
                    } else if deadline <= now {
                        return Err(Error::Deadline(self.deadline()));
                    }
                }
            }
        }
    }

    async fn publish_and_collect(
        &self,
        batch: &[Message],
        answers: &AtomicUsize,
    ) -> Result<Vec<Outcome>, Error> {
        let mut sent = Vec::with_capacity(batch.len());
        for message in batch {
            let publish = self.channel(message.lane).basic_publish(
                self.exchange.clone(),
                message.routing_key.as_str().into(),
                BasicPublishOptions {
                    mandatory: true,
                    immediate: false,
                },
                &message.body,
                properties(message),
            );
            let mut publish = Box::pin(publish);
            // The first poll puts the frames into the channel's queue, so this loop is the order on the
            // wire; what is left to wait for is the socket.
            let first = poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
            sent.push(match first {
                Poll::Ready(confirm) => Either::Left(confirm),
                Poll::Pending => Either::Right(publish),
            });
        }
        failpoints::crash_soon("relay.published");
        // Each message written and each positive confirm is progress.
        let progress = || answers.fetch_add(1, Ordering::Relaxed);
        let mut confirms = Vec::with_capacity(batch.len());
        // Of a channel that RabbitMQ closes, what is handed over last hears only that it is closing; why is in the answers
        // to what is on its way.
        let mut errors = Vec::new();
        for publish in sent {
            let confirm = match publish {
                Either::Left(confirm) => confirm,
                Either::Right(publish) => publish.await,
            };
            progress();
            let confirm = match confirm {
                Ok(confirm) => confirm,
                Err(error) => {
                    errors.push(error);
                    break;
                }
            };
            confirms.push(async move {
                let confirm = confirm.await;
                if !matches!(confirm, Ok(Confirmation::Nack(_))) {
                    progress();
                }
                confirm
            });
        }
        let mut confirmations = Vec::with_capacity(batch.len());
        for confirm in join_all(confirms).await {
            match confirm {
                Ok(confirmation) => confirmations.push(confirmation),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = explain(errors) {
            return Err(error);
        }
        let mut returned: HashSet<(String, String)> = HashSet::new();
        let mut reasons = String::new();
        let mut nacked = vec![false; batch.len()];
        // lapin can hand a returned message to the wrong confirm when publishes are pipelined, so a
        // return is attributed by the id that the returned message itself carries, after every confirm
        // of the batch is in. That a confirm was positive says nothing before that. Two apps may use one
        // id; whether there is a queue depends on the routing key alone.
        let mut note = |message: lapin::message::BasicReturnMessage| {
            if let Some(id) = message.delivery.properties.message_id() {
                let key = message.delivery.routing_key.as_str().to_owned();
                returned.insert((id.as_str().to_owned(), key));
            }
            reasons = format!("{} {}", message.reply_code, message.reply_text);
        };
        for (index, confirmation) in confirmations.into_iter().enumerate() {
            match confirmation {
                Confirmation::Ack(message) => {
                    self.confirmed.store(true, Ordering::Relaxed);
                    if let Some(message) = message {
                        note(message);
                    }
                }
                Confirmation::Nack(message) => {
                    nacked[index] = true;
                    self.rejected.get_or_init(Instant::now);
                    if let Some(message) = message {
                        note(message);
                    }
                }
                Confirmation::NotRequested if failpoints::mutant("mutant.M4") => (),
                Confirmation::NotRequested => return Err(Error::NotConfirming),
            }
        }
        for channel in &self.channels {
            // Nothing is pending any more; this hands over returns that no confirm carried.
            let late = channel.wait_for_confirms().await;
            late.map_err(explained)?.into_iter().for_each(&mut note);
        }
        if failpoints::mutant("mutant.M3") {
            returned.clear();
        }
        let verdict = |(message, nacked): (&Message, bool)| {
            let own = || (message.id.clone(), message.routing_key.clone());
            match (!returned.is_empty() && returned.contains(&own()), nacked) {
                (true, _) => Outcome::Returned(reasons.clone()),
                (false, true) => Outcome::Nacked,
                (false, false) => Outcome::Confirmed,
            }
        };
        Ok(batch.iter().zip(nacked).map(verdict).collect())
    }

    fn channel(&self, lane: u64) -> &Channel {
        let count = self.channels.len() as u64;
        &self.channels[usize::try_from(lane % count).unwrap_or(0)]
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

/// What the errors of one batch come to: a refusal, where one of them says so.
fn explain(errors: Vec<lapin::Error>) -> Option<Error> {
    let explained = errors.into_iter().map(explained);
    // The first of the least, and false is less than true.
    explained.min_by_key(|error| !matches!(error, Error::Refused { .. }))
}

/// Tells a refusal of what was published from everything else that ends a channel.
fn explained(error: lapin::Error) -> Error {
    if let lapin::ErrorKind::ProtocolError(amqp) = error.kind() {
        use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
        let refused = matches!(
            amqp.kind(),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE)
                | AMQPErrorKind::Hard(AMQPHardError::FRAMEERROR | AMQPHardError::SYNTAXERROR)
        );
        if refused {
            return Error::Refused {
                code: amqp.get_id(),
                text: amqp.get_message().as_str().to_owned(),
            };
        }
    }
    Error::lost(error)
}

fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        let value = match value {
            Header::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Header::Number(number) => AMQPValue::LongLongInt(*number),
        };
        headers.insert((*name).into(), value);
    }
    const PERSISTENT: u8 = 2;
    BasicProperties::default()
        .with_message_id(message.id.as_str().into())
        .with_type(message.kind.as_str().into())
        .with_timestamp(message.timestamp)
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_app_id("hookwell".into())
        .with_headers(headers)
}
