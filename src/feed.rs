//! The newest events of the log, in memory, for a relay that has caught up with it.
//!
//! What the writer has just committed need not be read back from the store. Positions are given out without gaps, so
//! whether events follow on a cursor is to be seen from the events alone: where they do not (another
//! daemon appended in between, or the relay fell behind), the feed has nothing to say and the store is
//! read. The store stays the truth; nothing is here that is not committed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::event::{Position, Recorded};

/// The feed between the writer and the relay of one daemon.
#[derive(Debug)]
pub struct Feed {
    grown: Notify,
    most_events: usize,
    most_bytes: usize,
    in_all: AtomicU64,
    newest: Mutex<Newest>,
}

#[derive(Debug, Default)]
struct Newest {
    open: bool,
    events: VecDeque<Recorded>,
    bytes: usize,
}

impl Newest {
    fn close(&mut self) {
        *self = Self::default();
    }
}

impl Feed {
    /// A closed feed that will hold at most so many events and bytes of bodies.
    pub fn new(most_events: usize, most_bytes: usize) -> Self {
        Self {
            grown: Notify::new(),
            most_events,
            most_bytes,
            in_all: AtomicU64::new(0),
            newest: Mutex::default(),
        }
    }

    /// Takes what was committed, in the order of its positions, and wakes the relay.
    pub fn committed(&self, events: Vec<Recorded>) {
        self.in_all
            .fetch_add(events.len() as u64, Ordering::Relaxed);
        {
            let mut newest = self.lock();
            if newest.open {
                for recorded in events {
                    newest.bytes += recorded.event.body.len();
                    newest.events.push_back(recorded);
                }
                if self.most_events < newest.events.len() || self.most_bytes < newest.bytes {
                    // The relay is behind and will read the store anyway.
                    newest.close();
                }
            }
        }
        self.grown.notify_one();
    }

    /// How many events this daemon has committed since its start.
    pub fn committed_in_all(&self) -> u64 {
        self.in_all.load(Ordering::Relaxed)
    }

    /// Completes at the next commit; enable it before looking, so that none is missed.
    pub fn grown(&self) -> Notified<'_> {
        self.grown.notified()
    }

    /// From now on commits are kept. What was committed before must be read from the store.
    pub fn open(&self) {
        self.lock().open = true;
    }

    /// Forgets everything and keeps nothing more.
    pub fn close(&self) {
        self.lock().close();
    }

    /// Whether commits are kept.
    pub fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Takes the events that follow on `after`: at most `limit`, the last one being that which reaches
    /// `max_bytes`. Empty when there are none here; `None` when only the store can say.
    pub fn take(&self, after: Position, limit: usize, max_bytes: usize) -> Option<Vec<Recorded>> {
        let mut newest = self.lock();
        if !newest.open {
            return None;
        }
        let mut taken = Vec::new();
        let (mut next, mut bytes) = (after.0 + 1, 0);
        while let Some(first) = newest.events.front() {
            let (position, size) = (first.position.0, first.event.body.len());
            if next < position && taken.is_empty() {
                return None;
            }
            if next < position || taken.len() == limit || max_bytes <= bytes {
                break;
            }
            newest.bytes -= size;
            let first = newest.events.pop_front()?;
            if position == next {
                next += 1;
                bytes += size;
                taken.push(first);
            }
        }
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::recorded;

    fn recorded(position: i64) -> Recorded {
        recorded::recorded(position, "")
    }

    fn feed(positions: impl IntoIterator<Item = i64>) -> Feed {
        let feed = Feed::new(10, 1000);
        feed.open();
        feed.committed(positions.into_iter().map(recorded).collect());
        feed
    }

    fn take(feed: &Feed, after: i64, limit: usize, max_bytes: usize) -> Option<Vec<i64>> {
        let taken = feed.take(Position(after), limit, max_bytes)?;
        Some(taken.iter().map(|recorded| recorded.position.0).collect())
    }

    #[test]
    fn it_gives_what_follows_once_and_in_order() {
        let feed = feed([5, 6, 7]);
        assert_eq!(take(&feed, 4, 2, 1000), Some(vec![5, 6]));
        assert_eq!(take(&feed, 6, 2, 1000), Some(vec![7]));
        assert_eq!(take(&feed, 7, 2, 1000), Some(vec![]));
    }

    #[test]
    fn what_the_cursor_has_passed_is_left_out() {
        assert_eq!(take(&feed([5, 6, 7]), 6, 10, 1000), Some(vec![7]));
    }

    #[test]
    fn across_a_gap_only_the_store_can_say() {
        let feed = feed([5, 6, 9]);
        assert_eq!(take(&feed, 3, 10, 1000), None);
        assert_eq!(take(&feed, 4, 10, 1000), Some(vec![5, 6]));
        assert_eq!(take(&feed, 6, 10, 1000), None);
        assert_eq!(take(&feed, 8, 10, 1000), Some(vec![9]));
    }

    #[test]
    fn the_last_event_is_the_one_that_reaches_the_bytes() {
        let feed = feed([1, 2, 3, 4]);
        assert_eq!(take(&feed, 0, 10, 15), Some(vec![1, 2]));
        assert_eq!(take(&feed, 2, 10, 1), Some(vec![3]));
    }

    #[test]
    fn closed_it_keeps_nothing_and_says_nothing() {
        let feed = Feed::new(10, 1000);
        feed.committed(vec![recorded(1)]);
        assert_eq!(take(&feed, 0, 10, 1000), None);
        feed.open();
        assert_eq!(take(&feed, 0, 10, 1000), Some(vec![]));
        feed.close();
        assert_eq!(take(&feed, 0, 10, 1000), None);
    }

    #[test]
    fn beyond_its_bounds_it_closes_and_forgets() {
        let many = feed(1..=11);
        assert!(!many.is_open());
        assert!(many.lock().events.is_empty());
        let large = Feed::new(10, 25);
        large.open();
        large.committed((1..=2).map(recorded).collect());
        assert!(large.is_open());
        large.committed(vec![recorded(3)]);
        assert!(!large.is_open());
        assert_eq!(large.committed_in_all(), 3);
    }
}
