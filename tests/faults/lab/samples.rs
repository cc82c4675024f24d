//! What the daemon holds of the machine: before the first fault, at most, and after everything healed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::records::Resources;

const EVERY: Duration = Duration::from_millis(250);

/// What may be more than before without being a leak: warm caches, and the allocator's habits.
const SLACK: Resources = Resources {
    rss_bytes: 32 << 20,
    fds: 16,
    threads: 8,
    connections: 8,
    wal_bytes: 16 << 20,
};

/// Looks at a daemon every now and then, whichever it is at that time.
pub struct Sampler {
    pid: Arc<AtomicU32>,
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
                    raise(&mut peak.lock().unwrap(), &now);
                    sleep(EVERY).await;
                }
            })
        };
        Self {
            pid,
            wal,
            peak,
            task,
        }
    }

    /// From now on it is this process.
    pub fn look_at(&self, pid: u32) {
        self.pid.store(pid, Ordering::SeqCst);
    }

    /// What it holds now.
    pub fn now(&self) -> Resources {
        held_by(self.pid.load(Ordering::SeqCst), self.wal.as_deref())
    }

    /// The most that was seen.
    pub fn peak(&self) -> Resources {
        *self.peak.lock().unwrap()
    }

    /// Looks until it holds no more than `before`, or time is up; returns the last look.
    pub async fn settled(&self, before: &Resources, within: Duration) -> Resources {
        let deadline = Instant::now() + within;
        loop {
            let now = self.now();
            if !is_above(&now, before) || deadline <= Instant::now() {
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

/// What a process holds, with the size of the store's write-ahead log.
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

fn fields(of: &Resources) -> [u64; 5] {
    [
        of.rss_bytes,
        of.fds,
        of.threads,
        of.connections,
        of.wal_bytes,
    ]
}

/// Whether this is more than a tenth above that, and more than the usual slack.
pub fn is_above(now: &Resources, before: &Resources) -> bool {
    let most = fields(before).into_iter().zip(fields(&SLACK));
    let most = most.map(|(before, slack)| before + (before / 10).max(slack));
    fields(now)
        .into_iter()
        .zip(most)
        .any(|(now, most)| most < now)
}

fn raise(peak: &mut Resources, now: &Resources) {
    peak.rss_bytes = peak.rss_bytes.max(now.rss_bytes);
    peak.fds = peak.fds.max(now.fds);
    peak.threads = peak.threads.max(now.threads);
    peak.connections = peak.connections.max(now.connections);
    peak.wal_bytes = peak.wal_bytes.max(now.wal_bytes);
}
