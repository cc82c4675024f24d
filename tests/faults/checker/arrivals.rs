//! What arrived: I1, I2 and I4 at the consumers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::Path;

use super::super::records::{self, Delivered, SINK};
use super::load::{First, Index, NEVER, Queue, Quick, Run, unhex};
use super::{Counts, Findings, Invariant};

/// What the daemon calls it.
const UNROUTABLE: &str = "unroutable";

pub fn judge(
    folder: &Path,
    run: &mut Run,
    counts: &mut Counts,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut queues: HashMap<String, usize> = HashMap::new();
    // Copies not marked as redelivered, by queue and event.
    let mut unmarked: Vec<HashMap<Index, u32, Quick>> = Vec::new();
    records::each(&folder.join(SINK), |delivered: Delivered| {
        let Some(index) = identify(run, &delivered, findings) else {
            counts.unexpected += 1;
            return;
        };
        let number = match queues.get(&delivered.queue) {
            Some(number) => *number,
            None => {
                queues.insert(delivered.queue.clone(), run.queues.len());
                run.queues.push(Queue {
                    name: delivered.queue.clone(),
                    ..Queue::default()
                });
                unmarked.push(HashMap::default());
                run.queues.len() - 1
            }
        };
        let event = &mut run.events[index as usize];
        if event.signed && !event.seen {
            counts.seen += 1;
        }
        event.seen = true;
        if !event.signed {
            counts.unexpected += 1;
            findings.violated(Invariant::NobodyGetsIn, || {
                format!("{} arrived", run.name(index))
            });
            return;
        }
        if !delivered.redelivered {
            *unmarked[number].entry(index).or_default() += 1;
        }
        note(run, number, index, &delivered, findings);
    })?;
    for (queue, unmarked) in run.queues.iter_mut().zip(unmarked) {
        queue.copies = unmarked
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .collect();
    }
    losses(run, counts, findings);
    Ok(())
}

/// Which event it is; none where nobody sent it or it was altered.
fn identify(run: &Run, delivered: &Delivered, findings: &mut Findings) -> Option<Index> {
    let hash = unhex(&delivered.sha256);
    let known = hash.and_then(|hash| Some((hash, *run.by_hash.get(&hash)?)));
    let Some((hash, index)) = known else {
        let altered = run.by_id.contains_key(delivered.id.as_str());
        findings.violated(Invariant::NothingInvented, || match altered {
            true => format!("{} arrived altered", delivered.id),
            false => format!("{} was never sent", delivered.id),
        });
        return None;
    };
    if !run.is_id_of(index, &hash, &delivered.id) {
        findings.violated(Invariant::NothingInvented, || {
            format!("{} arrived as {}", run.name(index), delivered.id)
        });
        return None;
    }
    Some(index)
}

fn note(
    run: &mut Run,
    number: usize,
    index: Index,
    delivered: &Delivered,
    findings: &mut Findings,
) {
    let event = run.event(index);
    if run.dumped && event.position != delivered.position {
        let position = event.position;
        findings.violated(Invariant::NothingInvented, || {
            let name = run.name(index);
            match position {
                0 => format!("{name} arrived and is not in the log"),
                _ => format!(
                    "{name} arrived as position {}, it is {position}",
                    delivered.position
                ),
            }
        });
    }
    let takers = (0..)
        .zip(&run.plan.wanted)
        .filter(|(_, wanted)| wanted.queues.contains(&delivered.queue))
        .fold(0, |bits, (number, _)| bits | 1_u32 << number);
    if takers != 0 && takers & event.wanted == 0 {
        findings.violated(Invariant::NothingInvented, || {
            format!(
                "{} arrived in {}, which is not bound for it",
                run.name(index),
                delivered.queue
            )
        });
    }
    let queue = &mut run.queues[number];
    let place = u32::try_from(queue.firsts.len()).unwrap();
    if let Entry::Vacant(vacant) = queue.place.entry(index) {
        vacant.insert(place);
        queue.firsts.push(First {
            event: index,
            position: delivered.position,
            redelivered: delivered.redelivered,
            t: delivered.t,
        });
    }
}

fn losses(run: &Run, counts: &mut Counts, findings: &mut Findings) {
    for letter in &run.end.dead_letters {
        if !run.plan.parked.contains(&letter.reason) {
            findings.violated(Invariant::NoLoss, || {
                format!(
                    "position {} is parked ({}) for no reason of this run",
                    letter.position, letter.reason
                )
            });
        }
    }
    misattributed(run, findings);
    for (index, event) in run.all() {
        if !event.signed || event.first_ok == NEVER || run.parked.contains_key(&event.position) {
            continue;
        }
        let missing = (0..run.plan.wanted.len())
            .filter(|number| event.wanted & (1_u32 << *number) != 0)
            .find(|number| !run.came(index, *number));
        if let Some(number) = missing {
            counts.lost += 1;
            findings.violated(Invariant::NoLoss, || {
                let queues = run.plan.wanted[number].queues.join("|");
                format!("{} never came to {queues}", run.name(index))
            });
        }
    }
}

/// Where events without a queue are parked: those and no others are.
fn misattributed(run: &Run, findings: &mut Findings) {
    if !run.dumped || !run.plan.parked.iter().any(|reason| reason == UNROUTABLE) {
        return;
    }
    let came = |index| (run.queues.iter()).any(|queue| queue.place.contains_key(&index));
    for (index, event) in run.all() {
        let reason = run.parked.get(&event.position);
        let parked = reason.is_some_and(|reason| reason == UNROUTABLE);
        if event.position == 0 {
            continue;
        }
        if parked && came(index) && !run.plan.replays {
            findings.violated(Invariant::NoLoss, || {
                format!("{} is parked as unroutable, and came", run.name(index))
            });
        }
        if event.wanted == 0 && !parked && event.position <= run.end.cursor && !came(index) {
            findings.violated(Invariant::NoLoss, || {
                format!("{} counts as published, and is nowhere", run.name(index))
            });
        }
    }
}
