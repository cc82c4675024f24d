//! Publishing a batch and finding out what became of each message.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::future::{BoxFuture, Either, join_all};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::time::{Instant, sleep};

use super::{BLOCKED_CHECK, Error, Header, Message, Outcome, Session};
use crate::failpoints;

/// A message that is handed over: written, or still to be.
type Sent<'a> = Either<Written, BoxFuture<'a, Written>>;
type Written = Result<PublisherConfirm, lapin::Error>;

impl Session {
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
        let sent = self.send(batch).await;
        failpoints::crash_soon("relay.published");
        let confirmations = collect(sent, answers).await?;
        let mut returns = Returns::default();
        let mut nacked = Vec::with_capacity(batch.len());
        for confirmation in confirmations {
            let (is_nack, returned) = match confirmation {
                Confirmation::Ack(returned) => (false, returned),
                Confirmation::Nack(returned) => (true, returned),
                Confirmation::NotRequested if failpoints::mutant("mutant.M4") => {
                    nacked.push(false);
                    continue;
                }
                Confirmation::NotRequested => return Err(Error::NotConfirming),
            };
            match is_nack {
                false => self.confirmed.store(true, Ordering::Relaxed),
                true => drop(self.rejected.get_or_init(Instant::now)),
            }
            nacked.push(is_nack);
            returned
                .into_iter()
                .for_each(|message| returns.note(&message));
        }
        for channel in &self.channels {
            // Nothing is pending any more; this hands over returns that no confirm carried.
            let late = channel.wait_for_confirms().await.map_err(explained)?;
            late.iter().for_each(|message| returns.note(message));
        }
        if failpoints::mutant("mutant.M3") {
            returns = Returns::default();
        }
        Ok(returns.attribute(batch, &nacked))
    }

    /// Hands the batch over, in order.
    async fn send<'a>(&'a self, batch: &'a [Message]) -> Vec<Sent<'a>> {
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
            let mut publish: BoxFuture<'a, _> = Box::pin(publish);
            // The first poll puts the frames into the channel's queue, so this loop is the order on the
            // wire; what is left to wait for is the socket.
            let first = poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
            sent.push(match first {
                Poll::Ready(written) => Either::Left(written),
                Poll::Pending => Either::Right(publish),
            });
        }
        sent
    }

    fn channel(&self, lane: u64) -> &Channel {
        let count = self.channels.len() as u64;
        &self.channels[usize::try_from(lane % count).unwrap_or(0)]
    }
}

/// Waits until everything is written and answered. Each message written and each positive confirm is progress.
async fn collect(sent: Vec<Sent<'_>>, answers: &AtomicUsize) -> Result<Vec<Confirmation>, Error> {
    let progress = || answers.fetch_add(1, Ordering::Relaxed);
    let mut confirmations = Vec::with_capacity(sent.len());
    let mut confirms = Vec::with_capacity(sent.len());
    // Of a channel that RabbitMQ closes, what is handed over last hears only that it is closing; why is in the answers
    // to what is on its way.
    let mut errors = Vec::new();
    for publish in sent {
        let written = match publish {
            Either::Left(written) => written,
            Either::Right(publish) => publish.await,
        };
        progress();
        let confirm = match written {
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
    for confirm in join_all(confirms).await {
        match confirm {
            Ok(confirmation) => confirmations.push(confirmation),
            Err(error) => errors.push(error),
        }
    }
    match explain(errors) {
        None => Ok(confirmations),
        Some(error) => Err(error),
    }
}

/// What came back of a batch.
///
/// lapin can hand a returned message to the wrong confirm when publishes are pipelined, so a return is
/// attributed by the id that the returned message itself carries, after every confirm of the batch is in.
/// That a confirm was positive says nothing before that. Two apps may use one id; whether there is a queue
/// depends on the routing key alone.
#[derive(Default)]
struct Returns {
    /// By id and routing key.
    messages: HashSet<(String, String)>,
    reason: String,
}

impl Returns {
    fn note(&mut self, message: &BasicReturnMessage) {
        if let Some(id) = message.delivery.properties.message_id() {
            let key = message.delivery.routing_key.as_str().to_owned();
            self.messages.insert((id.as_str().to_owned(), key));
        }
        self.reason = format!("{} {}", message.reply_code, message.reply_text);
    }

    /// What became of each message, where these were not taken.
    fn attribute(&self, batch: &[Message], nacked: &[bool]) -> Vec<Outcome> {
        let verdict = |(message, nacked): (&Message, &bool)| {
            let own = || (message.id.clone(), message.routing_key.clone());
            match (
                !self.messages.is_empty() && self.messages.contains(&own()),
                nacked,
            ) {
                (true, _) => Outcome::Returned(self.reason.clone()),
                (false, true) => Outcome::Nacked,
                (false, false) => Outcome::Confirmed,
            }
        };
        batch.iter().zip(nacked).map(verdict).collect()
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
