//! The faults that the nemesis chooses from: how each begins and how it ends.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use crate::harness::{Backend, Deed, Ending, Network, Side};
use crate::lab::Run;
use crate::random::Random;
use crate::records::FaultKind;

/// What is struck; two faults of one target do not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The broker's process.
    Broker,
    /// The network to it.
    BrokerLine,
    /// What it says on that.
    BrokerTalk,
    /// Postgres's processes.
    Store,
    /// The network to it.
    StoreLine,
    /// What it says on that.
    StoreTalk,
    /// The daemon's process.
    Daemon,
    /// The network between it and its senders.
    Clients,
}

use Target::{Broker, BrokerLine, BrokerTalk, Clients, Daemon, Store, StoreLine, StoreTalk};

const SQLITE: [Target; 5] = [Broker, BrokerLine, BrokerTalk, Daemon, Clients];
const POSTGRES: [Target; 8] = [
    Broker, BrokerLine, BrokerTalk, Store, StoreLine, StoreTalk, Daemon, Clients,
];

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    Killed(Target),
    Frozen(Target),
    DiskAlarm,
    Terminated,
    /// Its connections are reset at the beginning, and at the end.
    Cut(Target),
    /// They are reset when so many bytes more have come from a side.
    CutAfter(Target, Side, u32),
    Network(Target, Network),
    ConfirmsDropped,
    ConfirmsDelayed(Duration),
    ForcedClose,
    /// Of so many statements with this text, the answers are lost.
    AnswersLost(&'static str, u32),
    /// Of so many posts.
    PostsUnanswered(u32),
}

/// A fault of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// Since the round's begin.
    pub after: Duration,
    /// Until it is healed.
    pub lasts: Duration,
    /// Which.
    pub blow: Blow,
}

/// Two or three faults of different targets that overlap.
pub fn strikes(mut chance: Random, store: Backend) -> Vec<Strike> {
    let mut targets = match store {
        Backend::Sqlite => SQLITE.to_vec(),
        Backend::Postgres => POSTGRES.to_vec(),
    };
    let count = 2 + chance.below(2);
    let (soon, least, most) = (
        Duration::from_millis(1500),
        Duration::from_millis(1500),
        Duration::from_secs(9),
    );
    (0..count)
        .map(|_| {
            let target = targets.remove(chance.below(targets.len() as u64) as usize);
            Strike {
                // Every one begins before the first one can end.
                after: chance.duration(Duration::ZERO, soon),
                lasts: chance.duration(least, most),
                blow: blow(target, &mut chance),
            }
        })
        .collect()
}

fn blow(target: Target, chance: &mut Random) -> Blow {
    let side = match chance.below(2) {
        0 => Side::Client,
        _ => Side::Server,
    };
    let delay = chance.duration(Duration::from_millis(20), Duration::from_millis(800));
    let few = 1 + chance.below(5) as u32;
    let bytes = chance.below(50_000) as u32;
    let kind = chance.below(6);
    match (target, kind) {
        (Broker, 0..=2) => Blow::Killed(Broker),
        (Broker, 3) => Blow::Frozen(Broker),
        (Broker, _) => Blow::DiskAlarm,
        (Store, 0..=3) => Blow::Killed(Store),
        (Store, _) => Blow::Frozen(Store),
        (Daemon, 0..=2) => Blow::Killed(Daemon),
        (Daemon, 3..=4) => Blow::Terminated,
        (Daemon, _) => Blow::Frozen(Daemon),
        (BrokerTalk, 0..=2) => Blow::ConfirmsDropped,
        (BrokerTalk, 3..=4) => Blow::ConfirmsDelayed(delay),
        (BrokerTalk, _) => Blow::ForcedClose,
        (StoreTalk, 0..=3) => Blow::AnswersLost("append_events", few),
        (StoreTalk, _) => Blow::AnswersLost("update cursors", few),
        (Clients, 0) => Blow::PostsUnanswered(4 * few),
        (line, 0..=1) => Blow::Cut(line),
        (line, 2) => Blow::CutAfter(line, side, bytes),
        (line, 3) => Blow::Network(line, Network::BlackholeFrom(side)),
        (line, 4) => Blow::Network(line, Network::Delays(delay)),
        (line, _) => Blow::Network(line, Network::Blackhole),
    }
}

/// A heal that takes its time, beside everything else.
type Healing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Blow {
    pub fn target(self) -> Target {
        match self {
            Self::Killed(target)
            | Self::Frozen(target)
            | Self::Cut(target)
            | Self::CutAfter(target, ..)
            | Self::Network(target, _) => target,
            Self::DiskAlarm => Broker,
            Self::Terminated => Daemon,
            Self::ConfirmsDropped | Self::ConfirmsDelayed(_) | Self::ForcedClose => BrokerTalk,
            Self::AnswersLost(..) => StoreTalk,
            Self::PostsUnanswered(_) => Clients,
        }
    }

    /// As the judge has to know it.
    pub fn kind(self) -> FaultKind {
        match (self, self.target()) {
            (Self::DiskAlarm, _) => FaultKind::BrokerAlarm,
            (Self::Terminated, _) => FaultKind::DaemonStop,
            (Self::Frozen(Daemon), _) => FaultKind::DaemonFreeze,
            (_, Daemon) => FaultKind::DaemonKill,
            (_, Broker | BrokerLine | BrokerTalk) => FaultKind::Broker,
            (_, Store | StoreLine | StoreTalk) => FaultKind::Store,
            (_, Clients) => FaultKind::Client,
        }
    }

    /// Breaks it.
    pub async fn begin(self, run: &mut Run) {
        match self {
            Self::Killed(Broker) => run.broker().rabbit.server.kill9(),
            Self::Frozen(Broker) => run.broker().rabbit.server.freeze(),
            Self::DiskAlarm => {
                let rabbit = run.broker().rabbit.clone();
                rabbit.control(&["set_disk_free_limit", "900GB"]).await;
            }
            Self::Killed(Store) => run.store().server().server.kill9_parent(),
            Self::Frozen(Store) => run.store().server().server.freeze(),
            Self::Killed(_) => run.kill_daemon().await,
            Self::Frozen(_) => run.daemon().signal("STOP"),
            Self::Terminated => drop(run.stop_daemon().await),
            Self::Cut(line) => proxy(run, line).cut(),
            Self::CutAfter(line, side, bytes) => proxy(run, line).cut_after_from(side, bytes),
            Self::Network(line, network) => proxy(run, line).network(network),
            Self::ConfirmsDropped => run.broker().proxy.drop_all_acks(),
            Self::ConfirmsDelayed(delay) => run.broker().proxy.delay_acks(Some(delay)),
            Self::ForcedClose => run.broker().proxy.force_close(),
            Self::AnswersLost(on, count) => {
                for nth in 1..=count {
                    let lost = Deed::LoseAnswer(Ending::Reset);
                    run.store().proxy().plan(on, nth, lost);
                }
            }
            Self::PostsUnanswered(count) => run.front().swallow_answers(count, Ending::Reset),
        }
    }

    /// Heals it, or says what has to be waited for.
    pub async fn end(self, run: &mut Run) -> Option<Healing> {
        match self {
            Self::Killed(Broker) => {
                let server = run.broker().rabbit.server.clone();
                return Some(Box::pin(async move { server.restart().await }));
            }
            Self::Frozen(Broker) => run.broker().rabbit.server.thaw(),
            Self::DiskAlarm => {
                let rabbit = run.broker().rabbit.clone();
                rabbit.control(&["set_disk_free_limit", "50MB"]).await;
            }
            Self::Killed(Store) => {
                let server = run.store().server().server.clone();
                return Some(Box::pin(async move { server.restart().await }));
            }
            Self::Frozen(Store) => run.store().server().server.thaw(),
            Self::Frozen(_) => run.daemon().signal("CONT"),
            // The store may be away at the same time; the round goes on trying.
            Self::Killed(_) | Self::Terminated => drop(run.try_start(true).await),
            Self::Cut(line) => proxy(run, line).cut(),
            Self::CutAfter(line, ..) => proxy(run, line).spare(),
            Self::PostsUnanswered(_) => run.front().spare(),
            Self::ForcedClose => (),
            Self::Network(line, _) => proxy(run, line).network(Network::Passes),
            Self::ConfirmsDropped => run.broker().proxy.drop_acks(0),
            Self::ConfirmsDelayed(_) => run.broker().proxy.delay_acks(None),
            Self::AnswersLost(..) => run.store().proxy().forget(),
        }
        None
    }
}

fn proxy(run: &Run, line: Target) -> &crate::harness::Proxy {
    match line {
        BrokerLine => &run.broker().proxy.line,
        StoreLine => &run.store().proxy().line,
        _ => run.front(),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broker => "the broker",
            BrokerLine => "the line to the broker",
            BrokerTalk => "what the broker says",
            Store => "Postgres",
            StoreLine => "the line to Postgres",
            StoreTalk => "what Postgres says",
            Daemon => "the daemon",
            Clients => "the lines of the senders",
        })
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(target) => write!(f, "kill -9 of {target}"),
            Self::Frozen(target) => write!(f, "SIGSTOP of {target}"),
            Self::DiskAlarm => f.write_str("disk alarm of the broker"),
            Self::Terminated => f.write_str("SIGTERM of the daemon"),
            Self::Cut(line) => write!(f, "{line} cut"),
            Self::CutAfter(line, side, bytes) => {
                write!(f, "{line} cut after {bytes} bytes from the {side:?}")
            }
            Self::Network(line, network) => write!(f, "{line}: {network:?}"),
            Self::ConfirmsDropped => f.write_str("confirms dropped"),
            Self::ConfirmsDelayed(delay) => write!(f, "confirms {delay:?} late"),
            Self::ForcedClose => f.write_str("the broker closes connections"),
            Self::AnswersLost(on, count) => write!(f, "{count} answers to {on} lost"),
            Self::PostsUnanswered(count) => write!(f, "{count} posts without an answer"),
        }
    }
}
