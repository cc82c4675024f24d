//! What a daemon holds of the machine: what it may hold at most, and when it has come back to what it held before.
//!
//! This is the one place that says so. The runs wait by it, and the judge judges by it.

use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;

/// What a daemon holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Open files, connections among them.
    pub fds: u64,
    /// Threads.
    pub threads: u64,
    /// Sockets of any kind: clients, Postgres, RabbitMQ.
    pub connections: u64,
    /// Of the store's write-ahead log, where the run can see it.
    pub wal_bytes: u64,
    /// Of the runtime, as the daemon itself says; none where it was not asked or did not answer.
    pub tasks: Option<u64>,
}

/// The most that a daemon may hold at any time: what its documents say (OPERATIONS, "Capacity"; the
/// unit's `TasksMax`) with `http.max_connections` as it ships. A row that may take more says so in its plan.
pub const LIMITS: Resources = Resources {
    // Less than 150 MiB with a million events waiting, and `http.max_body_memory`; the rest is a debug build's.
    rss_bytes: 256 * MIB,
    fds: 2 * 4096,
    threads: 256,
    // And up to eight to Postgres, those to the broker, and those of whoever looks.
    connections: 4096 + 64,
    // From 64 MiB on appends wait for a checkpoint, which somebody who reads may hold up.
    wal_bytes: 128 * MIB,
    tasks: None,
};

/// What may be more than before without being a leak, where a tenth is less than that.
const SLACK: Resources = Resources {
    // What is held before was measured under the load of this very run, but a first backlog, a first large batch or a
    // first page of the console may come only after that, and the allocator keeps some of its pages.
    rss_bytes: 16 * MIB,
    // Pools open connections when they are first wanted at once, and keep them: four of Postgres or three readers of
    // SQLite with two files each, and the relay's next session beside the one in use.
    fds: 8,
    // Of the runtime's pool for what blocks; they go after ten seconds without work.
    threads: 4,
    connections: 5,
    // At rest the file is cut to nothing, and what is noted now and then begins it again.
    wal_bytes: MIB,
    tasks: None,
};

/// Tasks of a daemon at rest at most, without those of its clients: sixteen to twenty-four are always there, pools that were full
/// keep one or two for each connection. What an event leaves behind would be thousands. How many there were under load, with
/// clients that come and go, is no measure.
const TASKS_AT_REST: u64 = 64;

impl Resources {
    /// What this holds in excess of a tenth more than `before`, in words; empty when it has come back.
    pub fn above(&self, before: &Self) -> Vec<String> {
        let all = self.named().into_iter().zip(before.named());
        let above =
            all.zip(SLACK.named())
                .filter_map(|(((name, now), (_, before)), (_, slack))| {
                    let most = before + (before / 10).max(slack);
                    (most < now).then(|| format!("{name} went from {before} to {now}"))
                });
        let tasks = self.tasks.filter(|tasks| TASKS_AT_REST < *tasks);
        let tasks =
            tasks.map(|tasks| format!("tasks are {tasks}, at rest {TASKS_AT_REST} at most"));
        above.chain(tasks).collect()
    }

    /// What is more than these limits, in words. What they do not name is not limited.
    pub fn over(&self, limits: &Self) -> Vec<String> {
        let all = self.named().into_iter().zip(limits.named());
        all.filter(|((_, most), (_, limit))| *limit != 0 && limit < most)
            .map(|((name, most), (_, limit))| {
                format!("{name} reached {most}, the limit is {limit}")
            })
            .collect()
    }

    /// The larger of each.
    pub fn raise(&mut self, now: &Self) {
        self.rss_bytes = self.rss_bytes.max(now.rss_bytes);
        self.fds = self.fds.max(now.fds);
        self.threads = self.threads.max(now.threads);
        self.connections = self.connections.max(now.connections);
        self.wal_bytes = self.wal_bytes.max(now.wal_bytes);
        self.tasks = self.tasks.max(now.tasks);
    }

    fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("rss_bytes", self.rss_bytes),
            ("fds", self.fds),
            ("threads", self.threads),
            ("connections", self.connections),
            ("wal_bytes", self.wal_bytes),
        ]
    }
}
