//! What an operator does at RabbitMQ beside hookwell: exchanges, queues and bindings, by hand.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

/// hookwell's exchange, unless it is told otherwise.
pub const EXCHANGE: &str = "hookwell.events";
/// hookwell's alternate exchange and the queue behind it, unless it is told otherwise.
pub const UNROUTED: &str = "hookwell.unrouted";

/// An operator at a virtual host.
pub struct Operator {
    channel: Channel,
    _connection: Connection,
}

impl Operator {
    /// Connects.
    pub async fn at(url: &str) -> Self {
        let properties = ConnectionProperties::default().with_connection_name("operator".into());
        let connection = Connection::connect(url, properties).await.unwrap();
        Self {
            channel: connection.create_channel().await.unwrap(),
            _connection: connection,
        }
    }

    /// Declares what hookwell looks for with `topology = "check"`, but its exchange without an alternate
    /// one: what no binding takes comes back. Queues are quorum queues without bindings.
    pub async fn declare_without_alternate(&self, queues: &[&str]) {
        self.exchange(UNROUTED, ExchangeKind::Fanout).await;
        self.exchange(EXCHANGE, ExchangeKind::Topic).await;
        for queue in [&[UNROUTED], queues].concat() {
            self.queue(queue).await;
        }
    }

    async fn exchange(&self, name: &str, kind: ExchangeKind) {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared =
            self.channel
                .exchange_declare(name.into(), kind, options, FieldTable::default());
        declared.await.unwrap();
    }

    /// Declares hookwell's exchange again, without an alternate one.
    pub async fn declare_exchange(&self) {
        self.exchange(EXCHANGE, ExchangeKind::Topic).await;
    }

    async fn queue(&self, name: &str) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        let declared = self.channel.queue_declare(name.into(), options, arguments);
        declared.await.unwrap();
    }

    /// Binds a queue to hookwell's exchange.
    pub async fn bind(&self, queue: &str, pattern: &str) {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = self.channel.queue_bind(
            queue.into(),
            EXCHANGE.into(),
            pattern.into(),
            options,
            arguments,
        );
        bound.await.unwrap();
    }

    /// Takes a binding away again.
    pub async fn unbind(&self, queue: &str, pattern: &str) {
        let arguments = FieldTable::default();
        let unbound =
            self.channel
                .queue_unbind(queue.into(), EXCHANGE.into(), pattern.into(), arguments);
        unbound.await.unwrap();
    }

    /// Deletes hookwell's exchange with all its bindings.
    pub async fn delete_exchange(&self) {
        let options = ExchangeDeleteOptions::default();
        let deleted = self.channel.exchange_delete(EXCHANGE.into(), options);
        deleted.await.unwrap();
    }
}
