//! I4 and I10 from the generator's side: which posts were answered how, and how soon.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::super::records::{self, ATTEMPTS, Attempt, Class, Fault, FaultKind, NO_ANSWER};
use super::load::{Event, Index, NEVER, Run, matches, unhex};
use super::{Counts, Findings, Invariant};

pub fn judge(
    folder: &Path,
    run: &mut Run,
    counts: &mut Counts,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut keys: HashMap<String, u32> = HashMap::new();
    let mut routes: HashMap<String, (u32, u32)> = HashMap::new();
    records::each(&folder.join(ATTEMPTS), |attempt: Attempt| {
        counts.attempts += 1;
        match attempt.status {
            Some(status) => *run.answers.entry(status).or_default() += 1,
            None => run.unanswered += 1,
        }
        if attempt.class == Class::Signed {
            signed(&attempt, findings);
        } else {
            refused(&attempt, findings);
        }
        in_time(run, &attempt, findings);
        let index = event_of(run, &mut keys, &mut routes, &attempt);
        note(&mut run.events[index as usize], &attempt);
    })?;
    for event in run.events.iter().filter(|event| event.signed) {
        counts.acked += usize::from(event.first_ok != NEVER);
        counts.unknown += usize::from(event.first_ok == NEVER && event.unknown);
    }
    Ok(())
}

fn signed(attempt: &Attempt, findings: &mut Findings) {
    if let Some(status @ 400..=499) = attempt.status
        && status != 429
    {
        findings.violated(Invariant::HonestAnswers, || {
            format!("{} was answered {status}", attempt.id)
        });
    }
}

/// Also for what has to be refused: it must not hold a connection either.
fn in_time(run: &Run, attempt: &Attempt, findings: &mut Findings) {
    let took = attempt.t_recv.saturating_sub(attempt.t_send);
    let late = run.plan.deadline_us < took || attempt.error.as_deref() == Some(NO_ANSWER);
    if !late {
        return;
    }
    // Nobody can answer through such a fault.
    let hidden = |fault: &Fault| fault.from <= attempt.t_recv && attempt.t_send <= fault.to;
    if run
        .faults_of(&[FaultKind::Client, FaultKind::DaemonFreeze])
        .any(hidden)
    {
        return;
    }
    findings.violated(Invariant::HonestAnswers, || {
        format!("{} had no answer for {} ms", attempt.id, took / 1000)
    });
}

fn refused(attempt: &Attempt, findings: &mut Findings) {
    if let Some(status) = attempt.status
        && status / 100 != 4
    {
        findings.violated(Invariant::NobodyGetsIn, || {
            format!("{} ({:?}) was answered {status}", attempt.id, attempt.class)
        });
    }
}

fn event_of(
    run: &mut Run,
    keys: &mut HashMap<String, u32>,
    routes: &mut HashMap<String, (u32, u32)>,
    attempt: &Attempt,
) -> Index {
    // Bytes without a hash would be a defect of the generator; they are told apart by their id.
    let hash = unhex(&attempt.sha256).unwrap_or_default();
    if let Some(index) = run.by_hash.get(&hash) {
        return *index;
    }
    let key = match keys.get(&attempt.key) {
        Some(key) => *key,
        None => {
            run.keys.push(attempt.key.clone());
            let key = u32::try_from(keys.len()).unwrap();
            keys.insert(attempt.key.clone(), key);
            key
        }
    };
    let (wanted, calls) = match &attempt.routing_key {
        None => (everywhere(run), 0),
        Some(route) => *routes
            .entry(route.clone())
            .or_insert_with(|| (wanted(run, route), calls(run, route))),
    };
    let index = Index::try_from(run.events.len()).unwrap();
    run.events.push(Event {
        id: attempt.id.as_str().into(),
        key,
        kseq: attempt.kseq,
        signed: false,
        first_send: NEVER,
        first_ok: NEVER,
        last_recv: 0,
        unknown: false,
        wanted,
        calls,
        own: false,
        absent_at: 0,
        position: 0,
        seen: false,
    });
    run.by_hash.insert(hash, index);
    run.by_id.entry(attempt.id.as_str().into()).or_insert(index);
    index
}

fn wanted(run: &Run, route: &str) -> u32 {
    (0..)
        .zip(&run.plan.wanted)
        .filter(|(_, wanted)| wanted.bind.iter().any(|pattern| matches(pattern, route)))
        .fold(0, |bits, (number, _)| bits | 1_u32 << number)
}

fn calls(run: &Run, route: &str) -> u32 {
    (0..)
        .zip(run.rules())
        .filter(|(_, rule)| rule.bind.iter().any(|pattern| matches(pattern, route)))
        .fold(0, |bits, (number, _)| bits | 1_u32 << number)
}

/// Where no routing key is known: wherever everything goes.
pub fn everywhere(run: &Run) -> u32 {
    (0..)
        .zip(&run.plan.wanted)
        .filter(|(_, wanted)| wanted.bind.iter().any(|pattern| pattern == "#"))
        .fold(0, |bits, (number, _)| bits | 1_u32 << number)
}

fn note(event: &mut Event, attempt: &Attempt) {
    event.last_recv = event.last_recv.max(attempt.t_recv);
    if attempt.class != Class::Signed {
        return;
    }
    event.signed = true;
    event.first_send = event.first_send.min(attempt.t_send);
    match attempt.status {
        Some(200..=299) => event.first_ok = event.first_ok.min(attempt.t_recv),
        Some(_) => (),
        None => event.unknown = true,
    }
}
