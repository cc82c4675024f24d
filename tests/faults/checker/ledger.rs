//! I11 and I12: nothing is left over, and everything adds up.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::super::records::{self, Life, SCRAPES, Scrape};
use super::load::Run;
use super::{Counts, Findings, Invariant};

/// The age of what waits longest for the relay.
const OLDEST: &str = "hookwell_backlog_oldest_seconds";

pub fn judge(folder: &Path, run: &Run, counts: &Counts, findings: &mut Findings) -> io::Result<()> {
    drain(run, findings);
    log(run, counts, findings);
    gauges(run, findings);
    never_fall(folder, findings)?;
    let lives = &run.end.lives;
    if lives.is_empty() || lives.iter().any(|life| !life.at_rest) {
        // What a killed process had counted last is not known.
        return Ok(());
    }
    counters(run, counts, findings);
    Ok(())
}

fn drain(run: &Run, findings: &mut Findings) {
    let last_fault = run.faults.iter().map(|fault| fault.to).max().unwrap_or(0);
    let last_post = run.events.iter().map(|event| event.last_recv).max();
    let due = last_fault.max(last_post.unwrap_or(0)) + run.plan.drain_us;
    let pending = run.end.head - run.end.cursor;
    match run.end.drained_at {
        Some(at) if at <= due && pending == 0 => (),
        Some(at) if pending == 0 => findings.violated(Invariant::Drain, || {
            format!("drained {} ms too late", (at - due) / 1000)
        }),
        _ => findings.violated(Invariant::Drain, || format!("{pending} events are pending")),
    }
    // Where a daemon looked at a log in which nothing waits, it does not say that something does.
    let at_rest = run.end.lives.iter().rev().find(|life| life.at_rest);
    if let Some(life) = at_rest.filter(|_| pending == 0) {
        match life.metrics.get(OLDEST) {
            Some(0.0) => (),
            shown => findings.violated(Invariant::Drain, || {
                format!("nothing waits, and {OLDEST} is {shown:?}")
            }),
        }
    }
    for letter in run
        .end
        .dead_letters
        .iter()
        .filter(|letter| letter.state == "retry")
    {
        findings.violated(Invariant::Drain, || {
            format!("position {} waits to be published again", letter.position)
        });
    }
}

fn equal(findings: &mut Findings, what: &str, one: f64, other: f64) {
    if one != other {
        findings.violated(Invariant::Conservation, || {
            format!("{what}: {one} and {other}")
        });
    }
}

fn between(findings: &mut Findings, what: &str, low: f64, value: f64, high: f64) {
    if value < low || high < value {
        findings.violated(Invariant::Conservation, || {
            format!("{what}: {value}, not from {low} to {high}")
        });
    }
}

/// The tables among each other, and against what arrived.
fn log(run: &Run, counts: &Counts, findings: &mut Findings) {
    let end = &run.end;
    if run.dumped {
        equal(
            findings,
            "head and rows",
            end.head as f64,
            counts.rows as f64,
        );
    }
    let parked = end.dead_letters.len() as f64;
    let published = end.published as f64;
    equal(
        findings,
        "cursor and published + parked",
        end.cursor as f64,
        published + parked,
    );
    for (number, wanted) in run.plan.wanted.iter().enumerate() {
        let everything = wanted.bind.iter().any(|pattern| pattern == "#");
        // Parked events may have reached a queue before another one refused them.
        if everything && run.end.dead_letters.is_empty() && !run.plan.replays {
            let came = run.all().filter(|(index, _)| run.came(*index, number));
            let what = format!("published and arrived in {}", wanted.queues.join("|"));
            equal(findings, &what, published, came.count() as f64);
        }
    }
}

/// What the last daemon shows, against the tables.
fn gauges(run: &Run, findings: &mut Findings) {
    let end = &run.end;
    let Some(life) = end.lives.iter().rev().find(|life| life.at_rest) else {
        findings.undecided(Invariant::Conservation, "no scrape at rest");
        return;
    };
    let pending = (end.head - end.cursor) as f64;
    let parked = end.dead_letters.len() as f64;
    for (name, expected) in [
        (
            "hookwell_ledger_events{state=\"accepted\"}",
            end.head as f64,
        ),
        (
            "hookwell_ledger_events{state=\"published\"}",
            end.published as f64,
        ),
        ("hookwell_ledger_events{state=\"pending\"}", pending),
        ("hookwell_ledger_events{state=\"parked\"}", parked),
        ("hookwell_ledger_mismatch_events", 0.0),
        ("hookwell_backlog_events", pending),
        ("hookwell_quarantine_entries", end.quarantined as f64),
    ] {
        match life.metrics.get(name) {
            Some(shown) => equal(findings, name, *shown, expected),
            None => findings.violated(Invariant::Conservation, || format!("{name} is not shown")),
        }
    }
}

/// Sums of series over all processes.
struct Sums<'a>(&'a [Life]);

impl Sums<'_> {
    fn of(&self, name: &str) -> f64 {
        let own = |series: &str| {
            let rest = series.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let series = self.0.iter().flat_map(|life| &life.metrics);
        series
            .filter(|(series, _)| own(series))
            .map(|(_, value)| value)
            .sum()
    }
}

/// What the daemons counted, among each other and against what the generator saw.
fn counters(run: &Run, counts: &Counts, findings: &mut Findings) {
    let sums = Sums(&run.end.lives);
    let accepted = sums.of("hookwell_events_accepted_total");
    let outcome = |name: &str| {
        sums.of(&format!(
            "hookwell_events_accepted_total{{outcome=\"{name}\"}}"
        ))
    };
    let pages: usize = run.end.pages.values().sum();
    let stored = outcome("new") + outcome("altered");
    equal(
        findings,
        "answers and accepted + refused",
        sums.of("hookwell_http_responses_total") - pages as f64,
        accepted + sums.of("hookwell_refused_total"),
    );
    let unanswered = run.unanswered as f64;
    // Committed without a 2xx to anybody: the sender had hung up, or the commit came too late.
    let refused_late = run.answers.get(&429).copied().unwrap_or(0) as f64;
    if !run.plan.other_clients {
        // What the daemon appended itself was posted by nobody.
        let rows = (counts.rows - counts.answers) as f64;
        if run.dumped {
            let hidden = unanswered + refused_late;
            between(findings, "new + altered", rows - hidden, stored, rows);
        }
        for (code, seen) in &run.answers {
            let name = format!("hookwell_http_responses_total{{code=\"{code}\"}}");
            let pages = run.end.pages.get(code).copied().unwrap_or(0);
            let seen = (*seen + pages) as f64;
            between(findings, &name, seen, sums.of(&name), seen + unanswered);
        }
    }
    if accepted < counts.acked as f64 {
        findings.violated(Invariant::Conservation, || {
            format!("{accepted} accepted and {} answered 2xx", counts.acked)
        });
    }
    let confirmed = sums.of("hookwell_publish_outcomes_total{outcome=\"confirmed\"}");
    if confirmed < run.end.published as f64 {
        findings.violated(Invariant::Conservation, || {
            format!("{confirmed} confirms, {} published", run.end.published)
        });
    }
}

/// A counter belongs to one process and only grows.
fn never_fall(folder: &Path, findings: &mut Findings) -> io::Result<()> {
    let mut last: BTreeMap<usize, BTreeMap<String, f64>> = BTreeMap::new();
    records::each(&folder.join(SCRAPES), |scrape: Scrape| {
        let counters = scrape.metrics.into_iter().filter(|(series, _)| {
            let name = series.split('{').next().unwrap_or_default();
            ["_total", "_count", "_bucket"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        let before = last.entry(scrape.life).or_default();
        for (series, value) in counters {
            if before.get(&series).is_some_and(|before| value < *before) {
                findings.violated(Invariant::Conservation, || {
                    format!("{series} fell to {value}")
                });
            }
            before.insert(series, value);
        }
    })
}
