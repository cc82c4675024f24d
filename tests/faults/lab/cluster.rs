//! A broker that is a cluster: three nodes of RabbitMQ on loopback, each behind a line of its own. Their
//! connections to each other come from an address for each, so that packets between two of them can be lost
//! without a namespace.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::packets::{LostPackets, Node};
use super::run::{Broker, Run, WITHIN};
use super::servers::{Rabbit, port};
use crate::harness::{Network, OwnService, Proxy, eventually};
use crate::records::Clock;

const FROM: [&str; 3] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];

/// After so many seconds nodes say that another one is gone which says nothing, a quarter more or less.
pub const TICK: Duration = Duration::from_secs(8);

/// A member beside the first one.
pub struct Member {
    rabbit: Rabbit,
    line: Proxy,
}

/// A queue as `rabbitmqctl` shows it.
#[derive(Deserialize)]
struct Queue {
    name: String,
    leader: String,
    online: Vec<String>,
}

impl Broker {
    pub(super) async fn cluster(clock: Clock, folder: &Path) -> Self {
        let first = member(FROM[0], None).await;
        let mut others = Vec::new();
        for from in &FROM[1..] {
            others.push(member(from, Some(&first)).await);
        }
        let mut broker = Self::behind_a_proxy(first, clock, folder).await;
        for rabbit in others {
            let line = broker.proxy.beside(port(&rabbit.url)).await;
            broker.others.push(Member { rabbit, line });
        }
        broker
    }

    /// Its nodes; they are called by their place here.
    pub fn nodes(&self) -> impl Iterator<Item = &Rabbit> {
        std::iter::once(&self.rabbit).chain(self.others.iter().map(|member| &member.rabbit))
    }

    /// One of them.
    pub fn node(&self, number: usize) -> &Rabbit {
        self.nodes().nth(number).expect("a node of this number")
    }

    /// The networks between a daemon and each of them.
    pub fn lines(&self) -> impl Iterator<Item = &Proxy> {
        std::iter::once(&self.proxy.line).chain(self.others.iter().map(|member| &member.line))
    }

    /// The network between a daemon and one of them.
    pub fn line(&self, number: usize) -> &Proxy {
        self.lines().nth(number).expect("a node of this number")
    }

    /// Where it is, with commas between the nodes.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes().map(|node| node.url.as_str()).collect();
        urls.join(",")
    }

    /// The same through the proxies.
    pub fn url_for_daemon(&self) -> String {
        let nodes = self.nodes().zip(self.lines());
        let urls: Vec<_> = nodes
            .map(|(node, line)| line.url(&node.url, port(&node.url)))
            .collect();
        urls.join(",")
    }

    /// Nothing comes through between a node and the others until this is dropped. Daemon and sink still
    /// reach all of them.
    pub fn cut_off(&self, number: usize) -> LostPackets {
        let mut nodes: Vec<_> = self.nodes().zip(FROM).map(as_packets_show_it).collect();
        let one = nodes.remove(number);
        LostPackets::between(&one, &nodes)
    }
}

fn as_packets_show_it((node, from): (&Rabbit, &'static str)) -> Node {
    Node {
        from,
        port: node.server.value("DIST_PORT").parse().unwrap(),
    }
}

async fn member(from: &str, of: Option<&Rabbit>) -> Rabbit {
    // A node that sees neither of the others takes nothing until it does.
    let settings = format!(
        "cluster_partition_handling = pause_minority\nnet_ticktime = {}",
        TICK.as_secs()
    );
    let join = of.map(|first| first.server.dir().display().to_string());
    let mut variables = vec![
        ("HOOKWELL_RABBITMQ_FROM", from),
        ("HOOKWELL_RABBITMQ_CONF", settings.as_str()),
    ];
    variables.extend(
        join.iter()
            .map(|dir| ("HOOKWELL_RABBITMQ_JOIN", dir.as_str())),
    );
    let server = OwnService::start_with("rabbitmq", &variables).await;
    Rabbit {
        url: server.value("AMQP_URL"),
        vhost: "/".to_owned(),
        server: Arc::new(server),
    }
}

impl Run {
    /// Waits until every member of a queue is there, as `by` sees it, and says which node leads.
    pub async fn leader(&self, queue: &str, by: usize) -> usize {
        let broker = self.broker();
        let names: Vec<_> = broker
            .nodes()
            .map(|node| node.server.value("NODE"))
            .collect();
        eventually(&format!("all members of {queue}"), WITHIN, async || {
            let list = [
                "list_queues",
                "--formatter",
                "json",
                "name",
                "leader",
                "online",
            ];
            let said = broker.node(by).try_control(&list).await;
            // It asks nodes that may just be coming, and a queue may just be electing.
            let queues: Vec<Queue> = serde_json::from_str(&said.ok()?).ok()?;
            let queue = queues.into_iter().find(|each| each.name == queue)?;
            let all = queue.online.len() == names.len();
            all.then(|| names.iter().position(|name| *name == queue.leader))?
        })
        .await
    }

    /// The node that the daemon is connected to.
    pub async fn daemon_is_at(&self) -> usize {
        eventually("the daemon is connected", WITHIN, async || {
            self.broker()
                .lines()
                .position(|line| 0 < line.connections())
        })
        .await
    }

    /// Makes the daemon connect to this node, if it is at another one.
    pub async fn move_daemon(&self, to: usize) {
        if self.daemon_is_at().await == to {
            return;
        }
        let others = || self.broker().lines().enumerate().filter(|(n, _)| *n != to);
        others().for_each(|(_, line)| line.network(Network::Refuses));
        others().for_each(|(_, line)| line.cut());
        eventually("the daemon has moved", WITHIN, async || {
            let gone = others().all(|(_, line)| line.connections() == 0);
            (gone && 0 < self.broker().line(to).connections()).then_some(())
        })
        .await;
        others().for_each(|(_, line)| line.network(Network::Passes));
        self.arrived(1).await;
    }
}
