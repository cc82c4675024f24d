//! Looks at `/metrics` every second, so that counters can be followed up to a kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::harness::ghl::get;
use crate::records::{Clock, SCRAPES, Scrape, Writer, series};

const EVERY: Duration = Duration::from_secs(1);

/// Follows one daemon after the other.
pub struct Scraper {
    followed: Arc<Mutex<Followed>>,
    log: Writer,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Followed {
    /// Where it is and the how-manieth; none while none runs.
    daemon: Option<(String, usize)>,
    /// Of the last one.
    last: BTreeMap<String, f64>,
}

impl Scraper {
    /// Starts one that writes into a run's folder.
    pub fn start(folder: &Path, clock: Clock) -> Self {
        let followed: Arc<Mutex<Followed>> = Arc::default();
        let log = Writer::open(folder, SCRAPES).unwrap();
        let task = tokio::spawn(follow(Arc::clone(&followed), log.clone(), clock));
        Self {
            followed,
            log,
            task,
        }
    }

    /// From now on it is this one.
    pub fn follow(&self, admin: String, life: usize) {
        *self.followed.lock().unwrap() = Followed {
            daemon: Some((admin, life)),
            last: BTreeMap::new(),
        };
    }

    /// It has ended; what it said last.
    pub fn ended(&self) -> BTreeMap<String, f64> {
        std::mem::take(&mut *self.followed.lock().unwrap()).last
    }

    /// Ends it; everything is in the file then.
    pub fn finish(&self) {
        self.task.abort();
        self.log.finish();
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(followed: Arc<Mutex<Followed>>, log: Writer, clock: Clock) {
    loop {
        sleep(EVERY).await;
        let daemon = followed.lock().unwrap().daemon.clone();
        let Some((admin, life)) = daemon else {
            continue;
        };
        // One that is stopped in its tracks does not hold up the next look.
        let Ok(Ok(answer)) = timeout(EVERY, get(&format!("{admin}/metrics"))).await else {
            continue;
        };
        let (t, metrics) = (clock.micros(), series(&answer.text()));
        let mut followed = followed.lock().unwrap();
        if followed
            .daemon
            .as_ref()
            .is_some_and(|(_, now)| *now == life)
        {
            followed.last.clone_from(&metrics);
            log.write(&Scrape { life, t, metrics });
        }
    }
}
