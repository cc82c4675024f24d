//! I6 and I7: the order of first copies, against real time and against the log.
//!
//! One exception is part of the promise: what the broker rejected (nacked, or returned) may come behind
//! what it took of the same window, which for a held tenant is as many events of its own.

use std::collections::HashMap;

use super::load::{First, Index, NEVER, Queue, Run};
use super::{Findings, Invariant};

pub fn judge(run: &Run, findings: &mut Findings) {
    for queue in &run.queues {
        let mut by_key: HashMap<u32, Vec<u32>> = HashMap::new();
        for (place, first) in (0..).zip(&queue.firsts) {
            let key = run.event(first.event).key;
            by_key.entry(key).or_default().push(place);
        }
        for places in by_key.values() {
            let own = Own::of(queue, places);
            real_time(run, queue, places, &own, findings);
            rising(run, queue, places, &own, findings);
        }
    }
    if run.dumped {
        gaps(run, findings);
    }
}

/// If the 2xx of `a` was read before `b` was first sent, then `a` comes first. Goes over the `b`s in the
/// order of their sending, with the latest arrival among all `a`s that were answered by then.
fn real_time(run: &Run, queue: &Queue, places: &[u32], own: &Own, findings: &mut Findings) {
    let event_at = |place: u32| run.event(queue.firsts[place as usize].event);
    let mut answered: Vec<u32> = places
        .iter()
        .copied()
        .filter(|place| event_at(*place).first_ok != NEVER && !first(queue, *place).redelivered)
        .collect();
    answered.sort_unstable_by_key(|place| event_at(*place).first_ok);
    let mut sent = places.to_vec();
    sent.sort_unstable_by_key(|place| event_at(*place).first_send);
    let mut answered = answered.into_iter().peekable();
    // What was never rejected has no excuse, and must not hide behind what has.
    let mut latest = [None; 2];
    for b in sent {
        while let Some(a) = answered.next_if(|a| event_at(*a).first_ok < event_at(b).first_send) {
            let rejected = run.rejected.contains(&first(queue, a).event);
            let latest = &mut latest[usize::from(rejected)];
            *latest = (*latest).max(Some(a));
        }
        for a in latest.into_iter().flatten().filter(|a| b < *a) {
            if excused(run, own, first(queue, a), first(queue, b)) {
                continue;
            }
            findings.violated(Invariant::RealTimeOrder, || {
                format!(
                    "{} came after {} in {}",
                    run.name(first(queue, a).event),
                    run.name(first(queue, b).event),
                    queue.name
                )
            });
        }
    }
}

/// Whether `late` may have come behind `early`, which is younger in the log.
fn excused(run: &Run, own: &Own, late: &First, early: &First) -> bool {
    run.rejected.contains(&late.event) && own.between(late, early) < run.plan.window
}

/// The positions of one key's events, as they stand in the log.
struct Own(Vec<i64>);

impl Own {
    fn of(queue: &Queue, places: &[u32]) -> Self {
        let positions = places.iter().map(|place| first(queue, *place).position);
        let mut positions: Vec<_> = positions.collect();
        positions.sort_unstable();
        Self(positions)
    }

    /// How many of them are between two, with one of the two.
    fn between(&self, late: &First, early: &First) -> u64 {
        let rank = |one: &First| self.0.partition_point(|position| *position < one.position) as u64;
        rank(early).saturating_sub(rank(late))
    }
}

fn first(queue: &Queue, place: u32) -> &First {
    &queue.firsts[place as usize]
}

/// `places` rise with arrival.
fn rising(run: &Run, queue: &Queue, places: &[u32], own: &Own, findings: &mut Findings) {
    let mut highest: Option<&First> = None;
    for place in places {
        let this = first(queue, *place);
        if let Some(before) = highest.filter(|before| this.position <= before.position) {
            if !this.redelivered && !excused(run, own, this, before) {
                findings.violated(Invariant::LogOrder, || {
                    format!(
                        "{} at position {} came after position {} in {}",
                        run.name(this.event),
                        this.position,
                        before.position,
                        queue.name
                    )
                });
            }
            continue;
        }
        highest = Some(this);
    }
}

/// Whatever is in the log and not parked came, answered or not.
fn gaps(run: &Run, findings: &mut Findings) {
    let skipped = |index: Index, wanted: u32| {
        (0..run.plan.wanted.len())
            .filter(|number| wanted & (1_u32 << *number) != 0)
            .any(|number| !run.came(index, number))
    };
    for (index, event) in run.all() {
        if event.signed
            && event.position != 0
            && event.position <= run.end.cursor
            && !run.parked.contains_key(&event.position)
            && skipped(index, event.wanted)
        {
            findings.violated(Invariant::LogOrder, || {
                format!(
                    "{} at position {} was skipped",
                    run.name(index),
                    event.position
                )
            });
        }
    }
}
