//! Confirms and what the broker says, lost, late and made up, through lapin.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use lapin::{Confirmation, PublisherConfirm};
use tokio::time::timeout;

use super::{NOTHING, WITHIN, port_of};
use crate::harness::{Amqp, Record, Recorder, What, eventually, fresh_vhost};

const QUEUE: &str = "proxied";

/// Where records go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A virtual host with a queue, and a proxy in front of its broker.
struct Bench {
    proxy: Amqp,
    /// The virtual host through the proxy.
    url: String,
    lines: Lines,
    /// A channel that does not pass through it.
    direct: Channel,
    _connection: Connection,
}

async fn connect(url: &str) -> lapin::Result<Connection> {
    let connecting = Connection::connect(url, ConnectionProperties::default());
    timeout(WITHIN, connecting).await.expect("in time")
}

impl Bench {
    async fn new() -> Self {
        let broker = fresh_vhost().await;
        let lines = Lines::default();
        let recorder = Recorder::new(Instant::now(), lines.clone());
        let proxy = Amqp::in_front_of(port_of(&broker.url), recorder).await;
        let connection = connect(&broker.url).await.unwrap();
        let direct = connection.create_channel().await.unwrap();
        direct
            .queue_declare(
                QUEUE.into(),
                QueueDeclareOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        Self {
            url: proxy.line.url(&broker.url, port_of(&broker.url)),
            proxy,
            lines,
            direct,
            _connection: connection,
        }
    }

    async fn publisher(&self) -> Publisher {
        let connection = connect(&self.url).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        Publisher {
            connection,
            channel,
        }
    }

    fn records(&self) -> Vec<Record> {
        self.proxy.flush();
        let lines = self.lines.0.lock().unwrap().clone();
        let text = String::from_utf8(lines).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn of(&self, what: What) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|record| record.what == what);
        records
    }

    async fn wait_for(&self, what: What, count: usize) -> Vec<Record> {
        eventually(
            &format!("{count} records of {what:?}"),
            WITHIN,
            async || Some(self.of(what)).filter(|found| count <= found.len()),
        )
        .await
    }

    /// The body of the next message in the queue.
    async fn arrived(&self) -> Option<Vec<u8>> {
        let got = self
            .direct
            .basic_get(QUEUE.into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap();
        got.map(|message| message.delivery.data)
    }

    async fn arrives(&self, body: &[u8]) {
        let found = eventually("a message", WITHIN, async || self.arrived().await).await;
        assert_eq!(found, body);
    }
}

struct Publisher {
    connection: Connection,
    channel: Channel,
}

impl Publisher {
    async fn publish(&self, key: &str, id: &str, body: &[u8]) -> lapin::Result<PublisherConfirm> {
        let mut headers = FieldTable::default();
        headers.insert("position".into(), AMQPValue::LongLongInt(7));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_headers(headers)
            .with_delivery_mode(2)
            .with_message_id(id.into());
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let publishing =
            self.channel
                .basic_publish("".into(), key.into(), options, body, properties);
        timeout(WITHIN, publishing).await.expect("in time")
    }

    async fn confirmed(&self, id: &str) -> lapin::Result<Confirmation> {
        let confirm = self.publish(QUEUE, id, id.as_bytes()).await?;
        timeout(WITHIN, confirm)
            .await
            .expect("a confirm or an error")
    }

    /// A round trip on the channel.
    async fn asks(&self) {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .channel
            .queue_declare(QUEUE.into(), options, FieldTable::default());
        timeout(WITHIN, declared).await.expect("in time").unwrap();
    }
}

fn is_open(confirm: &Result<lapin::Result<Confirmation>, tokio::time::error::Elapsed>) -> bool {
    confirm.is_err()
}

#[tokio::test]
async fn connections_of_all_lines_are_numbered_together() {
    let bench = Bench::new().await;
    let broker = fresh_vhost().await;
    let beside = bench.proxy.beside(port_of(&broker.url)).await;
    let url = beside.url(&broker.url, port_of(&broker.url));
    let mut standing = Vec::new();
    for url in [&bench.url, &url, &bench.url, &url] {
        standing.push(connect(url).await.unwrap());
    }
    let opened = bench.wait_for(What::Open, 4).await;
    let numbers: Vec<_> = opened.iter().map(|record| record.conn).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[tokio::test]
async fn messages_confirms_and_returns_are_recorded() {
    let bench = Bench::new().await;
    let publisher = bench.publisher().await;
    for id in ["one", "two"] {
        assert!(publisher.confirmed(id).await.unwrap().is_ack());
    }
    // Longer than a frame.
    let long = vec![b'x'; 300_000];
    let confirm = publisher.publish(QUEUE, "long", &long).await.unwrap();
    assert!(confirm.await.unwrap().is_ack());
    let confirm = publisher.publish("nowhere", "lost", b"").await.unwrap();
    assert!(confirm.await.unwrap().take_message().is_some());
    publisher.connection.close(200, "bye".into()).await.unwrap();
    bench.wait_for(What::Close, 1).await;

    let records = bench.records();
    assert!(records.is_sorted_by_key(|record| record.t));
    assert!(records.iter().all(|record| record.conn == 1));
    let order: Vec<_> = records.iter().map(|record| record.what).collect();
    use What::{Ack, ChannelOpen, Close, ConnectionClose, Open, Publish, Return};
    assert_eq!(
        order,
        [
            Open,
            ChannelOpen,
            Publish,
            Ack,
            Publish,
            Ack,
            Publish,
            Ack,
            Publish,
            Return,
            Ack,
            ConnectionClose,
            Close
        ]
    );
    let published: Vec<_> = bench
        .of(Publish)
        .into_iter()
        .map(|record| {
            assert_eq!(record.forwarded, Some(true));
            (
                record.tag.unwrap(),
                record.id.unwrap(),
                record.routing_key.unwrap(),
            )
        })
        .collect();
    let expected = [
        (1, "one", QUEUE),
        (2, "two", QUEUE),
        (3, "long", QUEUE),
        (4, "lost", "nowhere"),
    ];
    assert_eq!(
        published,
        expected.map(|(tag, id, key)| (tag, id.to_owned(), key.to_owned()))
    );
    let acked: Vec<_> = bench.of(Ack).iter().map(|record| record.tag).collect();
    assert_eq!(acked, [Some(1), Some(2), Some(3), Some(4)]);
    let returned = &bench.of(Return)[0];
    assert_eq!(returned.id.as_deref(), Some("lost"));
    assert_eq!(returned.code, Some(312));
    let closed = &bench.of(ConnectionClose)[0];
    assert_eq!((closed.code, closed.injected), (Some(200), false));
}

#[tokio::test]
async fn a_confirm_that_is_dropped_never_comes_though_the_message_did() {
    let bench = Bench::new().await;
    let publisher = bench.publisher().await;
    bench.proxy.drop_acks(1);
    let mut confirm = publisher.publish(QUEUE, "one", b"one").await.unwrap();
    bench.arrives(b"one").await;
    let acks = bench.wait_for(What::Ack, 1).await;
    assert_eq!((acks[0].tag, acks[0].forwarded), (Some(1), Some(false)));
    assert_eq!(bench.proxy.acks_to_drop(), 0);
    assert!(publisher.confirmed("two").await.unwrap().is_ack());
    assert!(is_open(&timeout(NOTHING, &mut confirm).await));

    bench.proxy.drop_all_acks();
    let mut more = Vec::new();
    for id in ["three", "four"] {
        more.push(publisher.publish(QUEUE, id, b"").await.unwrap());
    }
    eventually("all is confirmed by the broker", WITHIN, async || {
        bench
            .of(What::Ack)
            .iter()
            .any(|ack| ack.tag == Some(4))
            .then_some(())
    })
    .await;
    for confirm in &mut more {
        assert!(is_open(&timeout(NOTHING, confirm).await));
    }
    bench.proxy.drop_acks(0);
    assert!(publisher.confirmed("five").await.unwrap().is_ack());
}

#[tokio::test]
async fn confirms_can_be_late_while_everything_else_is_in_time() {
    let bench = Bench::new().await;
    let publisher = bench.publisher().await;
    let delay = Duration::from_secs(2);
    bench.proxy.delay_acks(Some(delay));
    let began = Instant::now();
    let first = publisher.publish(QUEUE, "one", b"one").await.unwrap();
    bench.arrives(b"one").await;
    let channel = publisher.connection.create_channel().await.unwrap();
    assert!(began.elapsed() < delay, "the other channel waited too");
    // The broker confirms before it answers what follows on the same channel.
    publisher.asks().await;
    // What comes after the delay has gone still stands behind what is held back.
    bench.proxy.delay_acks(None);
    assert!(publisher.confirmed("two").await.unwrap().is_ack());
    assert!(delay <= began.elapsed());
    assert!(first.await.unwrap().is_ack());
    let tags: Vec<_> = bench.of(What::Ack).iter().map(|ack| ack.tag).collect();
    assert_eq!(tags, [Some(1), Some(2)]);

    // A confirm that the connection does not live to see was not forwarded.
    bench.proxy.delay_acks(Some(Duration::from_secs(600)));
    let _never = publisher.publish(QUEUE, "three", b"").await.unwrap();
    bench.arrives(b"two").await;
    bench.arrives(b"").await;
    publisher.asks().await;
    bench.proxy.line.cut();
    bench.wait_for(What::Close, 1).await;
    let last = bench.of(What::Ack).pop().unwrap();
    assert_eq!((last.tag, last.forwarded), (Some(3), Some(false)));
    drop(channel);
}

#[tokio::test]
async fn a_client_can_be_told_that_the_broker_is_blocked() {
    let bench = Bench::new().await;
    let publisher = bench.publisher().await;
    assert!(!publisher.connection.status().blocked());
    bench.proxy.block("low on everything");
    let becomes = async |connection: &Connection, blocked: bool| {
        eventually(&format!("blocked: {blocked}"), WITHIN, async || {
            (connection.status().blocked() == blocked).then_some(())
        })
        .await;
    };
    becomes(&publisher.connection, true).await;
    let later = connect(&bench.url).await.unwrap();
    becomes(&later, true).await;
    let told = bench.of(What::Blocked);
    assert_eq!(told.len(), 2);
    assert!(told[0].injected);
    assert_eq!(told[0].text.as_deref(), Some("low on everything"));
    bench.proxy.unblock();
    becomes(&publisher.connection, false).await;
    becomes(&later, false).await;
    assert!(publisher.confirmed("one").await.unwrap().is_ack());
}

#[tokio::test]
async fn a_client_can_be_thrown_out_by_the_protocol() {
    let bench = Bench::new().await;
    let publisher = bench.publisher().await;
    // It has not heard of this one yet when it is thrown out.
    bench.proxy.drop_acks(1);
    let confirm = publisher.publish(QUEUE, "one", b"one").await.unwrap();
    bench.wait_for(What::Ack, 1).await;
    bench.proxy.force_close();
    let outcome = timeout(WITHIN, confirm).await.expect("an end");
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("CONNECTION_FORCED"), "{error}");
    assert!(publisher.confirmed("two").await.is_err());
    bench.wait_for(What::Close, 1).await;
    let close = &bench.of(What::ConnectionClose)[0];
    assert_eq!((close.code, close.injected), (Some(320), true));
    eventually("its connection is gone", WITHIN, async || {
        (bench.proxy.line.connections() == 0).then_some(())
    })
    .await;
    let again = bench.publisher().await;
    assert!(again.confirmed("three").await.unwrap().is_ack());
}

#[tokio::test]
async fn a_connection_can_be_cut_in_the_midst_of_a_body() {
    let bench = Bench::new().await;
    let body = b"the body of a message";
    // Within the front of the frame, within the payload, before and behind the end of the frame.
    for bytes in [0, 3, 7, 8, 20, 28, 29] {
        let publisher = bench.publisher().await;
        bench.proxy.cut_body_after(bytes);
        let confirm = publisher.publish(QUEUE, &bytes.to_string(), body).await;
        let outcome = match confirm {
            Ok(confirm) => timeout(WITHIN, confirm).await.expect("an end"),
            Err(error) => Err(error),
        };
        assert!(outcome.is_err(), "{bytes}: {outcome:?}");
        assert!(!bench.proxy.cut_is_due());
        let whole = bytes as usize == body.len() + 8;
        let record = bench.of(What::Publish).pop().unwrap();
        assert_eq!(record.id, Some(bytes.to_string()));
        assert_eq!(record.forwarded, Some(whole));
        if whole {
            bench.arrives(body).await;
        }
    }
    let publisher = bench.publisher().await;
    assert!(publisher.confirmed("whole").await.unwrap().is_ack());
    bench.arrives(b"whole").await;
    assert_eq!(bench.arrived().await, None);
}
