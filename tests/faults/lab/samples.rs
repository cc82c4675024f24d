//! What the daemon holds of the machine: before the first fault, at most, and after everything healed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::ghl::get;
use crate::records::{Resources, series};

const EVERY: Duration = Duration::from_millis(250);
/// For the daemon's own word; one that is stopped in its tracks has none.
const PATIENCE: Duration = Duration::from_secs(2);
const TASKS: &str = "hookwell_runtime_tasks";
const CLIENTS: &str = "hookwell_http_connections";

/// Looks at a daemon every now and then, whichever it is at that time.
pub struct Sampler {
    pid: Arc<AtomicU32>,
    /// Where it shows its metrics.
    metrics: Mutex<String>,
    wal: Option<PathBuf>,
    peak: Arc<Mutex<Resources>>,
    task: JoinHandle<()>,
}

impl Sampler {
    /// Starts one. `wal` is the store's write-ahead log, where it is one file.
    pub fn start(wal: Option<PathBuf>) -> Self {
        let pid = Arc::new(AtomicU32::new(0));
        let peak = Arc::new(Mutex::new(Resources::default()));
        let task = {
            let (pid, wal, peak) = (Arc::clone(&pid), wal.clone(), Arc::clone(&peak));
            tokio::spawn(async move {
                loop {
                    let now = held_by(pid.load(Ordering::SeqCst), wal.as_deref());
                    peak.lock().unwrap().raise(&now);
                    sleep(EVERY).await;
                }
            })
        };
        Self {
            pid,
            metrics: Mutex::default(),
            wal,
            peak,
            task,
        }
    }

    /// From now on it is this process, and its listener for operators.
    pub fn look_at(&self, pid: u32, admin: &str) {
        self.pid.store(pid, Ordering::SeqCst);
        *self.metrics.lock().unwrap() = format!("{admin}/metrics");
    }

    /// What it holds now, its tasks too, without what its clients take: how many of them there are is not its own
    /// doing, and under load they would hide what does not come back.
    pub async fn now(&self) -> Resources {
        let url = self.metrics.lock().unwrap().clone();
        let shown = match timeout(PATIENCE, get(&url)).await {
            Ok(Ok(answer)) => series(&answer.text()),
            _ => BTreeMap::new(),
        };
        let value = |name: &str| shown.get(name).map(|value| *value as u64);
        let clients = value(CLIENTS).unwrap_or(0);
        let seen = self.seen();
        Resources {
            fds: seen.fds.saturating_sub(clients),
            connections: seen.connections.saturating_sub(clients),
            tasks: value(TASKS).map(|tasks| tasks.saturating_sub(clients)),
            ..seen
        }
    }

    /// What it holds now, as far as the machine shows it.
    pub fn seen(&self) -> Resources {
        held_by(self.pid.load(Ordering::SeqCst), self.wal.as_deref())
    }

    /// The most that was seen of that.
    pub fn peak(&self) -> Resources {
        *self.peak.lock().unwrap()
    }

    /// Looks until it holds no more than `before`, or time is up; returns the last look.
    pub async fn settled(&self, before: &Resources, within: Duration) -> Resources {
        let deadline = Instant::now() + within;
        loop {
            let now = self.now().await;
            if now.above(before).is_empty() || deadline <= Instant::now() {
                return now;
            }
            sleep(EVERY).await;
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a process holds as far as the machine shows it, with the size of the store's write-ahead log.
pub fn held_by(pid: u32, wal: Option<&Path>) -> Resources {
    let proc = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(proc.join("status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let fds = std::fs::read_dir(proc.join("fd")).map_or(0, Iterator::count);
    let wal = wal.and_then(|wal| std::fs::metadata(wal).ok());
    Resources {
        rss_bytes: field("VmRSS:").unwrap_or(0) * 1024,
        fds: fds as u64,
        threads: field("Threads:").unwrap_or(0),
        connections: sockets_of(&proc),
        wal_bytes: wal.map_or(0, |wal| wal.len()),
        tasks: None,
    }
}

/// Sockets of any kind: clients, Postgres, RabbitMQ.
fn sockets_of(proc: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(proc.join("fd")) else {
        return 0;
    };
    let is_socket = |target: PathBuf| target.to_string_lossy().starts_with("socket:");
    let links = entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|target| is_socket(target.clone())).count() as u64
}
