//! The exchange, the alternate exchange, the queues and the bindings: declared, or only checked.

use lapin::options::{
    BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ErrorKind, ExchangeKind};
use tokio::time::sleep;

use super::error::Advice;
use super::{BLOCKED_CHECK, Error};

const MISSING: &str = "create it, or set broker.topology = \"declare\" so that hookwell does";
const FORBIDDEN: &str = "give the user of broker.url permission to configure, write and read it, or declare it yourself \
     and set broker.topology = \"check\"";

const EXCHANGE: Advice = Advice {
    missing: MISSING,
    differs: "it exists with other settings: name another one in broker.exchange or broker.unrouted, or set \
              broker.topology = \"check\" to take it as it is; hookwell never deletes one",
    forbidden: FORBIDDEN,
};

const QUEUE: Advice = Advice {
    missing: MISSING,
    differs: "it exists with other settings: make [[broker.queues]] say what it is and set the rest by a policy \
              (deploy/CONSUMERS.md, \"A queue worth declaring\"), or set broker.topology = \"check\" to take it as it \
              is; hookwell never deletes one",
    forbidden: FORBIDDEN,
};

const PUBLISH: Advice = Advice {
    forbidden: "give the user of broker.url permission to write it (`rabbitmqctl set_permissions`), and every topic where \
                there are topic permissions",
    ..EXCHANGE
};

/// Of the queue for what no binding takes, which no section of the file describes.
const UNROUTED: Advice = Advice {
    differs: "it exists with other settings than those of a quorum queue without arguments: name another one in \
              broker.unrouted and set arguments by a policy, or set broker.topology = \"check\" to take it as it is; \
              hookwell never deletes one",
    ..QUEUE
};

/// What to do about objects that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologyMode {
    /// Make them.
    Declare,
    /// Only see that the exchanges and queues exist (AMQP has no way to see bindings).
    Check,
}

/// How a queue keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// Replicated, and on disk before it confirms.
    Quorum,
    /// Does not promise to be on disk before it confirms.
    Classic,
    /// An append-only stream.
    Stream,
}

impl QueueKind {
    /// The value of `x-queue-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
            Self::Stream => "stream",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Quorum, Self::Classic, Self::Stream]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// A queue argument's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// A flag.
    Flag(bool),
}

/// A queue and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name, at most 255 bytes.
    pub name: String,
    /// Binding patterns on the exchange.
    pub bind: Vec<String>,
    /// How it keeps messages.
    pub kind: QueueKind,
    /// More `x-` arguments.
    pub arguments: Vec<(String, Argument)>,
}

/// Everything hookwell wants to find at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Declare or check.
    pub mode: TopologyMode,
    /// The topic exchange.
    pub exchange: String,
    /// Name of the alternate exchange and its queue, for what no binding takes.
    pub unrouted: String,
    /// Queues with their bindings.
    pub queues: Vec<Queue>,
}

/// An exchange or a queue as it is declared.
enum Object<'a> {
    Exchange {
        name: &'a str,
        kind: ExchangeKind,
        /// What takes the messages that no binding does.
        alternate: Option<&'a str>,
    },
    Queue(Queue, &'static Advice),
}

/// How an object is declared on a channel of its own: once, or twice.
#[derive(Clone, Copy)]
enum Passes {
    /// Asked for, whatever its settings are.
    Passive,
    /// Made, or found to be the same.
    Active,
    /// Found to be the same, if it is there at all.
    PassiveThenActive,
}

/// Declares or checks. Every object gets a channel of its own, since an error closes the channel.
pub(super) async fn establish(connection: &Connection, topology: &Topology) -> Result<(), Error> {
    let passes = match topology.mode {
        TopologyMode::Declare => Passes::Active,
        TopologyMode::Check => Passes::Passive,
    };
    for object in objects(topology) {
        object.declare(connection, passes).await?;
        if topology.mode == TopologyMode::Check {
            continue;
        }
        let Object::Queue(queue, _) = object else {
            continue;
        };
        if queue.name == topology.unrouted {
            bind(connection, &topology.unrouted, &queue.name, "").await?;
        }
        for pattern in &queue.bind {
            bind(connection, &topology.exchange, &queue.name, pattern).await?;
        }
    }
    Ok(())
}

/// Everything that is not as the configuration says, without making anything. Of what is there, the
/// settings are compared where hookwell declares: RabbitMQ does that when it is declared again. Whether anything
/// may be published is looked at last: where RabbitMQ takes nothing (an alarm) it answers nothing after that, and the
/// connection's status says so.
pub(super) async fn differences(
    connection: &Connection,
    topology: &Topology,
) -> Result<Vec<Error>, Error> {
    let passes = match topology.mode {
        TopologyMode::Declare => Passes::PassiveThenActive,
        TopologyMode::Check => Passes::Passive,
    };
    let mut found = Vec::new();
    let mut is_there = false;
    for object in objects(topology) {
        let looked = object.declare(connection, passes).await;
        if let (Ok(()), Object::Exchange { name, .. }) = (&looked, &object) {
            is_there |= *name == topology.exchange;
        }
        found.extend(fault(looked)?);
    }
    if is_there {
        let looked = tokio::select! {
            looked = may_publish(connection, &topology.exchange) => looked,
            () = blocked(connection) => Ok(()),
        };
        found.extend(fault(looked)?);
    }
    Ok(found)
}

/// What is not as it should be, apart from what ends the look.
fn fault(looked: Result<(), Error>) -> Result<Option<Error>, Error> {
    match looked {
        Ok(()) => Ok(None),
        Err(error @ Error::Topology { .. }) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Until RabbitMQ has said that it takes nothing on a connection.
async fn blocked(connection: &Connection) {
    while !connection.status().blocked() {
        sleep(BLOCKED_CHECK).await;
    }
}

/// Whether the user may publish to the exchange. RabbitMQ looks at the permission when it takes a message, and in a
/// transaction that is rolled back nobody ever gets it.
async fn may_publish(connection: &Connection, name: &str) -> Result<(), Error> {
    const TRIES: usize = 10;
    let mut tried = publish_nothing(connection, name).await;
    for _ in 1..TRIES {
        // The channel was closed between publishing and asking for an answer: why, nobody is told then.
        let Err(error) = &tried else { break };
        if !matches!(error.kind(), ErrorKind::InvalidChannelState(..)) {
            break;
        }
        tried = publish_nothing(connection, name).await;
    }
    tried.map_err(|error| Error::about(error, format!("publishing to exchange {name}"), &PUBLISH))
}

async fn publish_nothing(connection: &Connection, name: &str) -> Result<(), lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.tx_select().await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel
        .basic_publish(name.into(), "doctor".into(), options, &[], properties)
        .await?;
    channel.tx_rollback().await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

/// In the order in which they need each other.
fn objects(topology: &Topology) -> Vec<Object<'_>> {
    let unrouted = Queue {
        name: topology.unrouted.clone(),
        bind: Vec::new(),
        kind: QueueKind::Quorum,
        arguments: Vec::new(),
    };
    let mut objects = vec![
        Object::Exchange {
            name: &topology.unrouted,
            kind: ExchangeKind::Fanout,
            alternate: None,
        },
        Object::Queue(unrouted, &UNROUTED),
        Object::Exchange {
            name: &topology.exchange,
            kind: ExchangeKind::Topic,
            alternate: Some(&topology.unrouted),
        },
    ];
    let queues = topology.queues.iter().cloned();
    objects.extend(queues.map(|queue| Object::Queue(queue, &QUEUE)));
    objects
}

impl Object<'_> {
    async fn declare(&self, connection: &Connection, passes: Passes) -> Result<(), Error> {
        let channel = connection.create_channel().await.map_err(Error::lost)?;
        let passive: &[bool] = match passes {
            Passes::Passive => &[true],
            Passes::Active => &[false],
            Passes::PassiveThenActive => &[true, false],
        };
        for passive in passive {
            match self {
                Self::Exchange {
                    name,
                    kind,
                    alternate,
                } => exchange(&channel, *passive, name, kind.clone(), *alternate).await?,
                Self::Queue(wanted, advice) => queue(&channel, *passive, wanted, advice).await?,
            }
        }
        let _ = channel.close(200, "done".into()).await;
        Ok(())
    }
}

async fn exchange(
    channel: &Channel,
    passive: bool,
    name: &str,
    kind: ExchangeKind,
    alternate: Option<&str>,
) -> Result<(), Error> {
    let mut arguments = FieldTable::default();
    if let Some(alternate) = alternate {
        arguments.insert(
            "alternate-exchange".into(),
            AMQPValue::LongString(alternate.into()),
        );
    }
    let options = ExchangeDeclareOptions {
        durable: true,
        passive,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name.into(), kind, options, arguments)
        .await
        .map_err(|error| Error::about(error, format!("exchange {name}"), &EXCHANGE))
}

async fn queue(
    channel: &Channel,
    passive: bool,
    wanted: &Queue,
    advice: &Advice,
) -> Result<(), Error> {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString(wanted.kind.as_str().into()),
    );
    for (name, value) in &wanted.arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
            Argument::Flag(flag) => AMQPValue::Boolean(*flag),
        };
        arguments.insert(name.as_str().into(), value);
    }
    let options = QueueDeclareOptions {
        durable: true,
        passive,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(wanted.name.as_str().into(), options, arguments);
    declared
        .await
        .map(|_| ())
        .map_err(|error| Error::about(error, format!("queue {}", wanted.name), advice))
}

async fn bind(
    connection: &Connection,
    exchange: &str,
    queue: &str,
    pattern: &str,
) -> Result<(), Error> {
    let channel = connection.create_channel().await.map_err(Error::lost)?;
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            pattern.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(|error| Error::about(error, format!("binding of queue {queue}"), &QUEUE))?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}
