//! Plays GHL in an open loop: events come at their rate whether or not the daemon keeps up, and what was
//! not answered 2xx is posted again with the same bytes.
//!
//! Everything it sends follows from the seed; every post is logged when it is over.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::random::Random;
use super::records::{ATTEMPTS, Class, Clock, Writer};
use crate::harness::eventually;

mod event;
mod impolite;
mod post;

use event::{Maker, Request};

/// An address that is in every body; no log has it.
pub const CANARY_MAIL: &str = "canary.contact@bench.example";

/// What is sent, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Daemons, or proxies before them; attempts take turns.
    pub addresses: Vec<SocketAddr>,
    /// Events a second.
    pub rate: f64,
    /// How many keys; twenty contacts share a tenant.
    pub keys: u64,
    /// Whether an event waits for the 2xx of the one before it of its key.
    pub sequential: bool,
    /// Connections at most.
    pub connections: usize,
    /// What follows a post without a 2xx.
    pub retry: Retry,
    /// How long an answer may take before the connection is given up.
    pub timeout: Duration,
    /// Events not yet answered 2xx at most; more are skipped and counted.
    pub max_open: usize,
    /// Requests of a hundred without a signature.
    pub unsigned: f64,
    /// Requests of a hundred with a signature by another key.
    pub forged: f64,
    /// Requests of a hundred in a form that has to be refused.
    pub malformed: f64,
    /// Signed bodies of a hundred that are filled up to about 200 KB.
    pub large: f64,
    /// Posts of a hundred that are hung up on within [`Self::hang_up_within`], answered or not.
    pub hang_ups: f64,
    /// From at once to this; the connection is closed then.
    pub hang_up_within: Duration,
    /// Where chance comes from.
    pub seed: u64,
}

impl Settings {
    /// A steady stream of signed events to one daemon.
    pub fn new(address: SocketAddr, rate: f64, seed: u64) -> Self {
        Self {
            addresses: vec![address],
            rate,
            keys: 200,
            sequential: false,
            connections: 32,
            retry: Retry::default(),
            timeout: Duration::from_secs(30),
            max_open: 50_000,
            unsigned: 0.0,
            forged: 0.0,
            malformed: 0.0,
            large: 0.0,
            hang_ups: 0.0,
            hang_up_within: Duration::from_millis(3),
            seed,
        }
    }

    /// The same with bad requests among the good ones, so many of a hundred of each class.
    pub fn with_bad(mut self, share: f64) -> Self {
        (self.unsigned, self.forged, self.malformed) = (share, share, share);
        self
    }
}

/// Posting the same bytes again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The first delay; each one is twice the one before.
    pub first: Duration,
    /// The longest delay.
    pub most: Duration,
    /// Attempts of one event at most.
    pub tries: u32,
}

impl Retry {
    /// Every event is posted once.
    pub fn off() -> Self {
        Self {
            tries: 1,
            ..Self::default()
        }
    }

    /// The delay after so many attempts: between half and the whole of what doubling gives.
    fn delay(&self, attempts: u32, chance: &mut Random) -> Duration {
        let doubled = self.first.saturating_mul(1 << (attempts - 1).min(16));
        let whole = doubled.min(self.most);
        chance.duration(whole / 2, whole)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            most: Duration::from_secs(1),
            tries: u32::MAX,
        }
    }
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events of which at least one post was made.
    pub events: usize,
    /// Posts.
    pub attempts: usize,
    /// Events answered 2xx.
    pub acked: usize,
    /// Posts by the status of their answer.
    pub answers: BTreeMap<u16, usize>,
    /// Posts without an answer.
    pub errors: usize,
    /// Signed events that were given up.
    pub given_up: usize,
    /// Events that were due and not made, because too many were open.
    pub skipped: usize,
}

/// An event on its way, or one still to be made.
enum Job {
    New(u64, Class),
    Again(Box<Request>, u32),
}

#[derive(Default, Clone, Copy)]
struct Lane {
    next: u64,
    busy: bool,
    waiting: u64,
}

struct Shared {
    settings: Settings,
    clock: Clock,
    log: Writer,
    maker: Maker,
    addresses: RwLock<Vec<SocketAddr>>,
    /// Thousandths of an event a second.
    rate: AtomicU64,
    jobs: Mutex<VecDeque<Job>>,
    ready: Semaphore,
    lanes: Mutex<Vec<Lane>>,
    totals: Mutex<Totals>,
    acked: AtomicUsize,
    /// Events made or about to be, and not settled.
    open: AtomicUsize,
    waiting: AtomicUsize,
    stopping: AtomicBool,
    abandoned: AtomicBool,
}

/// A generator at work. Dropping it ends it at once.
pub struct Generator {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Generator {
    /// Starts it; attempts are logged into `folder`.
    pub fn start(folder: &std::path::Path, clock: Clock, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            clock,
            log: Writer::open(folder, ATTEMPTS).unwrap(),
            maker: Maker::new(settings.seed, settings.large),
            addresses: RwLock::new(settings.addresses.clone()),
            rate: AtomicU64::new(thousandths(settings.rate)),
            jobs: Mutex::default(),
            ready: Semaphore::new(0),
            lanes: Mutex::new(vec![
                Lane::default();
                usize::try_from(settings.keys).unwrap()
            ]),
            totals: Mutex::default(),
            acked: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            settings,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&shared).keep_the_rate());
        for number in 0..shared.settings.connections {
            tasks.spawn(post::connection(Arc::clone(&shared), number));
        }
        Self { shared, tasks }
    }

    /// From now on to these addresses.
    pub fn point_at(&self, addresses: &[SocketAddr]) {
        *self.shared.addresses.write().unwrap() = addresses.to_vec();
    }

    /// From now on so many events a second; 0 for a pause.
    pub fn set_rate(&self, rate: f64) {
        self.shared.rate.store(thousandths(rate), Ordering::Relaxed);
    }

    /// How many events were answered 2xx so far.
    pub fn acked(&self) -> usize {
        self.shared.acked.load(Ordering::SeqCst)
    }

    /// How many events are under way.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until so many more were.
    pub async fn more(&self, count: usize, within: Duration) {
        let goal = self.acked() + count;
        eventually(
            &format!("{count} more events answered 2xx"),
            within,
            async || (goal <= self.acked()).then_some(()),
        )
        .await;
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        let mut totals = self.shared.totals.lock().unwrap().clone();
        totals.acked = self.acked();
        totals
    }

    /// Waits until everything that was made is answered 2xx or given up; with a rate of 0 nothing follows.
    pub async fn quiet(&self, within: Duration) {
        eventually("no event is open", within, async || {
            (self.shared.open.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
    }

    /// Where the posts are noted, for those that somebody else makes.
    pub fn log(&self) -> &Writer {
        &self.shared.log
    }

    /// Makes no more events and waits for what is open; what is still open after `within` is given up.
    /// All attempts are in the file when it returns.
    pub async fn stop(mut self, within: Duration) -> Totals {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.settled(within).await;
        if self.shared.open.load(Ordering::SeqCst) > 0 {
            self.shared.abandoned.store(true, Ordering::SeqCst);
            // No post outlives its own deadline, and no delay its bound.
            let bounds = self.shared.settings.timeout + self.shared.settings.retry.most;
            self.settled(bounds + Duration::from_secs(5)).await;
        }
        self.tasks.shutdown().await;
        self.shared.log.finish();
        self.totals()
    }

    async fn settled(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.shared.open.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn thousandths(rate: f64) -> u64 {
    (rate * 1000.0) as u64
}

impl Shared {
    async fn keep_the_rate(self: Arc<Self>) {
        let mut chance = Random::new(self.settings.seed);
        let mut ticks = interval(Duration::from_millis(2));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = Instant::now();
        let mut due = 0.0;
        while !self.stopping.load(Ordering::SeqCst) {
            ticks.tick().await;
            let now = Instant::now();
            let rate = self.rate.load(Ordering::Relaxed) as f64 / 1000.0;
            due += rate * (now - before).as_secs_f64();
            before = now;
            while due >= 1.0 {
                due -= 1.0;
                let key = chance.below(self.settings.keys);
                let class = self.class(&mut chance);
                self.begin(key, class);
            }
        }
    }

    fn class(&self, chance: &mut Random) -> Class {
        let settings = &self.settings;
        let share = chance.below(1_000_000) as f64 / 10_000.0;
        let bounds = [
            (settings.unsigned, Class::Unsigned),
            (settings.forged, Class::Forged),
            (settings.malformed, Class::Malformed),
        ];
        let mut below = 0.0;
        for (width, class) in bounds {
            below += width;
            if share < below {
                return class;
            }
        }
        Class::Signed
    }

    /// An event is due.
    fn begin(&self, key: u64, class: Class) {
        let waiting = self.waiting.load(Ordering::SeqCst);
        if self.settings.max_open <= self.open.load(Ordering::SeqCst) + waiting {
            self.totals.lock().unwrap().skipped += 1;
            return;
        }
        if self.settings.sequential && class == Class::Signed {
            let mut lanes = self.lanes.lock().unwrap();
            let lane = &mut lanes[key as usize];
            if lane.busy {
                lane.waiting += 1;
                self.waiting.fetch_add(1, Ordering::SeqCst);
                return;
            }
            lane.busy = true;
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        self.push(Job::New(key, class));
    }

    fn push(&self, job: Job) {
        self.jobs.lock().unwrap().push_back(job);
        self.ready.add_permits(1);
    }

    /// The next number of a key.
    fn next_of(&self, key: u64) -> u64 {
        let lane = &mut self.lanes.lock().unwrap()[key as usize];
        lane.next += 1;
        lane.next - 1
    }

    /// Nothing more is posted of an event of this key.
    fn settle(&self, key: u64, class: Class, acked: bool) {
        if acked {
            self.acked.fetch_add(1, Ordering::SeqCst);
        } else if class == Class::Signed {
            self.totals.lock().unwrap().given_up += 1;
        }
        if self.settings.sequential && class == Class::Signed {
            let mut lanes = self.lanes.lock().unwrap();
            let lane = &mut lanes[key as usize];
            if lane.waiting > 0 && !self.stopping.load(Ordering::SeqCst) {
                lane.waiting -= 1;
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                // The lane stays busy, and so the count of open ones stays as well.
                self.push(Job::New(key, class));
                return;
            }
            lane.busy = false;
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}
