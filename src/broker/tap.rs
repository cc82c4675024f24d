//! Watching what arrives, for `hookwell tail`: a private queue on the exchange, or a look into real
//! queues that leaves their messages where they are.

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use super::error::Advice;
use super::{Error, Settings, Topology, connect};

/// Of a look at the exchange.
const PRIVATE: Advice = Advice {
    missing: "start `hookwell serve` once: it declares the exchanges",
    differs: "see `rabbitmqctl list_exchanges`, or look into a queue with --queue",
    forbidden: "the private queue has a name of RabbitMQ's: give the user of broker.url permission to configure, write \
                and read ^amq\\.gen, and to read the exchanges, or look into a queue with --queue",
};

/// Of a look into a queue.
const CONFIGURED: Advice = Advice {
    missing: "see `rabbitmqctl list_queues`, or tail the exchange without --queue",
    differs: "see `rabbitmqctl list_queues`, or tail the exchange without --queue",
    forbidden: "give the user of broker.url permission to read it; a queue in exclusive use is its consumer's alone",
};

/// Where to look.
#[derive(Debug, Clone)]
pub enum Source {
    /// A private queue beside the configured ones: sees what arrives from now on.
    Exchange,
    /// These queues: sees what waits in them and gives it back when the tap is dropped.
    Queues(Vec<String>),
}

/// A message as it arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The queue it came from; the private one has no name to show.
    pub queue: Option<String>,
    /// Its routing key.
    pub routing_key: String,
    /// `message_id`.
    pub id: String,
    /// `type`.
    pub kind: String,
    /// Text headers and numbers, as text.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Arrival {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }
}

/// How many messages a look into a queue holds at most.
const PREFETCH: u16 = 1000;

/// An open look. Dropping it gives every message back.
pub struct Tap {
    arrivals: SelectAll<BoxStream<'static, Result<Arrival, Error>>>,
    _connection: Connection,
}

impl Tap {
    /// Starts to look.
    ///
    /// # Errors
    /// [`Error::Connect`], or [`Error::Topology`] when something does not exist or may not be read.
    pub async fn open(settings: &Settings, source: Source) -> Result<Self, Error> {
        let (connection, _) = connect::connect(settings).await?;
        let mut arrivals = SelectAll::new();
        match source {
            Source::Exchange => {
                let channel = connection.create_channel().await.map_err(Error::lost)?;
                let queue = private_queue(&channel, &settings.topology).await?;
                let options = BasicConsumeOptions {
                    no_ack: true,
                    ..BasicConsumeOptions::default()
                };
                let consumer = channel
                    .basic_consume(
                        queue.as_str().into(),
                        "".into(),
                        options,
                        FieldTable::default(),
                    )
                    .await
                    .map_err(|error| about_private(error, &settings.topology.exchange))?;
                arrivals.push(arrivals_of(consumer, None));
            }
            Source::Queues(queues) => {
                for queue in queues {
                    let channel = connection.create_channel().await.map_err(Error::lost)?;
                    channel
                        .basic_qos(PREFETCH, BasicQosOptions::default())
                        .await
                        .map_err(Error::lost)?;
                    // Never acknowledged: the broker gives the messages back when the channel ends.
                    let consumer = channel
                        .basic_consume(
                            queue.as_str().into(),
                            "".into(),
                            BasicConsumeOptions::default(),
                            FieldTable::default(),
                        )
                        .await
                        .map_err(|error| {
                            Error::about(
                                error,
                                format!("cannot look into queue {queue}"),
                                &CONFIGURED,
                            )
                        })?;
                    arrivals.push(arrivals_of(consumer, Some(queue)));
                }
            }
        }
        Ok(Self {
            arrivals,
            _connection: connection,
        })
    }

    /// The next arrival; `None` when the broker ended the look. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Arrival, Error>> {
        self.arrivals.next().await
    }
}

/// A queue of its own that takes no event away from anybody.
///
/// A binding `#` would: the exchange would count it as a route, and an event that no other queue takes
/// would not go through the alternate exchange any more. So this queue gets what the configured queues
/// get, and beside them what the alternate exchange gets.
async fn private_queue(channel: &Channel, topology: &Topology) -> Result<String, Error> {
    // Passive: to look must not make anything that stays.
    let options = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            topology.exchange.as_str().into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        )
        .await
        .map_err(|error| about_private(error, &topology.exchange))?;
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare("".into(), options, FieldTable::default())
        .await
        .map_err(|error| about_private(error, &topology.exchange))?
        .name()
        .as_str()
        .to_owned();
    let routed = topology.queues.iter().flat_map(|queue| &queue.bind);
    let routed = routed.map(|pattern| (topology.exchange.as_str(), pattern.as_str()));
    for (exchange, pattern) in routed.chain([(topology.unrouted.as_str(), "")]) {
        channel
            .queue_bind(
                queue.as_str().into(),
                exchange.into(),
                pattern.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(|error| about_private(error, exchange))?;
    }
    Ok(queue)
}

fn about_private(error: lapin::Error, exchange: &str) -> Error {
    let what = format!("cannot look at what exchange {exchange} gets");
    Error::about(error, what, &PRIVATE)
}

fn arrivals_of(
    consumer: lapin::Consumer,
    queue: Option<String>,
) -> BoxStream<'static, Result<Arrival, Error>> {
    consumer
        .map(move |delivery| {
            let delivery = delivery.map_err(Error::lost)?;
            let properties = &delivery.properties;
            let headers = properties
                .headers()
                .iter()
                .flat_map(|table| table.inner())
                .filter_map(|(name, value)| {
                    let text = match value {
                        AMQPValue::LongString(text) => text.to_string(),
                        AMQPValue::LongLongInt(number) => number.to_string(),
                        _ => return None,
                    };
                    Some((name.as_str().to_owned(), text))
                });
            let text = |value: Option<&lapin::types::ShortString>| {
                value
                    .map(|text| text.as_str().to_owned())
                    .unwrap_or_default()
            };
            Ok(Arrival {
                queue: queue.clone(),
                routing_key: delivery.routing_key.as_str().to_owned(),
                id: text(properties.message_id().as_ref()),
                kind: text(properties.kind().as_ref()),
                headers: headers.collect(),
                body: delivery.data,
            })
        })
        .boxed()
}
