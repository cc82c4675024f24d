//! Keeps the last of the disk for what is in the log already: below `store.disk_reserve` no webhook is taken, while the
//! relay, the calls and retention go on with what is left. On a disk that is full nothing of that could write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::store::Store;

/// How often the disk is looked at. What comes in meanwhile has to be a small part of the reserve.
const PERIOD: Duration = Duration::from_secs(1);
/// A disk is low below so many reserves.
const LOW: u64 = 4;

/// Whether there is room for more webhooks.
#[derive(Debug, Default)]
pub struct Room(AtomicU8);

impl Room {
    /// Whether there is.
    pub fn is_left(&self) -> bool {
        self.level() != Level::Reserve
    }

    /// How full the disk was when it was last looked at. Where it cannot be seen, on Postgres, there is always room.
    pub fn level(&self) -> Level {
        let level = self.0.load(Ordering::Relaxed);
        let mut levels = [Level::Low, Level::Reserve].into_iter();
        levels
            .find(|known| *known as u8 == level)
            .unwrap_or(Level::Roomy)
    }
}

/// How full the disk is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to say.
    Roomy,
    /// It is time to make room: less than four times `store.disk_reserve` is free.
    Low,
    /// Less than `store.disk_reserve` is free: webhooks are answered 429.
    Reserve,
}

impl Level {
    /// The level with so many bytes free; without a reserve it is always roomy.
    pub fn of(free: u64, reserve: u64) -> Self {
        if free < reserve {
            Self::Reserve
        } else if free < reserve.saturating_mul(LOW) {
            Self::Low
        } else {
            Self::Roomy
        }
    }

    /// The next one. It gets better with a quarter of the reserve to spare, so that it does not go to and fro.
    fn next(self, free: u64, reserve: u64) -> Self {
        let spared = Self::of(free.saturating_sub(reserve / 4), reserve);
        Self::of(free, reserve).max(self.min(spared))
    }
}

/// Looks at the disk; run it as a task of its own.
pub struct Watcher {
    store: Arc<dyn Store>,
    reserve: u64,
    room: Arc<Room>,
    metrics: Metrics,
}

impl Watcher {
    /// A watcher that has looked once, and what it tells.
    pub fn new(store: Arc<dyn Store>, reserve: u64, metrics: Metrics) -> (Arc<Room>, Self) {
        let room = Arc::new(Room::default());
        let watcher = Self {
            store,
            reserve,
            room: Arc::clone(&room),
            metrics,
        };
        watcher.look();
        (room, watcher)
    }

    /// Looks until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.look(),
            }
        }
    }

    fn look(&self) {
        // A server's disk is its own affair.
        let Some(disk) = self.store.disk() else {
            return;
        };
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        for (gauge, value) in [
            (&self.metrics.disk_free, disk.free),
            (&self.metrics.disk_total, disk.total),
            (&self.metrics.disk_reserve, self.reserve),
        ] {
            gauge.with_label_values::<&str>(&[]).set(bytes(value));
        }
        let before = self.room.level();
        let level = before.next(disk.free, self.reserve);
        if level != before {
            let (free_bytes, reserve_bytes) = (disk.free, self.reserve);
            match level {
                Level::Roomy => tracing::info!(free_bytes, "the disk of the store has room again"),
                Level::Low => tracing::warn!(
                    free_bytes,
                    reserve_bytes,
                    "the disk of the store is nearly full; below store.disk_reserve webhooks are answered 429"
                ),
                Level::Reserve => tracing::error!(
                    free_bytes,
                    reserve_bytes,
                    "the disk of the store is down to store.disk_reserve; webhooks are answered 429 until there is room, \
                     what is in the log goes on"
                ),
            }
        }
        self.room.0.store(level as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Level::{self, Low, Reserve, Roomy};

    #[test]
    fn a_level_is_left_for_a_better_one_with_room_to_spare() {
        for (free, from, to) in [
            (400, Roomy, Roomy),
            (399, Roomy, Low),
            (400, Low, Low),
            (424, Low, Low),
            (425, Low, Roomy),
            (100, Low, Low),
            (99, Low, Reserve),
            (99, Roomy, Reserve),
            (100, Reserve, Reserve),
            (124, Reserve, Reserve),
            (125, Reserve, Low),
            (424, Reserve, Low),
            (425, Reserve, Roomy),
            (0, Reserve, Reserve),
        ] {
            assert_eq!(from.next(free, 100), to, "{free} from {from:?}");
        }
    }

    #[test]
    fn without_a_reserve_there_is_always_room() {
        for level in [Roomy, Low, Reserve] {
            assert_eq!(level.next(0, 0), Level::Roomy);
        }
    }
}
