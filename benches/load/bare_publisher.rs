//! The yardstick of the way out: a publisher on plain lapin that only publishes and takes confirms.
//!
//! It sends what the relay would send (bodies, ids, headers, routing keys, persistent, mandatory), over
//! as many channels, into exchange and queues that the daemon's own declarations made. There is no log
//! and no cursor, nothing is judged and no order is kept between confirms: a confirm that comes makes
//! room for the next message at once.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hookwell::broker::{Header, Message, Session};
use hookwell::clock;
use hookwell::config::Config;
use hookwell::event::{Position, Recorded};
use hookwell::relay::message;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::time::Instant;

use crate::events::event;
use crate::machine::{Watch, Watched};

/// Messages made in advance, sent in turn. The broker does not look at ids.
const DIFFERENT: u64 = 20_000;

const PERSISTENT: u8 = 2;

pub struct Load {
    pub url: String,
    pub seconds: f64,
    pub outstanding: usize,
}

/// A message with its properties, ready to be handed over.
struct Prepared {
    message: Message,
    properties: BasicProperties,
}

pub async fn run(config: &Config, load: Load, watched: &[Watched]) -> Result<()> {
    let (_, app) = crate::target(config)?;
    let settings = &config.relay.broker;
    Session::open(settings).await?.close().await;

    let connection = Connection::connect(&load.url, ConnectionProperties::default())
        .await
        .context("cannot connect to RabbitMQ")?;
    let mut channels = Vec::new();
    for _ in 0..settings.channels {
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        channels.push(channel);
    }
    let clock = clock::system();
    let messages: Vec<Prepared> = (0..DIFFERENT)
        .map(|n| {
            let message = message(
                &Recorded {
                    position: Position(n as i64 + 1),
                    event: event(&app.id, n, &clock),
                },
                0,
            );
            let properties = properties(&message);
            Prepared {
                message,
                properties,
            }
        })
        .collect();

    let watch = Watch::start(watched);
    let started = Instant::now();
    let ends = started + Duration::from_secs_f64(load.seconds);
    let exchange = settings.topology.exchange.as_str();
    let mut waiting = FuturesUnordered::new();
    let mut confirmed = 0_u64;
    for prepared in messages.iter().cycle() {
        if ends <= Instant::now() {
            break;
        }
        if waiting.len() == load.outstanding {
            let answer = waiting.next().await.expect("something is outstanding");
            confirmed += taken(answer)?;
        }
        let mut publish = Box::pin(publish(&channels, exchange, prepared));
        // The first poll queues the frames; only then is the order that of this loop.
        let first = poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
        match first {
            Poll::Ready(answer) => confirmed += taken(answer)?,
            Poll::Pending => waiting.push(publish),
        }
    }
    while let Some(answer) = waiting.next().await {
        confirmed += taken(answer)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("confirmed={confirmed}");
    println!("confirmed_seconds={seconds:.3}");
    println!("confirmed_rate={:.0}", confirmed as f64 / seconds);
    watch.print(confirmed);
    let _ = connection.close(200, "bye".into()).await;
    Ok(())
}

async fn publish(
    channels: &[Channel],
    exchange: &str,
    prepared: &Prepared,
) -> lapin::Result<Confirmation> {
    let message = &prepared.message;
    let lane = message.lane % channels.len() as u64;
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let confirm = channels[lane as usize].basic_publish(
        exchange.into(),
        message.routing_key.as_str().into(),
        options,
        &message.body,
        prepared.properties.clone(),
    );
    confirm.await?.await
}

/// One message that the broker has. Returned ones count as a defect of the bench: queues take all.
fn taken(answer: lapin::Result<Confirmation>) -> Result<u64> {
    let answer = answer.context("the connection to RabbitMQ broke")?;
    ensure!(
        matches!(answer, Confirmation::Ack(None)),
        "RabbitMQ did not take a message: {answer:?}"
    );
    Ok(1)
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
    BasicProperties::default()
        .with_message_id(message.id.as_str().into())
        .with_type(message.kind.as_str().into())
        .with_timestamp(message.timestamp)
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_app_id("hookwell".into())
        .with_headers(headers)
}
