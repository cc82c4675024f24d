//! Three nodes of RabbitMQ and a queue with a member on each (rows F-16).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::broker::CONNECTED;
use crate::harness::daemon::ALL;
use crate::lab::cluster::TICK;
use crate::lab::{Lab, Outcome, Run, Setup, WITHIN};
use crate::records::FaultKind;

/// For an election, a new connection of daemon and sink, and the arrival of what waited meanwhile, on a
/// machine that is busy.
const ELECTION: Duration = Duration::from_secs(10);

/// The daemon's longest wait between two attempts.
const RETRY: Duration = Duration::from_secs(10);

/// Three nodes leave less of two processors to everybody else.
const RATE: f64 = 100.0;

fn set_up(lab: &Lab) -> Setup<'_> {
    let setup = lab.setup().own_cluster();
    setup.load(|load| load.rate = RATE)
}

/// How the daemon stands to the node that leads the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Daemon {
    /// It is connected to that node.
    AtTheLeader,
    /// It is connected to another one, which passes on what it publishes.
    Elsewhere,
}

impl Daemon {
    fn in_turn(cycle: usize) -> Self {
        match cycle % 2 {
            0 => Self::AtTheLeader,
            _ => Self::Elsewhere,
        }
    }

    /// The node that leads the queue, once the daemon stands so to it.
    async fn and_leader(self, run: &Run) -> usize {
        let leader = run.leader(ALL, 0).await;
        match self {
            Self::AtTheLeader => run.move_daemon(leader).await,
            Self::Elsewhere if run.daemon_is_at().await == leader => {
                run.move_daemon((leader + 1) % 3).await;
            }
            Self::Elsewhere => (),
        }
        leader
    }
}

/// Waits until messages arrive again after something that began then, and states how soon they have to.
async fn arrives_again(run: &mut Run, since: Instant, what: &str, within: Duration) {
    run.arrived(200).await;
    let took = since.elapsed();
    run.expect(
        &format!("messages again within {within:?} after {what}, not {took:?}"),
        took <= within,
    );
    run.figure(format!("{what}: {} ms", took.as_millis()));
}

fn opened(run: &Run) -> u64 {
    run.broker()
        .lines()
        .map(|line| line.counters().opened)
        .sum()
}

/// F-16: the node that leads the queue is killed and comes back, and the next one.
pub async fn leader_killed(lab: Lab) -> Outcome {
    let mut run = set_up(&lab).start().await;
    run.arrived(400).await;
    for cycle in 0..lab.times(2, 20) {
        let daemon = Daemon::in_turn(cycle);
        run.fault(FaultKind::Broker, "kill -9 of the leader", async |run| {
            let leader = daemon.and_leader(run).await;
            let (since, before) = (Instant::now(), opened(run));
            run.broker().node(leader).server.kill9();
            match daemon {
                Daemon::AtTheLeader => {
                    arrives_again(run, since, "the daemon's node killed", ELECTION).await;
                }
                Daemon::Elsewhere => {
                    arrives_again(run, since, "another node killed", ELECTION).await;
                    let stands = opened(run) == before;
                    run.expect("an election costs no connection", stands);
                }
            }
            run.broker().node(leader).server.restart().await;
            run.leader(ALL, leader).await;
        })
        .await;
        run.arrived(200).await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// F-16 with three daemons on one Postgres: the node that leads the queue and the daemon that reads the log are
/// killed at once. Another daemon reads, and publishes through another node.
pub async fn leader_and_reader_killed(lab: Lab) -> Outcome {
    let mut run = set_up(&lab).start().await;
    run.arrived(400).await;
    for cycle in 0..lab.times(2, 10) {
        // Alone, so that it stays the reader when its connection goes to another node.
        let leader = Daemon::in_turn(cycle).and_leader(&run).await;
        run.start_replicas().await;
        run.more(100).await;
        run.fault(
            FaultKind::Broker,
            "kill -9 of the leader and of the reader",
            async |run| {
                let before = run.holders().await;
                run.lead_past_the_first();
                let since = Instant::now();
                run.broker().node(leader).server.kill9();
                run.kill_daemon().await;
                run.taken_over(&before, since).await;
                arrives_again(run, since, "leader and reader killed", ELECTION).await;
                run.broker().node(leader).server.restart().await;
                run.leader(ALL, leader).await;
                run.start_daemon().await;
            },
        )
        .await;
        run.more(200).await;
        run.stop_replicas().await;
    }
    run.judge().await
}

/// F-16: the node that leads the queue is cut off from the other two, which elect another leader. It stops
/// by itself when it notices; until then it takes what a daemon publishes there, and confirms nothing.
pub async fn leader_cut_off(lab: Lab) -> Outcome {
    let mut run = set_up(&lab).start().await;
    run.arrived(400).await;
    for cycle in 0..lab.times(2, 10) {
        let daemon = Daemon::in_turn(cycle);
        run.fault(FaultKind::Broker, "the leader is cut off", async |run| {
            let leader = daemon.and_leader(run).await;
            let since = Instant::now();
            let lost = run.broker().cut_off(leader);
            let what = match daemon {
                Daemon::AtTheLeader => "the daemon's node cut off",
                Daemon::Elsewhere => "another node cut off",
            };
            // Whoever is connected to it has to wait until it stops.
            arrives_again(run, since, what, TICK * 5 / 4 + ELECTION).await;
            drop(lost);
            // It mostly comes back by itself; once it had not after 90 s, and that would test the broker.
            run.broker().node(leader).server.restart().await;
            run.leader(ALL, (leader + 1) % 3).await;
        })
        .await;
        run.arrived(200).await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// F-16: two of three nodes are killed. The third one takes nothing on its own; everything waits in the log.
pub async fn majority_killed(lab: Lab) -> Outcome {
    let mut run = set_up(&lab).start().await;
    run.arrived(400).await;
    for _ in 0..lab.times(1, 5) {
        run.fault(FaultKind::Broker, "kill -9 of two nodes", async |run| {
            let leader = run.leader(ALL, 0).await;
            let other = (leader + 1) % 3;
            for node in [leader, other] {
                run.broker().node(node).server.kill9();
            }
            run.becomes(CONNECTED, 0.0).await;
            // What was on its way has come.
            sleep(Duration::from_secs(1)).await;
            let before = run.sink().seen();
            run.more(500).await;
            let arrived = run.sink().seen() - before;
            run.expect(
                &format!("nothing arrives from a minority, not {arrived}"),
                arrived == 0,
            );
            run.broker().node(other).server.restart().await;
            let since = Instant::now();
            run.sink().wait_for(before + 500, WITHIN).await;
            arrives_again(run, since, "a majority again", RETRY + ELECTION).await;
            run.broker().node(leader).server.restart().await;
            run.leader(ALL, leader).await;
        })
        .await;
        run.arrived(200).await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}
