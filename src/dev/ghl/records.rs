//! Records of one kind, and what a search knows of them: GHL's search lags some seconds behind, as
//! Exalt24/ghl-tenant-bridge measured (a list right after a create was empty while a get answered).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::time::after;
use crate::event::Micros;

/// Contacts, or opportunities.
#[derive(Debug)]
pub(super) struct Records {
    lag: Duration,
    /// What is.
    now: BTreeMap<String, Value>,
    /// What was deleted, so that nothing is made up in its place.
    deleted: BTreeSet<String>,
    /// What a search finds.
    index: BTreeMap<String, Value>,
    /// What a search will find, and from when on.
    coming: VecDeque<(Micros, String, Option<Value>)>,
}

impl Records {
    /// None, with this lag of the search.
    pub(super) fn new(lag: Duration) -> Self {
        Self {
            lag,
            now: BTreeMap::new(),
            deleted: BTreeSet::new(),
            index: BTreeMap::new(),
            coming: VecDeque::new(),
        }
    }

    /// The record as it is.
    pub(super) fn get(&self, id: &str) -> Option<&Value> {
        self.now.get(id)
    }

    /// Whether there was such a record.
    pub(super) fn is_deleted(&self, id: &str) -> bool {
        self.deleted.contains(id)
    }

    /// Puts a record; a search finds it later.
    pub(super) fn put(&mut self, id: &str, record: Value, now: Micros) {
        self.deleted.remove(id);
        let visible = after(now, self.lag);
        self.coming
            .push_back((visible, id.to_owned(), Some(record.clone())));
        self.now.insert(id.to_owned(), record);
        self.settle(now);
    }

    /// Deletes one, if it is there; a search finds it for a while.
    pub(super) fn remove(&mut self, id: &str, now: Micros) -> bool {
        self.deleted.insert(id.to_owned());
        let was_there = self.now.remove(id).is_some();
        let visible = after(now, self.lag);
        self.coming.push_back((visible, id.to_owned(), None));
        self.settle(now);
        was_there
    }

    /// What a search in a sub-account finds now.
    pub(super) fn found(&mut self, location: &str, now: Micros) -> Vec<&Value> {
        self.settle(now);
        self.index
            .values()
            .filter(|record| record["locationId"] == location)
            .collect()
    }

    fn settle(&mut self, now: Micros) {
        while self
            .coming
            .front()
            .is_some_and(|(visible, ..)| *visible <= now)
        {
            let Some((_, id, record)) = self.coming.pop_front() else {
                return;
            };
            match record {
                Some(record) => self.index.insert(id, record),
                None => self.index.remove(&id),
            };
        }
    }
}
