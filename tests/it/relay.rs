//! The relay and the broker edge against a real RabbitMQ: who gets which verdict, order, topology, TLS,
//! what cannot be published, and `tail`.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use hookwell::broker::{
    Credentials, Error, Header, Message, Outcome, Queue, QueueKind, Session, Settings, Topology,
    TopologyMode,
};
use hookwell::event::{BodyHash, Event, EventKey, Micros, Origin, Tenant};
use hookwell::metrics::Metrics;
use hookwell::relay::Relay;
use hookwell::store::{Access, SqliteStore, Store};
use hookwell::telemetry::Chain;
use lapin::options::{
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::daemon::ALL;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, Network, OwnService, Proxy, Sink, SqliteFile, doctor,
    eventually, fresh_vhost, own_broker, run_cli, store_url,
};

mod connecting;
mod holding;
mod order_and_verdicts;
mod parking;
mod replaying;
mod tailing;
mod topology;

const WITHIN: Duration = Duration::from_secs(60);
const EXCHANGE: &str = "hookwell.events";
const UNROUTED: &str = "hookwell.unrouted";
const TENANT: &str = "Location000000000001";

fn queue(name: &str, bind: &[&str], kind: QueueKind) -> Queue {
    Queue {
        name: name.to_owned(),
        bind: bind.iter().map(|pattern| (*pattern).to_owned()).collect(),
        kind,
        arguments: Vec::new(),
    }
}

fn settings(url: &str, mode: TopologyMode, queues: Vec<Queue>) -> Settings {
    Settings {
        addresses: vec![Credentials::parse(url).unwrap()],
        ca_pem: None,
        topology: Topology {
            mode,
            exchange: EXCHANGE.to_owned(),
            unrouted: UNROUTED.to_owned(),
            queues,
        },
        channels: 4,
        confirm_deadline: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        heartbeat: Duration::from_secs(10),
    }
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name.into(), kind, options, FieldTable::default())
        .await
        .unwrap();
}

async fn declare_queue(channel: &Channel, name: &str, kind: &str, bind: &[&str]) {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    let kind = AMQPValue::LongString(kind.into());
    arguments.insert("x-queue-type".into(), kind);
    channel
        .queue_declare(name.into(), options, arguments)
        .await
        .unwrap();
    for pattern in bind {
        bind_queue(channel, name, pattern).await;
    }
}

async fn bind_queue(channel: &Channel, name: &str, pattern: &str) {
    channel
        .queue_bind(
            name.into(),
            EXCHANGE.into(),
            pattern.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
}

/// What an operator made by hand: everything but the alternate exchange.
async fn declare_without_alternate(channel: &Channel, queue: &str, bind: &[&str]) {
    declare_exchange(channel, EXCHANGE, ExchangeKind::Topic).await;
    declare_exchange(channel, UNROUTED, ExchangeKind::Fanout).await;
    declare_queue(channel, UNROUTED, "quorum", &[]).await;
    declare_queue(channel, queue, "quorum", bind).await;
}

async fn waiting_in(channel: &Channel, name: &str) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(name.into(), options, FieldTable::default())
        .await
        .unwrap();
    queue.message_count()
}

fn message(id: String, routing_key: String, lane: u64) -> Message {
    Message {
        body: bytes::Bytes::from(id.clone()),
        id,
        kind: "ContactCreate".to_owned(),
        timestamp: 0,
        lane,
        routing_key,
        headers: vec![("hookwell-position", Header::Number(1))],
    }
}

/// The dead letters, as the command line tells them.
fn dead_letters(config: &DaemonConfig) -> Vec<Value> {
    lines_of(&ok(run_cli(&["dead-letters", "list", "--json"], config)))
}

fn ok(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn lines_of(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn ledger_is(daemon: &Daemon, published: usize, parked: usize) {
    eventually("the ledger balances", WITHIN, async || {
        let text = daemon.metrics().await;
        [
            ("hookwell_ledger_events{state=\"published\"}", published),
            ("hookwell_ledger_events{state=\"parked\"}", parked),
            (
                "hookwell_ledger_events{state=\"accepted\"}",
                published + parked,
            ),
            ("hookwell_ledger_events{state=\"pending\"}", 0),
            ("hookwell_ledger_mismatch_events", 0),
        ]
        .iter()
        .all(|(name, value)| text.lines().any(|line| line == format!("{name} {value}")))
        .then_some(())
    })
    .await;
}

async fn refused(settings: &Settings) -> Error {
    match Session::open(settings).await {
        Ok(_) => panic!("a session was opened"),
        Err(error) => error,
    }
}
