//! A window of the relay: published through a session into a quorum queue, until the last confirm.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use hookwell::broker::{
    Credentials, Message, Outcome, Queue, QueueKind, Session, Settings, Topology, TopologyMode,
};
use hookwell::clock;
use hookwell::event::{Position, Recorded};
use hookwell::relay::message;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};

use crate::events::event;
use crate::{APP_ID, runtime, server};

const WINDOWS: [u64; 3] = [1, 100, 1000];

pub fn all(c: &mut Criterion) {
    let Some(url) = server("HOOKWELL_BENCH_AMQP_URL", "publishing a window") else {
        return;
    };
    let runtime = runtime();
    let names = [1, 2].map(|n| format!("hookwell.bench.{}.{n}", std::process::id()));
    let [exchange, unrouted] = names.clone();
    let queue = Queue {
        name: exchange.clone(),
        bind: vec!["#".to_owned()],
        kind: QueueKind::Quorum,
        arguments: Vec::new(),
    };
    let settings = Settings {
        addresses: vec![Credentials::parse(&url).expect("an AMQP URL")],
        ca_pem: None,
        topology: Topology {
            mode: TopologyMode::Declare,
            exchange,
            unrouted,
            queues: vec![queue],
        },
        channels: 4,
        confirm_deadline: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(10),
        heartbeat: Duration::from_secs(10),
    };
    let session = runtime
        .block_on(Session::open(&settings))
        .expect("RabbitMQ answers");
    let clock = clock::system();
    let messages: Vec<Message> = (0..1000)
        .map(|n| {
            message(
                &Recorded {
                    position: Position(n as i64 + 1),
                    event: event(APP_ID, n, &clock),
                },
                0,
            )
        })
        .collect();
    let mut group = c.benchmark_group("publish window");
    for size in WINDOWS {
        let window = &messages[..size as usize];
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.to_async(&runtime).iter(|| async {
                let outcomes = session.publish(window).await.expect("every confirm comes");
                assert!(
                    outcomes
                        .iter()
                        .all(|outcome| *outcome == Outcome::Confirmed)
                );
            });
        });
    }
    group.finish();
    runtime.block_on(async {
        session.close().await;
        remove(&url, &names)
            .await
            .expect("what was declared goes again");
    });
}

async fn remove(url: &str, names: &[String]) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for name in names {
        let name = name.as_str();
        channel
            .queue_delete(name.into(), QueueDeleteOptions::default())
            .await?;
        channel
            .exchange_delete(name.into(), ExchangeDeleteOptions::default())
            .await?;
    }
    connection.close(200, "bye".into()).await
}
