//! What a run stands on: servers, a store, a broker, a daemon, load and a sink; and their start.

use std::net::{Ipv4Addr, SocketAddr};

use super::Lab;
use super::api::Api;
use super::evidence::{with_console, write_canaries};
use super::follow_ups::Calls;
use super::keeper::Keeper;
use super::power::Disk;
use super::run::{Broker, FAILPOINTS, Logs, Parts, Run, Store};
use super::samples::Sampler;
use super::scrapes::Scraper;
use super::servers;
use crate::generator::Settings;
use crate::harness::daemon::ALL;
use crate::harness::{Backend, DaemonConfig, Proxy};
use crate::records::calls::FollowUps;
use crate::records::{self, Clock, Plan};
use crate::sink::Sink;

/// Events a second, unless a row says otherwise: what two cores carry beside two servers.
pub const RATE: f64 = 200.0;

/// A run to be started.
pub struct Setup<'a> {
    lab: &'a Lab,
    own_broker: bool,
    cluster: bool,
    own_postgres: bool,
    disk: bool,
    daemon: Box<dyn FnOnce(DaemonConfig) -> DaemonConfig>,
    load: Settings,
    plan: Plan,
    later: bool,
    front: bool,
    straight: bool,
    queues: Vec<&'static str>,
    calls: Option<Calls>,
    forgets: bool,
}

impl<'a> Setup<'a> {
    pub(super) fn new(lab: &'a Lab) -> Self {
        Self {
            lab,
            own_broker: false,
            cluster: false,
            own_postgres: false,
            disk: false,
            daemon: Box::new(|config| config),
            // The address is known when the first daemon listens.
            load: Settings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), RATE, lab.seed),
            plan: Plan {
                row: lab.row.to_owned(),
                store: lab.store.to_string(),
                seed: lab.seed,
                ..Plan::default()
            },
            later: false,
            front: false,
            straight: false,
            queues: vec![ALL],
            calls: None,
            forgets: false,
        }
    }

    /// With a RabbitMQ that the row may harm.
    pub fn own_broker(mut self) -> Self {
        self.own_broker = true;
        self
    }

    /// With a cluster of three RabbitMQ that the row may harm.
    pub fn own_cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// With a Postgres that the row may harm, where the store is one.
    pub fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }

    /// With the store on a disk whose power can be cut.
    pub fn on_a_disk(mut self) -> Self {
        self.disk = true;
        self.own_postgres()
    }

    /// With a proxy between the load and the daemon.
    pub fn behind_a_proxy(mut self) -> Self {
        self.front = true;
        self
    }

    /// With other settings of the daemon; without, it runs as it ships.
    pub fn daemon(mut self, change: impl FnOnce(DaemonConfig) -> DaemonConfig + 'static) -> Self {
        let before = self.daemon;
        self.daemon = Box::new(|config| change(before(config)));
        self
    }

    /// With the build that has failpoints, and these of them on.
    pub fn failpoints(self, points: &str) -> Self {
        let points = points.to_owned();
        self.daemon(move |config| with_failpoints(config, &points))
    }

    /// Without a proxy before the store: where time is measured it is none of the daemon's.
    pub fn straight_to_the_store(mut self) -> Self {
        self.straight = true;
        self
    }

    /// With a GHL to call, and rules that call it.
    pub fn calls(mut self, calls: Calls) -> Self {
        self.plan.follow_ups = Some(FollowUps {
            rules: calls.judged(),
            timeout_us: calls.timeout * 1_000_000,
            ..FollowUps::default()
        });
        // Calls may wait for a token until the last minute.
        self.plan.drain_us = 150_000_000;
        self.calls = Some(calls);
        self
    }

    /// With these reasons for which calls may be parked.
    pub fn parks(mut self, reasons: &[&str]) -> Self {
        let plan = self.plan.follow_ups.as_mut().expect("set up with calls");
        plan.parked = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        self
    }

    /// With bodies and keys that are kept for so many seconds only.
    pub fn keeps(mut self, bodies: u64, keys: u64) -> Self {
        self.forgets = true;
        let kept = format!("keep_bodies = \"{bodies}s\"\nkeep_keys = \"{keys}s\"");
        self.daemon(move |config| config.set("store", &kept))
    }

    /// With other load.
    pub fn load(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.load);
        self
    }

    /// With other allowances of the checker.
    pub fn plan(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    /// With a sink on these queues.
    pub fn sink_of(mut self, queues: &[&'static str]) -> Self {
        self.queues = queues.to_vec();
        self
    }

    /// Without a daemon at first; the load starts with the first one.
    pub fn without_daemon(mut self) -> Self {
        self.later = true;
        self
    }

    /// Starts everything.
    pub async fn start(self) -> Run {
        let folder = self.lab.folder.clone();
        std::fs::create_dir_all(&folder).unwrap();
        let clock = Clock::start();
        records::save(&folder, records::PLAN, &self.plan).unwrap();
        write_canaries(&folder, self.calls.as_ref());
        let disk = self.disk.then(|| Disk::new(&folder));
        let store = self.store(disk.as_ref()).await;
        let broker = match (self.cluster, self.own_broker) {
            (true, _) => Broker::cluster(clock, &folder).await,
            (_, true) => Broker::behind_a_proxy(servers::own_rabbit().await, clock, &folder).await,
            (_, false) => {
                let rabbit = self.lab.servers.rabbit().await;
                Broker::behind_a_proxy(rabbit, clock, &folder).await
            }
        };
        let store_url = match self.straight {
            true => store.url.clone(),
            false => store.url_for_daemon(),
        };
        let config = DaemonConfig::new(&store_url).broker(&broker.url_for_daemon());
        let config = with_console(config);
        let api = match &self.calls {
            Some(calls) => Some(Api::start(&folder, calls.burst, calls.interval).await),
            None => None,
        };
        let config = match (&self.calls, &api) {
            (Some(calls), Some(api)) => calls.configure(config, api),
            _ => config,
        };
        let config = (self.daemon)(config);
        let config = match &self.lab.points {
            Some(points) => with_failpoints(config, points),
            None => config,
        };
        let sink = Sink::start(&folder, clock, &broker.url(), &self.queues);
        let sampler = Sampler::start(store.wal());
        let scraper = Scraper::start(&folder, clock);
        let front = match self.front {
            // It leads somewhere when the first daemon listens.
            true => Some(Proxy::in_front_of(1).await),
            false => None,
        };
        let logs = Logs {
            from: config.clone(),
            to: folder.clone(),
        };
        let mut run = Run::new(Parts {
            logs,
            folder,
            clock,
            disk,
            store,
            broker,
            config,
            settings: self.load,
            sink,
            sampler,
            scraper,
            front,
            api,
            keeper: None,
        });
        if !self.later {
            run.start_daemon().await;
        }
        if self.forgets {
            // From the first schema on.
            let parts = &mut run.parts;
            let keeper = Keeper::start(&parts.folder, &parts.clock, &parts.store.url);
            parts.keeper = Some(keeper);
        }
        run
    }

    async fn store(&self, disk: Option<&Disk>) -> Store {
        let root = disk.map_or(self.lab.folder.as_path(), Disk::path);
        match self.lab.store {
            Backend::Sqlite => Store::sqlite(&root.join("store")).await,
            Backend::Postgres => {
                let postgres = if self.own_postgres {
                    let data = disk.map(|disk| disk.path().join("data"));
                    if let Some(data) = &data {
                        std::fs::create_dir(data).unwrap();
                    }
                    servers::own_postgres(data.as_ref().and_then(|data| data.to_str())).await
                } else {
                    self.lab.servers.postgres().await
                };
                Store::behind_a_proxy(postgres).await
            }
        }
    }
}

/// The same with the build that has failpoints, and these on beside those that are on already.
fn with_failpoints(mut config: DaemonConfig, points: &str) -> DaemonConfig {
    let binary = std::env::var_os(crate::abilities::FAILPOINTS_BINARY);
    config.binary = binary.map(Into::into);
    match config
        .variables
        .iter_mut()
        .find(|(name, _)| name == FAILPOINTS)
    {
        Some((_, others)) => *others = format!("{others};{points}"),
        None => config
            .variables
            .push((FAILPOINTS.to_owned(), points.to_owned())),
    }
    config
}
