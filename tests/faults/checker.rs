//! Judges a run from its records alone: counts, and each invariant held, broken, or not decidable.
//!
//! Pure but for reading the folder. What is checked is what was promised to senders and consumers; how
//! hookwell does it is not known here. A post without an answer is neither a success nor a failure.
//!
//! A copy that the broker marks as redelivered may have been delivered before, to a connection that broke
//! before the sink read it; it counts neither as a surplus copy nor against the order.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use super::records::Plan;

mod answers;
mod arrivals;
mod bounds;
mod calls;
mod chains;
mod copies;
mod ledger;
mod load;
mod order;
mod own;
mod rows;
mod secrets;
mod turns;

use load::Run;

/// What is promised; the numbers are those of the list of invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// Everything answered 2xx arrives, or is parked for a reason that the run explains.
    NoLoss,
    /// Nothing arrives that was not sent, and nothing arrives altered.
    NothingInvented,
    /// What was answered 2xx is stored after a crash, before any retry.
    DurableBeforeAnswer,
    /// Nothing unsigned, forged or malformed is stored or arrives, and each was answered 4xx.
    NobodyGetsIn,
    /// No copies but those that a lost connection or a kill explains.
    OnlyInevitableCopies,
    /// What was answered before another event of its key was sent arrives before it.
    RealTimeOrder,
    /// First copies of a key come in the order of the log, without gaps.
    LogOrder,
    /// Once another connection has begun to publish, the one before it publishes nothing more.
    OnePublisher,
    /// One row for one event, however often it was posted; a row for each 2xx.
    IdempotentIngest,
    /// No 4xx but 429 for signed events; every post is answered or closed in time.
    HonestAnswers,
    /// Nothing is pending soon after the last fault.
    Drain,
    /// Counters, gauges, the log and what arrived add up.
    Conservation,
    /// No secret is in a log, a metric, a page, an error, what a command says, or in plain in the store.
    NoSecretLeaves,
    /// No refresh token is spent twice but where a crash or a lost answer explains it, and every chain goes on
    /// or waits for a person.
    SingleUse,
    /// Each call that an event calls for is made, after the event is stored, and again only where its outcome was
    /// not known and it may be.
    EachCallMade,
    /// Memory, files and connections stay bounded and come back.
    Bounded,
    /// A stop in order is quick, ends with 0 and costs no copies.
    CleanStop,
    /// Keys that are not blocked are not slowed down by those that are.
    Isolation,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::NoLoss,
        Self::NothingInvented,
        Self::DurableBeforeAnswer,
        Self::NobodyGetsIn,
        Self::OnlyInevitableCopies,
        Self::RealTimeOrder,
        Self::LogOrder,
        Self::OnePublisher,
        Self::IdempotentIngest,
        Self::HonestAnswers,
        Self::Drain,
        Self::Conservation,
        Self::NoSecretLeaves,
        Self::SingleUse,
        Self::EachCallMade,
        Self::Bounded,
        Self::CleanStop,
        Self::Isolation,
    ];

    fn number(self) -> u32 {
        match self {
            Self::NoLoss => 1,
            Self::NothingInvented => 2,
            Self::DurableBeforeAnswer => 3,
            Self::NobodyGetsIn => 4,
            Self::OnlyInevitableCopies => 5,
            Self::RealTimeOrder => 6,
            Self::LogOrder => 7,
            Self::OnePublisher => 8,
            Self::IdempotentIngest => 9,
            Self::HonestAnswers => 10,
            Self::Drain => 11,
            Self::Conservation => 12,
            Self::NoSecretLeaves => 13,
            Self::SingleUse => 14,
            Self::EachCallMade => 15,
            Self::Bounded => 16,
            Self::CleanStop => 17,
            Self::Isolation => 18,
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}", self.number())
    }
}

/// What became of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It held.
    Ok,
    /// The records do not decide it, and why.
    NotApplicable(String),
    /// It was broken so often, such as here.
    Violated(usize, Vec<String>),
}

/// The figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Posts.
    pub attempts: usize,
    /// Signed events that were answered 2xx.
    pub acked: usize,
    /// Signed events with an unknown outcome and no 2xx.
    pub unknown: usize,
    /// Rows of the log at the end.
    pub rows: usize,
    /// Different events that arrived.
    pub seen: usize,
    /// Answered 2xx, and neither arrived nor parked.
    pub lost: usize,
    /// Arrivals and rows that nobody sent, or that should not have come in.
    pub unexpected: usize,
    /// Stored though never answered 2xx: expected, and harmless.
    pub recovered: usize,
    /// Copies beyond the first, of all queues.
    pub duplicated: usize,
    /// How many of them lost connections and kills explain.
    pub allowed: usize,
    /// Pairs in the wrong order.
    pub order_violations: usize,
    /// Calls that events called for.
    pub calls: usize,
    /// Requests made for them.
    pub requests: usize,
    /// Answers that became events of the log.
    pub answers: usize,
}

/// The judgement of a run.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What the run was.
    pub plan: Plan,
    /// Its figures.
    pub counts: Counts,
    /// Each invariant.
    pub findings: BTreeMap<Invariant, Finding>,
}

impl Verdict {
    /// Whether nothing was broken.
    pub fn holds(&self) -> bool {
        self.violated().is_empty()
    }

    /// What was broken.
    pub fn violated(&self) -> Vec<Invariant> {
        let broken = |finding: &Finding| matches!(finding, Finding::Violated(..));
        self.findings
            .iter()
            .filter(|(_, finding)| broken(finding))
            .map(|(invariant, _)| *invariant)
            .collect()
    }

    /// The one line.
    pub fn line(&self) -> String {
        let Counts {
            attempts,
            acked,
            unknown,
            rows,
            seen,
            lost,
            unexpected,
            recovered,
            duplicated,
            allowed,
            order_violations,
            calls,
            requests,
            answers,
        } = self.counts;
        let (row, store, seed) = (&self.plan.row, &self.plan.store, self.plan.seed);
        let mut line = format!(
            "{row} {store} seed={seed} attempts={attempts} acked={acked} unknown={unknown} rows={rows} \
             seen={seen} lost={lost} unexpected={unexpected} recovered={recovered} \
             duplicated={duplicated} (allowed {allowed}) order_violations={order_violations}"
        );
        if self.plan.follow_ups.is_some() {
            line.push_str(&format!(
                " calls={calls} requests={requests} answers={answers}"
            ));
        }
        for (invariant, finding) in &self.findings {
            if *finding == Finding::Ok {
                line.push_str(&format!(" {invariant}"));
            }
        }
        if self.holds() {
            return line + " ok";
        }
        line.push_str(" FAILED");
        for (invariant, finding) in &self.findings {
            if let Finding::Violated(count, examples) = finding {
                let examples = examples.join(", ");
                line.push_str(&format!(" {invariant}({count}): {examples};"));
            }
        }
        line
    }
}

/// Examples shown of each broken invariant.
const EXAMPLES: usize = 5;

/// What the rooms found.
#[derive(Default)]
struct Findings {
    broken: BTreeMap<Invariant, (usize, Vec<String>)>,
    undecided: BTreeMap<Invariant, String>,
}

impl Findings {
    /// Breaks an invariant; the example is put into words only if it is shown.
    fn violated(&mut self, invariant: Invariant, example: impl FnOnce() -> String) {
        let (count, examples) = self.broken.entry(invariant).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example());
        }
    }

    fn undecided(&mut self, invariant: Invariant, reason: &str) {
        self.undecided
            .entry(invariant)
            .or_insert_with(|| reason.to_owned());
    }

    fn count(&self, invariant: Invariant) -> usize {
        self.broken.get(&invariant).map_or(0, |(count, _)| *count)
    }

    fn finding(&mut self, invariant: Invariant) -> Finding {
        if let Some((count, examples)) = self.broken.remove(&invariant) {
            Finding::Violated(count, examples)
        } else if let Some(reason) = self.undecided.remove(&invariant) {
            Finding::NotApplicable(reason)
        } else {
            Finding::Ok
        }
    }
}

/// Judges the run whose records are in `folder`.
///
/// # Errors
/// When the plan or the end state is missing, or a record cannot be read.
pub fn judge(folder: &Path) -> io::Result<Verdict> {
    let mut findings = Findings::default();
    let mut counts = Counts::default();
    let mut run = Run::load(folder)?;
    answers::judge(folder, &mut run, &mut counts, &mut findings)?;
    rows::judge(folder, &mut run, &mut counts, &mut findings)?;
    arrivals::judge(folder, &mut run, &mut counts, &mut findings)?;
    copies::judge(folder, &mut run, &mut counts, &mut findings)?;
    order::judge(&run, &mut findings);
    turns::judge(folder, &run, &mut findings)?;
    ledger::judge(folder, &run, &counts, &mut findings)?;
    calls::judge(folder, &run, &mut counts, &mut findings)?;
    chains::judge(folder, &run, &mut findings)?;
    secrets::judge(folder, &mut findings)?;
    bounds::judge(&run, &mut findings);
    counts.order_violations =
        findings.count(Invariant::RealTimeOrder) + findings.count(Invariant::LogOrder);
    let of = |invariant| (invariant, findings.finding(invariant));
    Ok(Verdict {
        findings: Invariant::ALL.map(of).into(),
        plan: run.plan,
        counts,
    })
}
