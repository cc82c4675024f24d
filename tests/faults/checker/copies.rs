//! I5, and what of I17 is about copies: how often an event was published, and whether that was inevitable.
//!
//! The bound holds with and without a record of the broker's connections. With one, each repeated publish
//! has to be explained: on one connection by a nack or a return, on a later one by lying within a window
//! of the highest position published when that connection was opened. A position further back had been
//! settled, because the next window is read only when the one before is settled.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use super::super::records::{self, BROKER, Ended, FaultKind, Life, Seen};
use super::load::{Index, Quick, Run};
use super::{Counts, Findings, Invariant};

pub fn judge(
    folder: &Path,
    run: &mut Run,
    counts: &mut Counts,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut wire = Wire::default();
    records::each(&folder.join(BROKER), |seen: Seen| {
        wire.take(run, seen, findings);
    })?;
    run.rejected = std::mem::take(&mut wire.rejected);
    let recorded = !wire.connections.is_empty();
    let losses = match recorded {
        true => wire.losses(),
        false => losses(run),
    };
    let window = usize::try_from(run.plan.window).unwrap();
    let each = window * losses + wire.refused;
    counts.allowed = each * run.queues.len();
    for queue in &run.queues {
        let surplus = queue.surplus();
        counts.duplicated += surplus;
        if run.plan.replays {
            continue;
        }
        if each < surplus {
            findings.violated(Invariant::OnlyInevitableCopies, || {
                format!(
                    "{surplus} surplus copies in {}, at most {each} are explained",
                    queue.name
                )
            });
        }
        for (index, copies) in queue.copies.iter().filter(|_| recorded) {
            let tries = wire.tries.get(index).copied().unwrap_or(0);
            if tries < *copies {
                findings.violated(Invariant::OnlyInevitableCopies, || {
                    format!(
                        "{copies} copies of {} in {} from {tries} publishes",
                        run.name(*index),
                        queue.name
                    )
                });
            }
        }
    }
    only_stops(run, counts, findings);
    if run.plan.replays {
        findings.undecided(
            Invariant::OnlyInevitableCopies,
            "events were published again on request",
        );
    }
    Ok(())
}

/// Where nothing but stops in order happened, there is no copy at all.
fn only_stops(run: &Run, counts: &Counts, findings: &mut Findings) {
    let stops = run
        .faults
        .iter()
        .all(|fault| fault.kind == FaultKind::DaemonStop);
    let stopped = run
        .end
        .lives
        .iter()
        .any(|life| life.ended == Ended::Stopped);
    if stops && stopped && counts.duplicated > 0 && !run.plan.replays {
        findings.violated(Invariant::CleanStop, || {
            format!(
                "{} copies though every stop was in order",
                counts.duplicated
            )
        });
    }
}

/// Connection losses and kills, as the daemons' counters and the log of faults know them.
fn losses(run: &Run) -> usize {
    let refusals = run.end.dead_letters.iter();
    let refusals = refusals.filter(|letter| letter.reason == "refused_by_broker");
    let counted: usize = run.end.lives.iter().map(losses_of).sum();
    let known = run
        .faults_of(&[
            FaultKind::Broker,
            FaultKind::DaemonKill,
            FaultKind::PowerCut,
        ])
        .count();
    // A scrape before a kill can be older than the last connection.
    counted.max(known) + refusals.count()
}

fn losses_of(life: &Life) -> usize {
    let opened = "hookwell_broker_connects_total{result=\"ok\"}";
    let opened = life.metrics.get(opened).copied().unwrap_or(0.0) as usize;
    match life.ended {
        Ended::Running | Ended::Stopped => opened.saturating_sub(1),
        Ended::Killed | Ended::Itself => opened.max(1),
    }
}

/// What the proxy saw, as far as it matters.
#[derive(Default)]
struct Wire {
    connections: BTreeMap<u64, Connection>,
    /// Forwarded publishes of each event.
    tries: HashMap<Index, u32, Quick>,
    /// Publishes that were nacked or returned: each may be in a queue all the same.
    refused: usize,
    /// The events of these publishes.
    rejected: HashSet<Index, Quick>,
    highest: i64,
    cuts: usize,
}

#[derive(Default)]
struct Connection {
    /// When it was first seen.
    opened: u64,
    /// The highest position published when it was opened.
    highest_before: i64,
    /// Published on it, and neither nacked nor returned.
    published: HashSet<Index, Quick>,
    channels: HashMap<u16, Channel>,
    /// Closed otherwise than by a stop in order.
    lost: bool,
    /// Closed by a stop that nothing disturbed: whatever was published on it is settled.
    stopped: bool,
}

/// How long after a process its connections may seem to be there, in microseconds.
const NOTICE: u64 = 1_000_000;

#[derive(Default)]
struct Channel {
    tags: u64,
    /// Without an outcome so far.
    open: BTreeMap<u64, Index>,
}

impl Wire {
    fn take(&mut self, run: &Run, seen: Seen, findings: &mut Findings) {
        self.forget_at_power_cuts(run, seen.t);
        let highest = self.highest;
        let connection = self
            .connections
            .entry(seen.conn)
            .or_insert_with(|| Connection {
                opened: seen.t,
                highest_before: highest,
                ..Connection::default()
            });
        let index = seen.id.as_deref().and_then(|id| run.by_id.get(id).copied());
        match (seen.what.as_str(), index) {
            ("publish", Some(index)) => {
                let channel = connection.channels.entry(seen.channel).or_default();
                channel.tags += 1;
                channel.open.insert(seen.tag.unwrap_or(channel.tags), index);
                // One that was refused, or never published, is no copy however late it comes: events of held
                // tenants wait behind the windows.
                let may_be_there =
                    self.tries.contains_key(&index) && !self.rejected.contains(&index);
                if seen.forwarded {
                    *self.tries.entry(index).or_default() += 1;
                }
                let position = run.event(index).position;
                self.highest = self.highest.max(position);
                let again = !connection.published.insert(index);
                if run.plan.replays {
                    return;
                }
                if again {
                    findings.violated(Invariant::OnlyInevitableCopies, || {
                        format!(
                            "{} was published twice on connection {}",
                            run.name(index),
                            seen.conn
                        )
                    });
                }
                let window = i64::try_from(run.plan.window).unwrap();
                let long_ago = position != 0 && position <= connection.highest_before - window;
                if long_ago && may_be_there {
                    findings.violated(Invariant::OnlyInevitableCopies, || {
                        format!(
                            "{} at position {position} was published on connection {}, which was opened when \
                             position {} had been published",
                            run.name(index),
                            seen.conn,
                            connection.highest_before
                        )
                    });
                }
                self.after_stops(run, index, findings);
            }
            ("publish", None) => {
                connection.channels.entry(seen.channel).or_default().tags += 1;
            }
            ("return", Some(index)) => {
                self.rejected.insert(index);
                self.refused += usize::from(connection.published.remove(&index));
            }
            ("ack" | "nack", _) => {
                let channel = connection.channels.entry(seen.channel).or_default();
                let tag = seen.tag.unwrap_or(0);
                let settled: Vec<u64> = match (seen.multiple, tag) {
                    (true, 0) => channel.open.keys().copied().collect(),
                    (true, upto) => channel.open.range(..=upto).map(|(tag, _)| *tag).collect(),
                    (false, one) => vec![one],
                };
                for tag in settled {
                    let Some(index) = channel.open.remove(&tag) else {
                        continue;
                    };
                    if seen.what == "nack" {
                        self.rejected.insert(index);
                        self.refused += usize::from(connection.published.remove(&index));
                    }
                }
            }
            ("channel-open", _) => {
                connection.channels.remove(&seen.channel);
            }
            ("close", _) => {
                let how = how_closed(run, connection.opened, seen.t);
                connection.lost = how == Closed::Lost;
                connection.stopped = how == Closed::Stopped;
                connection.channels.clear();
            }
            _ => (),
        }
    }

    /// SQLite's cursor may go back at a power cut: it becomes durable with the next append only.
    fn forget_at_power_cuts(&mut self, run: &Run, now: u64) {
        if run.plan.store != "sqlite" {
            return;
        }
        let cuts = run.faults_of(&[FaultKind::PowerCut]);
        let cuts = cuts.filter(|fault| fault.from <= now).count();
        if self.cuts < cuts {
            self.cuts = cuts;
            self.highest = 0;
        }
    }

    /// Connections that published and were lost.
    fn losses(&self) -> usize {
        let lost = |connection: &&Connection| connection.lost && !connection.published.is_empty();
        self.connections.values().filter(lost).count()
    }

    /// What a daemon published before a stop in order is not published again by anybody.
    fn after_stops(&self, run: &Run, index: Index, findings: &mut Findings) {
        let before = self.connections.values();
        let mut before = before.filter(|connection| connection.stopped);
        if before.any(|connection| connection.published.contains(&index)) {
            findings.violated(Invariant::CleanStop, || {
                format!("{} was published again after a stop", run.name(index))
            });
        }
    }
}

#[derive(PartialEq, Eq)]
enum Closed {
    Stopped,
    /// By a stop, while the broker was disturbed: confirms may be missing.
    Disturbed,
    Lost,
}

fn how_closed(run: &Run, opened: u64, at: u64) -> Closed {
    let stop = run.end.lives.iter().find(|life| {
        life.ended == Ended::Stopped
            && life.exit == Some(0)
            // One that was opened later is another process's, which may have died soon.
            && opened <= life.t_ended
            && (life.t_asked..=life.t_ended + NOTICE).contains(&at)
    });
    let Some(life) = stop else {
        return Closed::Lost;
    };
    let disturbed = run
        .faults_of(&[FaultKind::Broker, FaultKind::BrokerAlarm, FaultKind::Store])
        .any(|fault| fault.from <= life.t_ended + NOTICE && life.t_asked <= fault.to);
    match disturbed {
        true => Closed::Disturbed,
        false => Closed::Stopped,
    }
}
