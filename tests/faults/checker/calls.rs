//! I15: each call that an event calls for is written down once, made at least once, and made again only where
//! nobody could know what had become of it; never before its event is stored.
//!
//! What was made is known from the journal of the GHL that was called, and nothing else: a request that it
//! answered 2xx, or whose connection it ended, has had its effect.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use super::super::records::calls::{API, CALLS, Call, REPORT, Report, Request};
use super::super::records::{self, FaultKind};
use super::load::{Index, NEVER, Run};
use super::{Counts, Findings, Invariant, own};

/// The daemon's own rules, which are not of the plan.
const BUILT_IN: &str = "hookwell.";

/// Requests by rule and event, in the order of their arrival.
type Made = HashMap<(usize, Index), Vec<Request>>;

pub fn judge(
    folder: &Path,
    run: &Run,
    counts: &mut Counts,
    findings: &mut Findings,
) -> io::Result<()> {
    if run.plan.follow_ups.is_none() || !run.dumped {
        findings.undecided(Invariant::EachCallMade, "no follow-ups");
        return Ok(());
    }
    let Some(made) = made(folder, run, counts, findings)? else {
        findings.undecided(Invariant::EachCallMade, "the journal is not whole");
        return Ok(());
    };
    let mut calls: BTreeMap<i64, Call> = BTreeMap::new();
    records::each(&folder.join(CALLS), |call: Call| {
        calls.insert(call.id, call);
    })?;
    let mut written: HashMap<(usize, Index), &Call> = HashMap::new();
    for call in calls.values() {
        let Some(place) = place(run, call) else {
            if !call.rule.starts_with(BUILT_IN) {
                broken(findings, || {
                    format!("{} is called for by nobody", shown(call))
                });
            }
            settled(run, call, findings);
            continue;
        };
        counts.calls += 1;
        if written.insert(place, call).is_some() {
            broken(findings, || {
                format!("{} is written down twice", shown(call))
            });
        }
        ended(run, call, place, &calls, &made, findings);
    }
    for (index, event) in run.all().filter(|(_, event)| event.position != 0) {
        for (number, rule) in run.rules().iter().enumerate() {
            let called = event.calls & (1_u32 << number) != 0;
            if called && !written.contains_key(&(number, index)) {
                broken(findings, || {
                    format!(
                        "{} of {} was never written down",
                        rule.name,
                        run.name(index)
                    )
                });
            }
        }
    }
    for (place, requests) in &made {
        repeated(run, *place, requests, findings);
        too_early(run, *place, requests, findings);
    }
    Ok(())
}

fn broken(findings: &mut Findings, example: impl FnOnce() -> String) {
    findings.violated(Invariant::EachCallMade, example);
}

fn shown(call: &Call) -> String {
    format!("call {} ({} of {})", call.id, call.rule, call.position)
}

/// What the journal has of the plan's rules; nothing where it is not whole.
fn made(
    folder: &Path,
    run: &Run,
    counts: &mut Counts,
    findings: &mut Findings,
) -> io::Result<Option<Made>> {
    let report: Report = records::read(&folder.join(REPORT)).unwrap_or_default();
    let (mut made, mut all) = (Made::new(), 0);
    let mut strangers = Vec::new();
    records::each(&folder.join(API), |request: Request| {
        all += 1;
        let Some(name) = request.argument("rule") else {
            return;
        };
        counts.requests += 1;
        let number = run.rules().iter().position(|rule| rule.name == name);
        let of = request.argument("for").unwrap_or_default();
        let index = run.by_id.get(of).copied();
        let called = |(number, index): (usize, Index)| {
            run.event(index).calls & (1_u32 << number) != 0 && run.event(index).position != 0
        };
        match number.zip(index).filter(|place| called(*place)) {
            Some(place) => made.entry(place).or_default().push(request),
            None => strangers.push(format!("{} {} for {of}", request.method, request.path)),
        }
    })?;
    for stranger in strangers {
        broken(findings, || format!("{stranger} was called for by nobody"));
    }
    Ok((report.requests == all).then_some(made))
}

/// The plan's rule and the event of a call.
fn place(run: &Run, call: &Call) -> Option<(usize, Index)> {
    let number = (run.rules().iter()).position(|rule| rule.name == call.rule)?;
    let index = *run.by_position.get(&call.position)?;
    (run.event(index).calls & (1_u32 << number) != 0).then_some((number, index))
}

/// That a call waits for nothing any more, and is not parked without a reason of the run.
fn settled(run: &Run, call: &Call, findings: &mut Findings) {
    let plan = run.plan.follow_ups.as_ref().expect("looked at before");
    let reason = call.reason.as_deref().unwrap_or_default();
    let good = match call.state.as_str() {
        "done" | "merged" => true,
        "dead" => plan.parked.iter().any(|allowed| allowed == reason),
        "cancelled" => plan.uninstalls,
        _ => false,
    };
    if !good {
        broken(findings, || {
            format!("{} is {} ({reason})", shown(call), call.state)
        });
    }
}

/// That it came to the end that is written down.
fn ended(
    run: &Run,
    call: &Call,
    place: (usize, Index),
    calls: &BTreeMap<i64, Call>,
    made: &Made,
    findings: &mut Findings,
) {
    settled(run, call, findings);
    let rule = &run.rules()[place.0];
    let of = |place: &(usize, Index)| made.get(place).map_or(&[][..], Vec::as_slice);
    match call.state.as_str() {
        "done" => {
            if !of(&place).iter().any(Request::succeeded) {
                broken(findings, || {
                    format!("{} is done and was never made", shown(call))
                });
            }
            let answer = own::key(&rule.name, call.position);
            if rule.publishes && !run.by_id.contains_key(answer.as_str()) {
                broken(findings, || {
                    format!("{} is done and its answer is not in the log", shown(call))
                });
            }
        }
        "merged" => {
            let into = call
                .reason
                .as_deref()
                .and_then(|reason| reason.strip_prefix("into "));
            let into = into.and_then(|id| calls.get(&id.parse().ok()?));
            let same = into.filter(|into| {
                (&into.rule, &into.tenant, &into.entity) == (&call.rule, &call.tenant, &call.entity)
            });
            let last = same.and_then(|into| {
                let requests = of(&self::place(run, into)?);
                Some((
                    into.state.as_str(),
                    requests.last().map_or(0, |last| last.t),
                ))
            });
            let covered = match last {
                // The call has to see what this event brought.
                Some(("done", at)) => run.event(place.1).first_send <= at,
                other => other.is_some(),
            };
            if !covered {
                broken(findings, || {
                    format!(
                        "{} was merged into a call that does not cover it",
                        shown(call)
                    )
                });
            }
        }
        _ => (),
    }
}

/// On a busy machine a request is read from its socket as much as this after the end of who sent it, in µs: less than any
/// daemon needs from its start to its first call.
const READ_LATE_US: u64 = 200_000;

/// What had its effect is made again only where nobody could know, and never where it may not be.
fn repeated(run: &Run, place: (usize, Index), requests: &[Request], findings: &mut Findings) {
    let plan = run.plan.follow_ups.as_ref().expect("looked at before");
    let rule = &run.rules()[place.0];
    let effects = requests.iter();
    let effects: Vec<_> = effects
        .filter(|one| one.succeeded() || one.status.is_none())
        .collect();
    for pair in effects.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let killed = run
            .kills()
            .any(|at| before.t <= at + READ_LATE_US && at <= after.t);
        let stores = run.faults_of(&[FaultKind::Store]);
        let unwritten = stores
            .into_iter()
            .any(|one| before.t <= one.to && one.from <= after.t);
        let unknown = killed || unwritten || before.answer_was_lost(plan.timeout_us);
        if unknown && rule.idempotent {
            continue;
        }
        broken(findings, || {
            let why = match rule.idempotent {
                true => "though its answer had come",
                false => "though it may not be",
            };
            let name = run.name(place.1);
            format!(
                "{} of {name} was made again at {} {why}",
                rule.name, after.t
            )
        });
    }
}

/// Nothing is called for before the event is stored, nor before it was sent.
fn too_early(run: &Run, place: (usize, Index), requests: &[Request], findings: &mut Findings) {
    let event = run.event(place.1);
    let stored = event.absent_at.max(match event.first_send {
        NEVER => 0,
        sent => sent,
    });
    if let Some(early) = requests.iter().find(|request| request.t < stored) {
        broken(findings, || {
            let (rule, name) = (&run.rules()[place.0].name, run.name(place.1));
            format!(
                "{rule} of {name} was made at {}, and the event is not stored at {stored}",
                early.t
            )
        });
    }
}
