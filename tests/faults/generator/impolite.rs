//! Senders that hang up at any moment, answered or not, and never come again with the same event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::super::random::Random;
use super::super::records::Class;
use super::post::{HUNG_UP, Patience, post};
use super::{Generator, Shared};

/// Such senders at work. Dropping them ends them at once, and leaves posts out of the log.
pub struct Impolite {
    stop: Arc<AtomicBool>,
    senders: JoinSet<()>,
}

impl Generator {
    /// So many of them beside the rate, each with one event after the other on a connection of its own,
    /// which is closed within this time.
    pub fn impolite(&self, senders: u64, within: Duration) -> Impolite {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |number| sender(Arc::clone(&self.shared), Arc::clone(&stop), number, within);
        Impolite {
            senders: (0..senders).map(sender).collect(),
            stop,
        }
    }
}

impl Impolite {
    /// Waits until the last of them has hung up.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.senders.join_all().await;
    }
}

async fn sender(shared: Arc<Shared>, stop: Arc<AtomicBool>, number: u64, within: Duration) {
    let settings = &shared.settings;
    let mut chance = Random::new(settings.seed).fork(number);
    let address = shared.addresses.read().unwrap()[0];
    while !stop.load(Ordering::SeqCst) {
        let key = chance.below(settings.keys);
        let kseq = shared.next_of(key);
        let mut request = shared.maker.make(key, kseq, Class::Signed);
        let most = chance.duration(Duration::ZERO, within);
        let end = Instant::now() + most;
        let patience = Patience {
            most,
            given_up: HUNG_UP,
        };
        let status = post(&shared, &mut request, 1, address, &mut None, patience).await;
        {
            let mut totals = shared.totals.lock().unwrap();
            totals.events += 1;
            if status.is_none_or(|status| status / 100 != 2) {
                totals.given_up += 1;
            }
        }
        // One that was answered comes no sooner with the next.
        sleep_until(end).await;
    }
}
