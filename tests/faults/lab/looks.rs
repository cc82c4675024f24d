//! Looks at everything that a daemon holds and leaves behind, for as long as a run goes on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::dump;
use super::follow_ups::number;
use super::run::Run;
use super::samples::held_by;
use crate::harness::ghl::get;
use crate::levels::Look;
use crate::records::series;

/// An answer that takes longer is one of the next look.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks so far. Dropping it ends them.
pub struct Looks {
    looks: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

/// Where to look.
struct Place {
    pid: u32,
    metrics: String,
    store: String,
    wal: Option<PathBuf>,
}

impl Run {
    /// Looks at the daemon that runs now again and again.
    pub fn looks(&self, every: Duration) -> Looks {
        let place = Place {
            pid: self.daemon().pid(),
            metrics: format!("{}/metrics", self.daemon().admin()),
            store: self.store().url.clone(),
            wal: self.store().wal(),
        };
        let looks: Arc<Mutex<Vec<Look>>> = Arc::default();
        let task = tokio::spawn({
            let looks = Arc::clone(&looks);
            let began = Instant::now();
            async move {
                loop {
                    let look = place.look(began.elapsed()).await;
                    looks.lock().unwrap().push(look);
                    sleep(every).await;
                }
            }
        });
        Looks { looks, task }
    }
}

impl Looks {
    /// Ends them.
    pub fn end(self) -> Vec<Look> {
        self.task.abort();
        std::mem::take(&mut self.looks.lock().unwrap())
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Place {
    async fn look(&self, at: Duration) -> Look {
        let held = held_by(self.pid, self.wal.as_deref());
        let shown = match timeout(PATIENCE, get(&self.metrics)).await {
            Ok(Ok(answer)) => Some(series(&answer.text())),
            _ => None,
        };
        let value = |name: &str| shown.as_ref()?.get(name).copied();
        Look {
            at,
            memory: Some(held.rss_bytes as f64),
            descriptors: Some(held.fds as f64),
            threads: Some(held.threads as f64),
            tasks: value("hookwell_runtime_tasks"),
            series: shown.as_ref().map(|shown| shown.len() as f64),
            store: self.store_bytes().await,
            wal: self.wal.as_ref().map(|_| held.wal_bytes as f64),
            backlog: value("hookwell_backlog_events"),
        }
    }

    async fn store_bytes(&self) -> Option<f64> {
        if self.store.starts_with("sqlite:") {
            let file = std::fs::metadata(dump::file_of(&self.store));
            return file.ok().map(|file| file.len() as f64);
        }
        const SIZE: &str = "select pg_database_size(current_database())";
        let asked = timeout(PATIENCE, number(&self.store, SIZE)).await;
        asked.ok()?.ok().map(|bytes| bytes as f64)
    }
}
