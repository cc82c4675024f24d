//! A run under way: load flows, things break, daemons die and start again. Everything is noted.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::api::Api;
use super::cluster::Member;
use super::dump;
use super::keeper::Keeper;
use super::power::Disk;
use super::samples::Sampler;
use super::scrapes::Scraper;
use super::servers::{Postgres, Rabbit, port};
use crate::generator::{Generator, Settings};
use crate::harness::ghl::get;
use crate::harness::{Daemon, DaemonConfig, Proxy, eventually, proxy};
use crate::records::{
    AFTER_CRASH, BROKER, Clock, Ended, FAULTS, FaultKind, Life, Resources, Writer, series,
};
use crate::sink::Sink;

/// The variable that turns failpoints on.
pub(super) const FAILPOINTS: &str = "FAILPOINTS";

/// How long anything may take that is not under judgement.
pub const WITHIN: Duration = Duration::from_secs(90);

/// Where the log is.
pub struct Store {
    /// Its URL, straight to it.
    pub url: String,
    /// The server, where it has one.
    pub postgres: Option<Postgres>,
    /// What stands between it and the daemon.
    pub proxy: Option<proxy::Postgres>,
}

impl Store {
    pub(super) async fn sqlite(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self {
            url: format!("sqlite://{}/hookwell.db", folder.display()),
            postgres: None,
            proxy: None,
        }
    }

    pub(super) async fn behind_a_proxy(postgres: Postgres) -> Self {
        Self {
            url: postgres.url.clone(),
            proxy: Some(proxy::Postgres::in_front_of(port(&postgres.url)).await),
            postgres: Some(postgres),
        }
    }

    pub(super) fn url_for_daemon(&self) -> String {
        match &self.proxy {
            Some(proxy) => proxy.line.url(&self.url, port(&self.url)),
            None => self.url.clone(),
        }
    }

    /// The network between a daemon and its Postgres, and what is said on it.
    pub fn proxy(&self) -> &proxy::Postgres {
        self.proxy.as_ref().expect("a row of Postgres")
    }

    /// The server that a row of Postgres harms.
    pub fn server(&self) -> &Postgres {
        self.postgres.as_ref().expect("a row of Postgres")
    }

    pub(super) fn wal(&self) -> Option<PathBuf> {
        let file = self.postgres.is_none().then(|| dump::file_of(&self.url));
        file.map(|file| PathBuf::from(format!("{}-wal", file.display())))
    }
}

/// Where messages go.
pub struct Broker {
    /// The server and the virtual host.
    pub rabbit: Rabbit,
    /// What stands between it and the daemon, and writes down what it sees.
    pub proxy: proxy::Amqp,
    /// The other members, where it is a cluster.
    pub(super) others: Vec<Member>,
}

impl Broker {
    pub(super) async fn behind_a_proxy(rabbit: Rabbit, clock: Clock, folder: &Path) -> Self {
        let file = File::create(folder.join(BROKER)).unwrap();
        let recorder = proxy::Recorder::new(clock.started(), file);
        let proxy = proxy::Amqp::in_front_of(port(&rabbit.url), recorder).await;
        Self {
            rabbit,
            proxy,
            others: Vec::new(),
        }
    }
}

/// Copies the daemons' logs into the run's folder when it ends, however that is.
pub(super) struct Logs {
    pub from: DaemonConfig,
    pub to: PathBuf,
}

impl Logs {
    /// Copies them as they are now.
    pub fn copy(&self) {
        for entry in std::fs::read_dir(self.from.dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(".log") {
                let _ = std::fs::copy(entry.path(), self.to.join(name));
            }
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.copy();
    }
}

/// What a run is put together from.
pub(super) struct Parts {
    pub folder: PathBuf,
    pub clock: Clock,
    pub store: Store,
    pub broker: Broker,
    pub config: DaemonConfig,
    pub settings: Settings,
    pub sink: Sink,
    pub sampler: Sampler,
    pub scraper: Scraper,
    /// Between the load and the daemon, where a row wants one. It stays when daemons come and go.
    pub front: Option<Proxy>,
    /// What is called, where a row has follow-ups.
    pub api: Option<Api>,
    /// Of what retention removes, where a run has it remove things.
    pub keeper: Option<Keeper>,
    pub logs: Logs,
    /// Last, so that it is unmounted when nothing uses it any more.
    pub disk: Option<Disk>,
}

/// A run under way.
pub struct Run {
    /// Of the generator; none until the first daemon listens.
    pub(super) load: Option<Generator>,
    pub(super) daemon: Option<Daemon>,
    /// More of them on the same store, where a row wants them.
    pub(super) peers: Vec<Daemon>,
    pub(super) faults: Writer,
    pub(super) lives: Vec<Life>,
    pub(super) before: Option<Resources>,
    pub(super) unmet: Vec<String>,
    pub(super) figures: Vec<String>,
    /// Pages of the public listener that a browser got.
    pub(super) pages: Mutex<BTreeMap<u16, usize>>,
    begun: usize,
    crashes: usize,
    pub(super) parts: Parts,
}

impl Run {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            load: None,
            daemon: None,
            peers: Vec::new(),
            faults: Writer::open(&parts.folder, FAULTS).unwrap(),
            lives: Vec::new(),
            before: None,
            unmet: Vec::new(),
            figures: Vec::new(),
            pages: Mutex::default(),
            begun: 0,
            crashes: 0,
            parts,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.parts.broker
    }

    /// The network between the load and the daemon.
    pub fn front(&self) -> &Proxy {
        let front = self.parts.front.as_ref();
        front.expect("set up behind a proxy")
    }

    /// The disk whose power can be cut.
    pub fn disk(&self) -> &Disk {
        self.parts.disk.as_ref().expect("set up on a disk")
    }

    /// What daemons are started with, from the next one on.
    pub fn config(&mut self) -> &mut DaemonConfig {
        &mut self.parts.config
    }

    /// The load.
    pub fn load(&self) -> &Generator {
        self.load.as_ref().expect("it starts with the first daemon")
    }

    /// The daemon.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("a daemon that runs")
    }

    /// Waits until so many more events were answered 200.
    pub async fn more(&self, count: usize) {
        self.load().more(count, WITHIN).await;
    }

    /// The sink.
    pub fn sink(&self) -> &Sink {
        &self.parts.sink
    }

    /// Waits until so many more messages arrived.
    pub async fn arrived(&self, count: usize) {
        let goal = self.parts.sink.seen() + count;
        self.parts.sink.wait_for(goal, WITHIN).await;
    }

    /// How long it takes until an event is answered 200 again.
    pub async fn takes_again(&self) -> Duration {
        let asked = Instant::now();
        self.more(1).await;
        asked.elapsed()
    }

    /// How many posts were answered so until now.
    pub fn answers_of(&self, status: u16) -> usize {
        let answers = self.load().totals().answers;
        answers.get(&status).copied().unwrap_or(0)
    }

    /// Waits until so many more posts were answered 429.
    pub async fn refused(&self, count: usize) {
        self.refused_beyond(self.answers_of(429) + count - 1).await;
    }

    /// Waits until more posts were answered 429 than were before: a count from before the fault, which may
    /// be over when one asks.
    pub async fn refused_beyond(&self, before: usize) {
        let what = format!("more than {before} answers 429");
        eventually(&what, WITHIN, async || {
            (before < self.answers_of(429)).then_some(())
        })
        .await;
    }

    /// Waits until the daemon says that it can, or cannot, take events.
    pub async fn readiness(&self, status: u16) {
        eventually(&format!("readyz says {status}"), WITHIN, async || {
            (self.daemon().ready().await == Some(status)).then_some(())
        })
        .await;
    }

    /// Whether the daemon says in time that it takes no events.
    pub async fn turns_unready(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if self.daemon().ready().await == Some(503) {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// The failpoints of the next daemons, whose build has to have them.
    pub fn failpoints(&mut self, points: &str) {
        let variables = &mut self.parts.config.variables;
        variables.retain(|(name, _)| name != FAILPOINTS);
        variables.push((FAILPOINTS.to_owned(), points.to_owned()));
    }

    /// Waits until a value of `/metrics` is this one.
    pub async fn becomes(&self, metric: &str, wanted: f64) {
        eventually(&format!("{metric} is {wanted}"), WITHIN, async || {
            (self.daemon().metric(metric).await == Some(wanted)).then_some(())
        })
        .await;
    }

    /// Something that must hold here and that no invariant says; goes into the verdict.
    pub fn expect(&mut self, what: &str, holds: bool) {
        if !holds {
            self.unmet.push(what.to_owned());
        }
    }

    /// States that no post was answered 429: the log takes what the broker does not.
    pub fn ingest_feels_nothing(&mut self) {
        let refused = self.load().totals().answers.contains_key(&429);
        self.expect("ingest does not feel it", !refused);
    }

    /// Cuts the power of the disk, and ends whoever writes to it. They are stopped a moment before: as when
    /// a machine loses its power, nobody is left to answer for an fsync that the shutdown overtook.
    pub async fn cut_power(&mut self) {
        match &self.parts.store.postgres {
            Some(postgres) => {
                postgres.server.freeze();
                self.disk().cut();
                postgres.server.kill9();
            }
            None => {
                self.daemon().signal("STOP");
                self.disk().cut();
                self.kill_daemon().await;
            }
        }
    }

    /// A figure that only this row has; goes to the end of the verdict line.
    pub fn figure(&mut self, text: String) {
        self.figures.push(text);
    }

    /// What the daemon holds now.
    pub fn held(&self) -> Resources {
        self.parts.sampler.seen()
    }

    /// The most that it was seen to hold so far.
    pub fn peak(&self) -> Resources {
        self.parts.sampler.peak()
    }

    /// The run's clock.
    pub fn clock(&self) -> Clock {
        self.parts.clock
    }

    /// Breaks something and heals it, noted from the one to the other.
    pub async fn fault<T>(
        &mut self,
        kind: FaultKind,
        what: &str,
        deed: impl AsyncFnOnce(&mut Self) -> T,
    ) -> T {
        // Catching up with a first backlog takes memory that is kept for the next one: where there are
        // several faults, what is held before the second counts.
        if self.begun < 2 && self.daemon.is_some() {
            self.measure_before().await;
        }
        self.begun += 1;
        let from = self.parts.clock.micros();
        let result = deed(self).await;
        self.note_fault(kind, what, from);
        result
    }

    /// Starts a daemon and sends the load there.
    pub async fn start_daemon(&mut self) {
        let started = self.launch_daemon().await;
        if let Err(said) = started {
            panic!("the daemon ended: {said}");
        }
        let daemon = self.daemon();
        eventually("the daemon is ready", WITHIN, async || {
            (daemon.ready().await == Some(200)).then_some(())
        })
        .await;
        // Where no daemon ran before the first fault, the first one behind it is the measure.
        if 0 < self.begun && self.before.is_none() {
            self.measure_before().await;
        }
    }

    /// Starts a daemon and waits only until it listens; says what it said if it ended before.
    pub async fn launch_daemon(&mut self) -> Result<(), String> {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let daemon = match Daemon::launch(&self.parts.config).await {
            Ok(daemon) => daemon,
            Err((code, log)) => {
                self.died(Ended::Itself, code);
                return Err(format!("{code:?}: {log}"));
            }
        };
        self.parts.sampler.look_at(daemon.pid(), &daemon.admin());
        self.parts.scraper.follow(daemon.admin(), self.lives.len());
        self.daemon = Some(daemon);
        self.lead_to_all();
        Ok(())
    }

    /// Sends the load to the daemons that there are.
    pub fn lead_to_all(&mut self) {
        let behind_front = |daemon: &Daemon| {
            let mut address = daemon.address();
            if let Some(front) = &self.parts.front {
                front.lead_to(address.port());
                address.set_port(front.port());
            }
            address
        };
        let addresses: Vec<_> = (self.daemon.iter().map(behind_front))
            .chain(self.peers.iter().map(Daemon::address))
            .collect();
        match &self.load {
            Some(load) => load.point_at(&addresses),
            None => {
                let mut settings = self.parts.settings.clone();
                settings.addresses = addresses;
                let (folder, clock) = (&self.parts.folder, self.parts.clock);
                self.load = Some(Generator::start(folder, clock, settings));
            }
        }
    }

    /// Starts one more daemon on the same store; the load goes to all.
    pub async fn start_peer(&mut self) {
        self.peers.push(Daemon::start(&self.parts.config).await);
        self.lead_to_all();
    }

    /// Asks the one of the added daemons that has run longest to end and waits.
    pub async fn stop_peer(&mut self) -> ExitStatus {
        assert!(self.has_peer(), "another daemon that runs");
        let peer = self.peers.remove(0);
        self.end(peer).await.0
    }

    /// Whether there is another daemon.
    pub(super) fn has_peer(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Kills the daemon. The next one starts with [`Self::start_daemon`].
    pub async fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon that runs");
        daemon.kill9();
        self.died(Ended::Killed, None);
    }

    /// Waits for the end of a daemon that something else ends; how it did.
    pub async fn daemon_dies(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("a daemon that runs");
        let status = daemon.wait(WITHIN).await;
        let ended = match status.code() {
            None => Ended::Killed,
            Some(_) => Ended::Itself,
        };
        self.died(ended, status.code());
        status
    }

    /// The same, if it ends within some time.
    pub async fn daemon_dies_within(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        while self.daemon.as_mut()?.ended().is_none() {
            if deadline <= Instant::now() {
                return None;
            }
            sleep(Duration::from_millis(50)).await;
        }
        Some(self.daemon_dies().await)
    }

    /// Notes that the last daemon ended, or did not start, because of what the row did to it.
    pub fn end_was_meant(&mut self) {
        if let Some(life) = self.lives.last_mut() {
            life.ended = Ended::Killed;
        }
    }

    /// Starts a daemon that has to refuse; its exit code and what it said, or `a start`.
    pub async fn refused_start(&mut self) -> String {
        match self.launch_daemon().await {
            Ok(()) => {
                self.kill_daemon().await;
                "a start".to_owned()
            }
            Err(said) => {
                self.end_was_meant();
                said
            }
        }
    }

    /// Asks the daemon to end and waits; how it ended, and how long it took.
    pub async fn stop_daemon(&mut self) -> (ExitStatus, Duration) {
        let daemon = self.daemon.take().expect("a daemon that runs");
        let ended = self.end(daemon).await;
        self.parts.scraper.ended();
        ended
    }

    /// Asks the daemon to end, and kills it if it has not within this time; whether it ended in order.
    pub async fn stop_or_kill(&mut self, within: Duration) -> bool {
        let mut daemon = self.daemon.take().expect("a daemon that runs");
        let last = self.parts.scraper.ended();
        let url = format!("{}/metrics", daemon.admin());
        let metrics = match timeout(Duration::from_secs(2), get(&url)).await {
            Ok(Ok(answer)) => series(&answer.text()),
            _ => last,
        };
        let t_asked = self.parts.clock.micros();
        daemon.signal("TERM");
        let deadline = Instant::now() + within;
        while daemon.ended().is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        let status = daemon.ended();
        daemon.kill9();
        let exit = status.and_then(|status| status.code());
        self.lives.push(Life {
            ended: match status {
                Some(_) => Ended::Stopped,
                None => Ended::Killed,
            },
            t_asked,
            t_ended: self.parts.clock.micros(),
            exit,
            metrics,
            at_rest: false,
        });
        exit == Some(0)
    }

    async fn end(&mut self, mut daemon: Daemon) -> (ExitStatus, Duration) {
        let metrics = series(&daemon.metrics().await);
        let (t_asked, asked) = (self.parts.clock.micros(), Instant::now());
        daemon.signal("TERM");
        let status = daemon.wait(WITHIN).await;
        self.lives.push(Life {
            ended: Ended::Stopped,
            t_asked,
            t_ended: self.parts.clock.micros(),
            exit: status.code(),
            metrics,
            at_rest: false,
        });
        (status, asked.elapsed())
    }

    pub(super) fn died(&mut self, ended: Ended, exit: Option<i32>) {
        self.lives.push(Life {
            ended,
            t_asked: 0,
            t_ended: self.parts.clock.micros(),
            exit,
            metrics: self.parts.scraper.ended(),
            at_rest: false,
        });
    }

    /// Writes down the rows that a recovery left, while nobody can post.
    pub async fn look_after_crash(&mut self) {
        self.crashes += 1;
        let name = format!("{AFTER_CRASH}-{:03}.jsonl", self.crashes);
        let Parts {
            store,
            clock,
            folder,
            ..
        } = &self.parts;
        dump::rows(&store.url, clock, folder, &name).await.unwrap();
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.parts.folder
    }
}
