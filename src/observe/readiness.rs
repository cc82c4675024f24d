//! Whether webhooks can be taken, kept in memory: probes ask often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::Room;

/// Whether webhooks can be committed now. It does not depend on the broker: the log takes events
/// while RabbitMQ is away.
#[derive(Debug)]
pub struct Readiness {
    store: AtomicBool,
    room: Arc<Room>,
    draining: AtomicBool,
}

impl Readiness {
    /// Not ready yet.
    pub fn new(room: Arc<Room>) -> Self {
        Self {
            store: AtomicBool::new(false),
            room,
            draining: AtomicBool::new(false),
        }
    }

    /// The store was just seen to take, or not to take, appends.
    pub fn store(&self, up: bool) {
        self.store.store(up, Ordering::Relaxed);
    }

    /// Shutdown has begun.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether, or why not, as the probe says it.
    pub fn state(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining\n");
        }
        if !self.store.load(Ordering::Relaxed) {
            return Err("the store takes no appends\n");
        }
        if !self.room.is_left() {
            return Err("the disk is down to store.disk_reserve\n");
        }
        Ok(())
    }
}
