//! I16, I17 and I18: what a daemon holds, how it stops, and whether blocked keys slow down the others.

use super::super::records::Ended;
use super::load::{Index, NEVER, Run};
use super::{Findings, Invariant};

/// Fewer samples have no 99th percentile.
const SAMPLES: usize = 200;
/// Below this a doubled delay is noise, in microseconds.
const NOISE: u64 = 50_000;

pub fn judge(run: &Run, findings: &mut Findings) {
    resources(run, findings);
    stops(run, findings);
    isolation(run, findings);
}

fn resources(run: &Run, findings: &mut Findings) {
    if let Some(peak) = &run.end.peak {
        for over in peak.over(&run.plan.limits) {
            findings.violated(Invariant::Bounded, || over);
        }
    }
    let (Some(before), Some(after)) = (&run.end.before, &run.end.after) else {
        findings.undecided(Invariant::Bounded, "no samples before and after");
        return;
    };
    for above in after.above(before) {
        findings.violated(Invariant::Bounded, || above);
    }
}

fn stops(run: &Run, findings: &mut Findings) {
    let mut stopped = false;
    for (number, life) in run.end.lives.iter().enumerate() {
        match life.ended {
            Ended::Running | Ended::Killed => (),
            Ended::Itself => findings.violated(Invariant::CleanStop, || {
                format!("daemon {number} ended by itself with {:?}", life.exit)
            }),
            Ended::Stopped => {
                stopped = true;
                let took = life.t_ended.saturating_sub(life.t_asked);
                if life.exit != Some(0) || run.plan.stop_us < took {
                    findings.violated(Invariant::CleanStop, || {
                        format!(
                            "daemon {number} ended with {:?} after {} ms",
                            life.exit,
                            took / 1000
                        )
                    });
                }
            }
        }
    }
    if !stopped {
        findings.undecided(Invariant::CleanStop, "no daemon was asked to end");
    }
}

/// The 99th percentile from 2xx to the consumer, of keys that are not blocked, before and during faults.
fn isolation(run: &Run, findings: &mut Findings) {
    if run.plan.blocked_keys.is_empty() {
        findings.undecided(Invariant::Isolation, "no key is blocked");
        return;
    }
    let Some(begin) = run.faults.iter().map(|fault| fault.from).min() else {
        findings.undecided(Invariant::Isolation, "no fault");
        return;
    };
    let under = |t: u64| {
        run.faults
            .iter()
            .any(|fault| (fault.from..=fault.to).contains(&t))
    };
    let blocked: Vec<bool> = run
        .keys
        .iter()
        .map(|key| run.plan.blocked_keys.contains(key))
        .collect();
    let arrived = |index: Index| {
        let places = run.queues.iter();
        let places =
            places.filter_map(|queue| Some(queue.firsts[*queue.place.get(&index)? as usize].t));
        places.max()
    };
    let (mut calm, mut faulty) = (Vec::new(), Vec::new());
    for (index, event) in run.all() {
        if !event.signed || event.first_ok == NEVER || blocked[event.key as usize] {
            continue;
        }
        // One that never came is the worst of all.
        let at = arrived(index).unwrap_or(NEVER);
        let delay = at.saturating_sub(event.first_ok);
        if event.first_ok < begin {
            calm.push(delay);
        } else if under(event.first_ok) {
            faulty.push(delay);
        }
    }
    if calm.len() < SAMPLES || faulty.len() < SAMPLES {
        findings.undecided(Invariant::Isolation, "too few events of other keys");
        return;
    }
    let (calm, faulty) = (percentile(&mut calm), percentile(&mut faulty));
    if (2 * calm).max(NOISE) < faulty {
        findings.violated(Invariant::Isolation, || {
            format!(
                "p99 of the other keys went from {} to {} ms",
                calm / 1000,
                faulty / 1000
            )
        });
    }
}

fn percentile(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    samples[samples.len() * 99 / 100]
}
