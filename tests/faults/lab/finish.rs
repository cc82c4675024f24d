//! The end of a run: everything healed, the load over, nothing pending; then the dump and the verdict.

use std::process::Stdio;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::run::{Parts, Run};
use super::{Outcome, check, dump};
use crate::abilities::command;
use crate::records::{self, END, End, ROWS, series};

/// The rate at which the end is waited for.
const EVERY: Duration = Duration::from_millis(100);
/// For posts that are still open, such as those that are waiting to be tried again.
const OPEN: Duration = Duration::from_secs(60);
/// More than the checker allows: it says that it took too long, not this.
const DRAIN: Duration = Duration::from_secs(90);
/// More than the keeper of the quarantine waits between two writes.
const STILL: Duration = Duration::from_millis(500);
/// Unused connections to the API are kept for 30 s and looked at as often.
const SETTLE: Duration = Duration::from_secs(65);

impl Run {
    /// Ends the run and judges it.
    pub async fn judge(mut self) -> Outcome {
        let asked = match &self.parts.api {
            Some(_) => Some(self.last_question().await),
            None => None,
        };
        if asked.is_some() {
            self.ask_around().await;
        }
        if let Some(load) = self.load.take() {
            load.stop(OPEN).await;
        }
        while self.has_peer() {
            self.stop_peer().await;
        }
        let drained_at = self.drained().await;
        let taken = self.parts.clock.micros();
        let after = match &self.before {
            Some(before) => Some(self.parts.sampler.settled(before, SETTLE).await),
            None => None,
        };
        let at_rest = series(&self.daemon().metrics().await);
        let chains = match &asked {
            Some((_, asked)) => {
                self.dump_store();
                self.chains(asked).await
            }
            None => Vec::new(),
        };
        self.stop_daemon().await;
        let kept = self.parts.keeper.take();
        if let Some(keeper) = &kept {
            keeper.finish().await;
        }
        if asked.is_some() {
            if kept.is_none() {
                self.write_calls().await;
            }
            self.api().write_down(self.folder(), self.clock()).await;
        }
        if let Some(life) = self.lives.last_mut() {
            (life.metrics, life.at_rest) = (at_rest, drained_at.is_some());
        }
        let Parts {
            store,
            clock,
            folder,
            ..
        } = &self.parts;
        if kept.is_none() {
            dump::rows(&store.url, clock, folder, ROWS).await.unwrap();
        }
        let figures = dump::figures(&store.url).await.unwrap();
        self.queues_are_empty().await;
        let end = End {
            t: taken,
            drained_at,
            head: figures.head,
            cursor: figures.cursor,
            published: figures.published,
            quarantined: figures.quarantined,
            dead_letters: figures.dead_letters,
            lives: std::mem::take(&mut self.lives),
            before: self.before,
            peak: Some(self.parts.sampler.peak()),
            after,
            chains,
            pages: std::mem::take(&mut *self.pages.lock().unwrap()),
            asked_at: asked.map(|(at, _)| at),
        };
        records::save(folder, END, &end).unwrap();
        let unmet = std::mem::take(&mut self.unmet);
        let folder = folder.clone();
        self.faults.finish();
        self.parts.scraper.finish();
        self.parts.broker.proxy.flush();
        self.parts.sink.stop().await;
        self.parts.logs.copy();
        let judged = check(&folder).unwrap_or_else(Outcome::broken);
        judged.with_unmet(unmet).with_figures(&self.figures)
    }

    /// Waits until the daemon says that nothing is pending, counted from the log itself and not from
    /// memory; when that was.
    async fn drained(&self) -> Option<u64> {
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            let figures = dump::figures(&self.parts.store.url).await;
            let at = self.parts.clock.micros();
            if figures.is_ok_and(|figures| figures.head == figures.cursor) {
                return self.ledger_agrees(deadline).await.then_some(at);
            }
            sleep(EVERY).await;
        }
        None
    }

    /// The gauges are refreshed every now and then, and the quarantine is written beside the requests: it
    /// is all there when there are no more entries than half a second before.
    async fn ledger_agrees(&self, deadline: Instant) -> bool {
        let mut earlier = (0, Instant::now());
        while Instant::now() < deadline {
            let figures = dump::figures(&self.parts.store.url).await;
            let metrics = series(&self.daemon().metrics().await);
            let ledger = |state: &str| {
                let name = format!("hookwell_ledger_events{{state=\"{state}\"}}");
                metrics.get(&name).copied()
            };
            let quarantined = metrics.get("hookwell_quarantine_entries").copied();
            let entries = figures.as_ref().map_or(-1, |figures| figures.quarantined);
            if entries != earlier.0 {
                earlier = (entries, Instant::now());
            }
            if let Ok(figures) = figures
                && STILL < earlier.1.elapsed()
                && ledger("pending") == Some(0.0)
                && ledger("accepted") == Some(figures.head as f64)
                && quarantined == Some(figures.quarantined as f64)
            {
                return true;
            }
            sleep(EVERY).await;
        }
        false
    }

    /// What the broker has is at the sink, so that copies that come late are counted as well.
    async fn queues_are_empty(&self) {
        let rabbit = &self.parts.broker.rabbit;
        let control = rabbit.server.value("RABBITMQCTL");
        let arguments = [
            "-q",
            "list_queues",
            "-p",
            &rabbit.vhost,
            "--no-table-headers",
            "messages",
        ];
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            let output = command(&control)
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            if output.status.success() && text.split_whitespace().all(|count| count == "0") {
                return;
            }
        }
    }
}
