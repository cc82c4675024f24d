//! What came and what was answered, and the figures that a test asserts on.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

use super::limits::Used;
use crate::event::Micros;

/// So many messages and workflow triggers are kept; the oldest go first.
const RECEIVED: usize = 10_000;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When its body had been read, in microseconds since 1970.
    pub arrived_us: i64,
    /// When its answer was ready. None while it is under way, and for good if the client hung up.
    pub answered_us: Option<i64>,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What came after the `?`.
    pub query: String,
    /// The account whose token it carries, or whose token it asks for.
    pub tenant: Option<String>,
    /// What was answered; none where the connection was ended instead.
    pub status: Option<u16>,
    /// The fault it met.
    pub fault: Option<String>,
}

/// How often one refresh token was presented.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Presentations {
    /// The account it is for.
    pub tenant: String,
    /// How often it was exchanged for a new pair: at most once.
    pub successful: u64,
    /// How often it came again after that.
    pub spent: u64,
}

/// A message or a workflow trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Received {
    /// When it came, in microseconds since 1970.
    pub at_us: i64,
    /// The path that it was posted to.
    pub path: String,
    /// The sub-account it is for.
    pub tenant: String,
    /// Its body.
    pub body: Value,
}

/// The figures since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Requests of whatever kind.
    pub requests: u64,
    /// Requests that were answered 429 because they were over a limit. Faults do not count.
    pub over_budget: u64,
    /// The budget, by account.
    pub tenants: BTreeMap<String, Used>,
    /// Each refresh token that was presented, by its `refreshTokenId`.
    pub refresh_tokens: BTreeMap<String, Presentations>,
    /// Presentations of refresh tokens that never were.
    pub unknown_refresh_tokens: u64,
    /// Successful refreshes, by account.
    pub refreshes: BTreeMap<String, u64>,
    /// Location tokens made from an agency's token, by sub-account.
    pub minted: BTreeMap<String, u64>,
    /// Codes that were exchanged, by account.
    pub exchanged: BTreeMap<String, u64>,
}

/// The journal and what it counts.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    /// How many there were before the first of them.
    forgotten: usize,
    received: VecDeque<Received>,
    requests: u64,
    refresh_tokens: BTreeMap<String, Presentations>,
    unknown_refresh_tokens: u64,
    refreshes: BTreeMap<String, u64>,
    minted: BTreeMap<String, u64>,
    exchanged: BTreeMap<String, u64>,
}

/// The place of an entry that is still under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(usize);

impl Journal {
    /// Notes a request that came.
    pub(super) fn open(&mut self, entry: Entry, room: usize) -> Ticket {
        self.requests += 1;
        let ticket = Ticket(self.forgotten + self.entries.len());
        self.entries.push_back(entry);
        while self.entries.len() > room {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        ticket
    }

    /// Notes what became of it, if it is not forgotten.
    pub(super) fn close(&mut self, ticket: Ticket, now: Micros, status: Option<u16>) {
        let at = ticket.0.checked_sub(self.forgotten);
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.answered_us = Some(now.0);
            entry.status = status;
        }
    }

    /// What is kept, oldest first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    /// Forgets the entries, not the figures.
    pub(super) fn clear(&mut self) {
        self.forgotten += self.entries.len();
        self.entries.clear();
    }

    /// Notes a message or trigger.
    pub(super) fn receive(&mut self, received: Received) {
        self.received.push_back(received);
        if self.received.len() > RECEIVED {
            self.received.pop_front();
        }
    }

    /// Messages and triggers, oldest first.
    pub(super) fn received(&self) -> Vec<Received> {
        self.received.iter().cloned().collect()
    }

    /// A refresh token was presented: whether it was good, and whether it was one at all.
    pub(super) fn presented(&mut self, token: Option<(&str, &str)>, good: bool) {
        let Some((id, tenant)) = token else {
            self.unknown_refresh_tokens += 1;
            return;
        };
        let presentations = self.refresh_tokens.entry(id.to_owned()).or_default();
        tenant.clone_into(&mut presentations.tenant);
        if good {
            presentations.successful += 1;
            *self.refreshes.entry(tenant.to_owned()).or_default() += 1;
        } else {
            presentations.spent += 1;
        }
    }

    /// A location token was made from an agency's.
    pub(super) fn minted(&mut self, location: &str) {
        *self.minted.entry(location.to_owned()).or_default() += 1;
    }

    /// A code was exchanged.
    pub(super) fn exchanged(&mut self, account: &str) {
        *self.exchanged.entry(account.to_owned()).or_default() += 1;
    }

    /// The figures, with those of the budget.
    pub(super) fn report(&self, tenants: BTreeMap<String, Used>) -> Report {
        Report {
            requests: self.requests,
            over_budget: tenants.values().map(|used| used.over_budget).sum(),
            tenants,
            refresh_tokens: self.refresh_tokens.clone(),
            unknown_refresh_tokens: self.unknown_refresh_tokens,
            refreshes: self.refreshes.clone(),
            minted: self.minted.clone(),
            exchanged: self.exchanged.clone(),
        }
    }
}
