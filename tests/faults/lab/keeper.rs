//! Copies the rows of the log and of calls while a run goes on: what retention removes is judged all the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::dump;
use crate::records::calls::CALLS;
use crate::records::{Clock, ROWS, Writer};

const EVERY: Duration = Duration::from_secs(2);
/// Calls are looked at again that ended so long before the last one: they may have been written down later.
const OVERLAP: i64 = 5_000_000;

/// One at work on a store. Dropping it ends it.
pub struct Keeper {
    copied: Arc<Mutex<Copied>>,
    task: JoinHandle<()>,
}

struct Copied {
    url: String,
    rows: Writer,
    calls: Writer,
    /// The last position.
    behind: i64,
    /// The last end of a call.
    ended: i64,
}

impl Keeper {
    /// Starts one that writes into a run's folder.
    pub fn start(folder: &Path, clock: &Clock, url: &str) -> Self {
        let copied = Arc::new(Mutex::new(Copied {
            url: url.to_owned(),
            rows: dump::begin(clock, folder, ROWS).unwrap(),
            calls: Writer::open(folder, CALLS).unwrap(),
            behind: 0,
            ended: 0,
        }));
        let task = tokio::spawn({
            let copied = Arc::clone(&copied);
            async move {
                loop {
                    sleep(EVERY).await;
                    // A store that is away now has removed nothing either.
                    let _ = copied.lock().await.copy().await;
                }
            }
        });
        Self { copied, task }
    }

    /// Copies what came last and ends it.
    pub async fn finish(&self) {
        let mut copied = self.copied.lock().await;
        self.task.abort();
        copied.copy().await.unwrap();
        copied.rows.finish();
        copied.calls.finish();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Copied {
    async fn copy(&mut self) -> sqlx::Result<()> {
        dump::rows_behind(&self.url, &mut self.behind, &self.rows).await?;
        for call in dump::calls_since(&self.url, self.ended - OVERLAP).await? {
            self.ended = self.ended.max(call.ended.unwrap_or(0));
            self.calls.write(&call);
        }
        Ok(())
    }
}
