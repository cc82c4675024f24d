//! Several daemons on one Postgres: who reads the log, and how soon another one does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::run::{Run, WITHIN};
use crate::harness::{Daemon, eventually};

/// Whether a daemon has the relay's reader.
const RELAYS: &str = "hookwell_relay_active";
/// Who holds the locks of this database's readers; the class is hookwell's own.
const HOLDERS: &str = "select objid::bigint, pid from pg_locks \
     where locktype = 'advisory' and classid = 1751873388 and granted \
     and database = (select oid from pg_database where datname = current_database())";
/// The relay's and the planner's.
const READERS: usize = 2;
/// Within so long after its holder fell silent a reader has to be another daemon's.
const TAKEN_OVER: Duration = Duration::from_secs(5);
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a row states of that, and a defect breaks.
pub const SOON_TAKEN_OVER: &str = "each reader is another daemon's within 5 s";

/// The sessions that hold the readers' locks, by the lock.
pub type Holders = BTreeMap<i64, i32>;

impl Run {
    /// Starts more daemons on the same store when the first one has every reader, until there are three.
    pub async fn start_replicas(&mut self) {
        self.becomes(RELAYS, 1.0).await;
        self.holders().await;
        self.start_peer().await;
        self.start_peer().await;
    }

    /// Starts three at once.
    pub async fn start_three_at_once(&mut self) {
        let config = self.config().clone();
        let (one, other, ()) = tokio::join!(
            Daemon::start(&config),
            Daemon::start(&config),
            self.start_daemon()
        );
        self.peers.extend([one, other]);
        self.lead_to_all();
    }

    /// Asks all of them but the first one to end, in turn.
    pub async fn stop_replicas(&mut self) {
        self.load().point_at(&[self.entrance()]);
        while self.has_peer() {
            let status = self.stop_peer().await;
            self.expect("a replica ends with 0", status.code() == Some(0));
        }
    }

    /// Where each daemon takes posts.
    pub fn entrances(&self) -> Vec<SocketAddr> {
        let peers = self.peers.iter().map(|peer| peer.address());
        std::iter::once(self.entrance()).chain(peers).collect()
    }

    /// The load goes past the first daemon, as a proxy in front of them would lead it.
    pub fn lead_past_the_first(&self) {
        self.load().point_at(&self.entrances()[1..]);
    }

    /// A counter of each daemon.
    pub async fn counts(&self, counter: &str) -> Vec<f64> {
        let mut counts = Vec::new();
        for daemon in self.daemon.iter().chain(&self.peers) {
            counts.push(daemon.metric(counter).await.unwrap_or(0.0));
        }
        counts
    }

    /// Its sum over all daemons.
    pub async fn counted(&self, counter: &str) -> f64 {
        self.counts(counter).await.iter().sum()
    }

    /// Who holds the readers, when each of them is held.
    pub async fn holders(&self) -> Holders {
        let mut connection = PgConnection::connect(&self.store().url).await.unwrap();
        eventually("each reader is held", WITHIN, async || {
            let holders = held(&mut connection).await;
            (holders.len() == READERS).then_some(holders)
        })
        .await
    }

    /// Waits until every reader is another session's than before, and another daemon relays; whether that came, and
    /// states how soon it has to.
    pub async fn taken_over(&mut self, before: &Holders, since: Instant) -> bool {
        let mut connection = PgConnection::connect(&self.store().url).await.unwrap();
        let deadline = since + PATIENCE;
        let mut took = None;
        while took.is_none() && Instant::now() < deadline {
            let holders = held(&mut connection).await;
            let others = before
                .iter()
                .all(|(lock, pid)| holders.get(lock).is_some_and(|holder| holder != pid));
            if others && self.a_peer_relays().await {
                took = Some(since.elapsed());
            } else {
                sleep(Duration::from_millis(20)).await;
            }
        }
        self.figure(match took {
            Some(took) => format!("taken over after {:.1} s", took.as_secs_f64()),
            None => format!("not taken over within {PATIENCE:?}"),
        });
        let soon = took.is_some_and(|took| took < TAKEN_OVER);
        self.expect(SOON_TAKEN_OVER, soon);
        took.is_some()
    }

    async fn a_peer_relays(&self) -> bool {
        for peer in &self.peers {
            if peer.metric(RELAYS).await == Some(1.0) {
                return true;
            }
        }
        false
    }

    /// Waits until the first daemon knows that it relays no more.
    pub async fn relays_no_more(&self) {
        self.becomes(RELAYS, 0.0).await;
    }
}

async fn held(connection: &mut PgConnection) -> Holders {
    let holders = sqlx::query_as::<_, (i64, i32)>(HOLDERS);
    let holders = holders.fetch_all(connection).await.unwrap();
    holders.into_iter().collect()
}
