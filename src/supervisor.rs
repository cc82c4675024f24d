//! The parent of every task of the daemon.
//!
//! A task that ends before shutdown, in whatever way, is itself a shutdown with failure: a relay that
//! died in silence would be an outage that nobody sees.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Shutdown was asked for and every task ended in time.
    Clean,
    /// A task ended by itself.
    Failed,
    /// Shutdown was asked for, and some task did not end in time.
    TimedOut,
}

/// Named tasks with one shutdown.
pub struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
    grace: Duration,
}

impl Supervisor {
    /// A supervisor whose tasks have `grace` to end after shutdown.
    pub fn new(shutdown: CancellationToken, grace: Duration) -> Self {
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            shutdown,
            grace,
        }
    }

    /// Starts a task.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits for shutdown and then for the tasks.
    pub async fn run(mut self) -> Exit {
        let mut exit = Exit::Clean;
        let mut deadline = None;
        loop {
            let ended = tokio::select! {
                ended = self.tasks.join_next_with_id() => ended,
                () = self.shutdown.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + self.grace);
                    continue;
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let mut left: Vec<_> = self.names.values().copied().collect();
                    left.sort_unstable();
                    tracing::error!(tasks = ?left, "tasks did not end in time; leaving without them");
                    return if exit == Exit::Failed { exit } else { Exit::TimedOut };
                }
            };
            let (id, panicked) = match ended {
                None => return exit,
                Some(Ok((id, ()))) => (id, None),
                Some(Err(error)) => (error.id(), Some(error)),
            };
            let name = self.names.remove(&id).unwrap_or("unnamed");
            match panicked {
                Some(error) => {
                    tracing::error!(task = name, %error, "a task ended badly; shutting down");
                    exit = Exit::Failed;
                }
                None if !self.shutdown.is_cancelled() => {
                    tracing::error!(task = name, "a task ended by itself; shutting down");
                    exit = Exit::Failed;
                }
                None => tracing::debug!(task = name, "task ended"),
            }
            self.shutdown.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_or_panics_shuts_everything_down_with_failure() {
        for panics in [false, true] {
            let shutdown = CancellationToken::new();
            let mut supervisor = Supervisor::new(shutdown.clone(), Duration::from_secs(5));
            let other = shutdown.clone();
            supervisor.spawn("waits", async move { other.cancelled().await });
            supervisor.spawn("ends", async move { assert!(!panics, "on purpose") });
            assert_eq!(supervisor.run().await, Exit::Failed);
            assert!(shutdown.is_cancelled());
        }
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_left_behind_after_the_grace() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone(), Duration::from_millis(20));
        supervisor.spawn("stuck", std::future::pending());
        shutdown.cancel();
        assert_eq!(supervisor.run().await, Exit::TimedOut);
    }
}
