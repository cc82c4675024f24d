//! I8: one publisher at a time. There is one relay for the whole log, and whoever loses the reader's lock drops
//! its connection to the broker: once another connection has begun to publish, the one before it is over.
//!
//! A daemon that was stopped in its tracks has not seen yet, when it goes on, that another one has taken over. What
//! it publishes then is a window at most: the next one is read only when the cursor has moved, which takes
//! the lock. Nothing else is excused: what a dead line held back comes through while the next connection
//! is still at its handshake.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::super::records::{self, BROKER, FaultKind, Seen};
use super::load::Run;
use super::{Findings, Invariant};

pub fn judge(folder: &Path, run: &Run, findings: &mut Findings) -> io::Result<()> {
    let mut recorded = false;
    let mut turns = Turns::default();
    records::each(&folder.join(BROKER), |seen: Seen| {
        recorded = true;
        if seen.what == "publish" {
            turns.take(run, &seen, findings);
        }
    })?;
    if !recorded {
        let reason = "no record of the broker's connections";
        findings.undecided(Invariant::OnePublisher, reason);
    }
    Ok(())
}

/// Connections in the order of their first publish, which is not that of their opening: a daemon that stands
/// by is connected all the while.
#[derive(Default)]
struct Turns {
    /// Whose turn it is.
    now: u64,
    known: HashMap<u64, Turn>,
}

/// A connection that has published.
#[derive(Default)]
struct Turn {
    /// When it published last while it was its turn.
    last: u64,
    /// What it published when its turn was over.
    late: usize,
}

impl Turns {
    fn take(&mut self, run: &Run, seen: &Seen, findings: &mut Findings) {
        if !self.known.contains_key(&seen.conn) {
            self.now = seen.conn;
        }
        let turn = self.known.entry(seen.conn).or_default();
        if self.now == seen.conn {
            turn.last = seen.t;
            return;
        }
        turn.late += 1;
        if allowed(run, turn.last, seen.t) < turn.late {
            findings.violated(Invariant::OnePublisher, || {
                format!(
                    "{} was published on connection {} when connection {} had begun",
                    seen.id.as_deref().unwrap_or("a message without an id"),
                    seen.conn,
                    self.now
                )
            });
        }
    }
}

/// What a connection may publish when its turn is over: a window for each daemon that was stopped between its
/// last publish within its turn and this moment.
fn allowed(run: &Run, last: u64, now: u64) -> usize {
    let freezes = run.faults_of(&[FaultKind::DaemonFreeze]);
    let between = freezes.filter(|fault| fault.from <= now && last <= fault.to);
    usize::try_from(run.plan.window).unwrap() * between.count()
}
