//! What a run with faults that overlap needs beside the others: faults noted when they are over, daemons
//! that may fall, and rests in which everything has to come back.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::run::{Run, WITHIN};
use crate::records::{Ended, Fault, FaultKind};

const EVERY: Duration = Duration::from_millis(100);
/// The checker's own bound for the time after the last fault.
const DRAIN: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(20);

impl Run {
    /// Microseconds since the start.
    pub fn micros(&self) -> u64 {
        self.parts.clock.micros()
    }

    /// Notes a fault that began then and is over now.
    pub fn note_fault(&mut self, kind: FaultKind, what: &str, from: u64) {
        self.faults.write(&Fault {
            kind,
            what: what.to_owned(),
            from,
            to: self.parts.clock.micros(),
        });
        self.faults.finish();
    }

    /// What the daemon holds now is what it has to come back to.
    pub async fn measure_before(&mut self) {
        self.before = Some(self.parts.sampler.now().await);
    }

    /// Whether a daemon runs that did not end by itself; one that did is noted.
    pub fn is_up(&mut self) -> bool {
        let Some(daemon) = &mut self.daemon else {
            return false;
        };
        let Some(status) = daemon.ended() else {
            return true;
        };
        self.daemon = None;
        let ended = match status.code() {
            None => Ended::Killed,
            Some(_) => Ended::Itself,
        };
        self.died(ended, status.code());
        false
    }

    /// A rest: no load, everything healed. States that what was pending goes out in time, and that memory,
    /// files and connections come back. Says how long the one took and how much memory is held.
    pub async fn rest(&mut self) -> String {
        let since = Instant::now();
        self.load().set_rate(0.0);
        let mut pending = None;
        while pending != Some(0.0) && since.elapsed() < DRAIN {
            sleep(EVERY).await;
            let open = self.load().open();
            let ledger = "hookwell_ledger_events{state=\"pending\"}";
            pending = self.daemon().metric(ledger).await;
            pending = pending.filter(|_| open == 0);
        }
        let drained = since.elapsed();
        self.expect(
            &format!("drained in a rest at {} s", self.micros() / 1_000_000),
            pending == Some(0.0),
        );
        let Some(before) = self.before else {
            return format!("drained in {drained:.1?}");
        };
        let now = self.parts.sampler.settled(&before, SETTLE).await;
        let above = now.above(&before);
        self.expect(
            &format!("resources came back, not {}", above.join(" and ")),
            above.is_empty(),
        );
        format!(
            "drained in {drained:.1?}, {} MiB, {} files, {} threads, {} tasks",
            now.rss_bytes >> 20,
            now.fds,
            now.threads,
            now.tasks.unwrap_or(0)
        )
    }

    /// Starts a daemon again, if it can be had; whether it can.
    pub async fn try_start(&mut self, may_fail: bool) -> bool {
        match self.launch_daemon().await {
            Ok(()) => true,
            Err(said) => {
                assert!(may_fail, "the daemon ended: {said}");
                self.end_was_meant();
                false
            }
        }
    }

    /// Waits until it takes webhooks and relays.
    pub async fn recovers(&self) {
        let daemon = self.daemon();
        crate::harness::eventually("the daemon is ready", WITHIN, async || {
            (daemon.ready().await == Some(200)).then_some(())
        })
        .await;
        self.becomes("hookwell_relay_active", 1.0).await;
    }
}
