//! RabbitMQ for tests: a fresh virtual host each, and a consumer that remembers what came.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ConnectionProperties};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{OwnService, eventually, required};

/// A fresh virtual host on the shared broker.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Its AMQP URL.
    pub url: String,
    /// Its name.
    pub vhost: String,
}

/// Virtual hosts made ahead: a call of rabbitmqctl takes a second, whatever it does.
static SPARE: Mutex<Vec<String>> = Mutex::new(Vec::new());
const AT_ONCE: usize = 8;

/// A virtual host that no other test uses. It stays until the broker is removed.
pub async fn fresh_vhost() -> Broker {
    let url = required("HOOKWELL_TEST_AMQP_URL");
    let control = required("HOOKWELL_TEST_RABBITMQCTL");
    let vhost = tokio::task::spawn_blocking(move || {
        let mut spare = SPARE.lock().unwrap();
        if spare.is_empty() {
            *spare = make_vhosts(&control, AT_ONCE);
        }
        spare.pop().unwrap()
    })
    .await
    .unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    Broker {
        url: format!("{server}/{vhost}"),
        vhost,
    }
}

impl Broker {
    /// The URL of a new user who may do this much: patterns of what it may configure, write and read.
    pub async fn url_of_a_user(&self, permissions: [&str; 3]) -> String {
        let control = required("HOOKWELL_TEST_RABBITMQCTL");
        let user = format!("user-{}", uuid::Uuid::new_v4().simple());
        let patterns = permissions.map(|pattern| format!("<<\"{pattern}\">>"));
        let program = format!(
            "rabbit_auth_backend_internal:add_user(<<\"{user}\">>, <<\"secret\">>, <<\"tests\">>), \
             rabbit_auth_backend_internal:set_permissions(<<\"{user}\">>, <<\"{}\">>, {}, <<\"tests\">>), ok.",
            self.vhost,
            patterns.join(", ")
        );
        tokio::task::spawn_blocking(move || eval(&control, &program))
            .await
            .unwrap();
        let (_, server) = self.url.split_once('@').unwrap();
        format!("amqp://{user}:secret@{server}")
    }
}

/// A virtual host on a broker of the caller's.
pub async fn fresh_vhost_on(server: &OwnService) -> Broker {
    let (url, control) = (server.value("AMQP_URL"), server.value("RABBITMQCTL"));
    let made = tokio::task::spawn_blocking(move || make_vhosts(&control, 1)).await;
    let vhost = made.unwrap().remove(0);
    let (address, _) = url.rsplit_once('/').unwrap();
    Broker {
        url: format!("{address}/{vhost}"),
        vhost,
    }
}

fn make_vhosts(control: &str, count: usize) -> Vec<String> {
    let names: Vec<_> = (0..count)
        .map(|_| format!("hookwell-test-{}", uuid::Uuid::new_v4().simple()))
        .collect();
    let list: Vec<_> = names.iter().map(|name| format!("<<\"{name}\">>")).collect();
    let program = format!(
        "[begin rabbit_vhost:add(V, <<\"tests\">>), \
          rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>) \
          end || V <- [{}]], ok.",
        list.join(",")
    );
    eval(control, &program);
    names
}

/// Runs a program that ends with `ok` in the broker.
fn eval(control: &str, program: &str) {
    let output = Command::new(control)
        .args(["-q", "eval", program])
        .output()
        .unwrap_or_else(|error| panic!("{control}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.trim() == "ok",
        "rabbitmqctl: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A broker of the test's own, to be stopped or killed. `AMQP_URL` is its URL.
pub async fn own_broker() -> OwnService {
    OwnService::start("rabbitmq").await
}

/// Whether a quorum queue of this broker would come back after a kill. RabbitMQ 3.10 writes which quorum
/// queues it has (`names.dets`) about a second after it has confirmed their first messages; one that is not
/// there when it is killed has no leader ever again (tried eight times: killed 0.05 to 0.6 s after its
/// birth never, from 1 s on always).
pub fn quorum_queue_is_on_disk(broker: &OwnService, queue: &str) -> bool {
    let node = broker.value("NODE");
    let folder = broker.dir().join("data").join(&node);
    let names = folder.join("quorum").join(&node).join("names.dets");
    std::fs::read(names).is_ok_and(|names| {
        let mut found = names.windows(queue.len());
        found.any(|window| window == queue.as_bytes())
    })
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The queue it came from.
    pub queue: String,
    /// Its routing key.
    pub routing_key: String,
    /// `message_id`.
    pub message_id: String,
    /// `type`.
    pub kind: String,
    /// Headers that are text or whole numbers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the broker says that it may have come before.
    pub redelivered: bool,
}

/// A consumer that acknowledges and remembers everything, in the order it came.
///
/// It connects again when the broker goes away, and waits for queues that are not there yet.
pub struct Sink {
    taken: Arc<Mutex<Vec<Delivery>>>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Starts to consume from these queues.
    pub async fn open(url: &str, queues: &[&str]) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (url, into) = (url.to_owned(), Arc::clone(&taken));
        let queues: Vec<String> = queues.iter().map(|name| (*name).to_owned()).collect();
        let task = tokio::spawn(async move {
            loop {
                // Whatever ended it: a queue not declared yet, or a broker that is away.
                let _ = consume(&url, &queues, &into).await;
                sleep(Duration::from_millis(100)).await;
            }
        });
        Self { taken, task }
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<Delivery> {
        self.taken.lock().unwrap().clone()
    }

    /// How many different `message_id`s came so far.
    pub fn distinct(&self) -> usize {
        let taken = self.taken.lock().unwrap();
        taken
            .iter()
            .map(|delivery| &delivery.message_id)
            .collect::<HashSet<_>>()
            .len()
    }

    /// Waits until `count` different `message_id`s came, and returns everything so far.
    pub async fn wait_for(&self, count: usize, within: Duration) -> Vec<Delivery> {
        eventually(&format!("{count} different messages"), within, async || {
            (count <= self.distinct()).then(|| self.all())
        })
        .await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long whatever asks the broker something may take: with lapin 4.12 what is asked in the moment a
/// connection dies can stay without an answer.
const ANSWER: Duration = Duration::from_secs(10);

async fn consume(
    url: &str,
    queues: &[String],
    into: &Mutex<Vec<Delivery>>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (_connection, mut arrivals) = timeout(ANSWER, subscribe(url, queues)).await??;
    while let Some((queue, delivery)) = arrivals.next().await {
        let delivery = delivery?;
        let acker = delivery.acker.clone();
        into.lock().unwrap().push(taken(queue, delivery));
        timeout(ANSWER, acker.ack(BasicAckOptions::default())).await??;
    }
    Ok(())
}

type Arrivals = SelectAll<BoxStream<'static, (String, lapin::Result<lapin::message::Delivery>)>>;

async fn subscribe(url: &str, queues: &[String]) -> lapin::Result<(Connection, Arrivals)> {
    let properties = ConnectionProperties::default().with_connection_name("test sink".into());
    let connection = Connection::connect(url, properties).await?;
    let mut arrivals = SelectAll::new();
    for queue in queues {
        let channel = connection.create_channel().await?;
        channel.basic_qos(500, BasicQosOptions::default()).await?;
        let consumer = channel
            .basic_consume(
                queue.as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let queue = queue.clone();
        arrivals.push(
            consumer
                .map(move |delivery| (queue.clone(), delivery))
                .boxed(),
        );
    }
    Ok((connection, arrivals))
}

fn taken(queue: String, delivery: lapin::message::Delivery) -> Delivery {
    let properties = &delivery.properties;
    let text = |value: &Option<ShortString>| {
        value
            .as_ref()
            .map(|text| text.as_str().to_owned())
            .unwrap_or_default()
    };
    let headers = properties
        .headers()
        .iter()
        .flat_map(|table| table.inner())
        .filter_map(|(name, value)| {
            let value = match value {
                AMQPValue::LongString(text) => text.to_string(),
                AMQPValue::ShortString(text) => text.as_str().to_owned(),
                AMQPValue::LongLongInt(number) => number.to_string(),
                AMQPValue::LongInt(number) => number.to_string(),
                _ => return None,
            };
            Some((name.as_str().to_owned(), value))
        })
        .collect();
    Delivery {
        queue,
        routing_key: delivery.routing_key.as_str().to_owned(),
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        headers,
        redelivered: delivery.redelivered,
        body: delivery.data,
    }
}
