//! An HTTP server that plays GHL's API: for the tests, and for trying follow-ups on a laptop without an
//! account (`hookwell dev ghl`).
//!
//! What it is true to: who gets which token and what is in it, refresh tokens that work once, the words of
//! every error, the rate limits with their headers, the cursors of the searches, and a search that lags
//! behind. Where a fact comes from is said beside it; where GHL documents nothing, that is said too. What it
//! is not: a check of what a real account would accept. Bodies of writes are stored as they come, nothing is
//! ever sent to anybody, and there is one app.
//!
//! A request goes one way, in `gate`: it is noted, costs budget, meets a fault, is judged and answered by
//! the endpoint that `routes` finds, and may meet its fault on the way out. All state is in memory behind
//! one lock that is never held across a wait. [`Ghl`] is the handle for a test; `/_dev/` is the same over
//! HTTP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::event::Micros;
use crate::event::micros;

mod accounts;
mod answer;
mod authorize;
mod contacts;
mod control;
mod errors;
mod faults;
mod form;
mod gate;
mod installs;
mod journal;
mod limits;
mod locations;
mod made_up;
mod messages;
mod oauth;
mod opportunities;
mod records;
mod routes;
mod search;
mod settings;
mod time;
mod tokens;
mod visit;

pub use accounts::Account;
pub use faults::{Deed, Fault, METADATA, Moment};
pub use journal::{Entry, Presentations, Received, Report};
pub use limits::Used;
pub use settings::Settings;

use accounts::Accounts;
use faults::Faults;
use journal::Journal;
use limits::Limits;
use records::Records;
use tokens::Tokens;

/// A GHL that is played.
pub struct Ghl {
    settings: Settings,
    clock: Clock,
    state: Mutex<State>,
}

/// Everything that changes.
struct State {
    accounts: Accounts,
    tokens: Tokens,
    contacts: Records,
    opportunities: Records,
    limits: Limits,
    faults: Faults,
    journal: Journal,
}

impl Ghl {
    /// A new one, in which nobody has installed the app yet. Windows, lags and lifetimes go by `clock`;
    /// delays go by the runtime's timer.
    pub fn new(settings: Settings, clock: Clock) -> Arc<Self> {
        let now = clock();
        let mut state = State {
            accounts: Accounts::new(&settings),
            tokens: Tokens::default(),
            contacts: Records::new(settings.search_lag),
            opportunities: Records::new(settings.search_lag),
            limits: Limits::default(),
            faults: Faults::default(),
            journal: Journal::default(),
        };
        state.fill(&settings, now);
        Arc::new(Self {
            settings,
            clock,
            state: Mutex::new(state),
        })
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The whole API, with `/_dev/`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .fallback(gate::answer)
            .with_state(Arc::clone(self))
    }

    /// Puts a contact, or fields of one. What it lacks is made up; `locationId` says whose it is, the
    /// first sub-account's without it; `dateUpdated` is now unless it is given.
    pub fn put_contact(&self, id: &str, fields: Value) {
        let now = (self.clock)();
        let records = &mut self.lock().contacts;
        let (location, fields) = owner(records, id, fields);
        let mut contact = records
            .get(id)
            .cloned()
            .unwrap_or_else(|| made_up::contact(id, &location, now));
        contact["locationId"] = location.into();
        contact["dateUpdated"] = time::iso(now).into();
        contacts::merge(&mut contact, fields);
        records.put(id, contact, now);
    }

    /// The contact as it is now.
    pub fn contact(&self, id: &str) -> Option<Value> {
        self.lock().contacts.get(id).cloned()
    }

    /// Deletes a contact: from now on its id is answered 404, whether there was one or not.
    pub fn delete_contact(&self, id: &str) {
        let now = (self.clock)();
        self.lock().contacts.remove(id, now);
    }

    /// Puts an opportunity, as [`Self::put_contact`] does a contact.
    pub fn put_opportunity(&self, id: &str, fields: Value) {
        let now = (self.clock)();
        let records = &mut self.lock().opportunities;
        let (location, mut fields) = owner(records, id, fields);
        let updated = fields.remove("updatedAt");
        let mut opportunity = records
            .get(id)
            .cloned()
            .unwrap_or_else(|| made_up::opportunity(id, &location, now));
        opportunity["locationId"] = location.into();
        opportunities::merge(&mut opportunity, fields, &time::iso(now));
        if let Some(updated) = updated {
            opportunity["updatedAt"] = updated;
        }
        records.put(id, opportunity, now);
    }

    /// The opportunity as it is now.
    pub fn opportunity(&self, id: &str) -> Option<Value> {
        self.lock().opportunities.get(id).cloned()
    }

    /// Deletes an opportunity, as [`Self::delete_contact`] does a contact; who asks for it is answered 400.
    pub fn delete_opportunity(&self, id: &str) {
        let now = (self.clock)();
        self.lock().opportunities.remove(id, now);
    }

    /// Adds a sub-account to the agency of the settings, or names it anew.
    pub fn put_location(&self, id: &str, name: Option<&str>) {
        let now = (self.clock)();
        let settings = &self.settings;
        self.lock()
            .accounts
            .put_location(settings, &settings.company, id, name, now);
    }

    /// Gives the app to a sub-account, or to an agency with all its sub-accounts. One that is new is
    /// added.
    pub fn install(&self, account: &Account) {
        let now = (self.clock)();
        let accounts = &mut self.lock().accounts;
        accounts.install(&self.settings, account, None, now);
    }

    /// Takes the app away: the tokens of the account stop to work, those of its sub-accounts too.
    pub fn uninstall(&self, account: &Account) {
        self.lock().accounts.uninstall(account);
    }

    /// Whether an account has the app.
    pub fn is_installed(&self, account: &Account) -> bool {
        self.lock().accounts.is_installed(account)
    }

    /// Installs the app and makes an authorization code, as if a person had chosen `account` on the page.
    pub fn issue_code(&self, account: &Account) -> String {
        let now = (self.clock)();
        authorize::approve(&self.settings, &mut self.lock(), account, None, None, now)
    }

    /// Ends the access tokens of one account, or all, before their time. Refresh tokens still work.
    pub fn expire_access_tokens(&self, account: Option<&Account>) {
        self.lock().tokens.expire(account);
    }

    /// Has something go wrong. Of several faults that apply to a request, the oldest counts.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// The requests that came, oldest first, without those to `/_dev/`.
    pub fn journal(&self) -> Vec<Entry> {
        self.lock().journal.entries()
    }

    /// Forgets the requests that came; the figures of the report stay.
    pub fn clear_journal(&self) {
        self.lock().journal.clear();
    }

    /// The messages and workflow triggers that came, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.lock().journal.received()
    }

    /// The figures since the start.
    pub fn report(&self) -> Report {
        let state = self.lock();
        state.journal.report(state.limits.used())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What there is at the start. A search knows of it from the start.
    fn fill(&mut self, settings: &Settings, now: Micros) {
        let before = Micros(now.0 - micros(settings.search_lag));
        for n in 0..settings.locations {
            let location = Settings::location(n);
            let contact = |n: usize| made_up::id(&format!("contact {n}"), &location);
            for n in 0..settings.contacts {
                let record = made_up::contact(&contact(n), &location, now);
                self.contacts.put(&contact(n), record, before);
            }
            for n in 0..settings.opportunities {
                let id = made_up::id(&format!("opportunity {n}"), &location);
                let mut record = made_up::opportunity(&id, &location, now);
                if settings.contacts > 0 {
                    record["contactId"] = contact(n % settings.contacts).into();
                }
                self.opportunities.put(&id, record, before);
            }
        }
    }
}

/// Whose a record is, by its fields or as it was, and the fields.
fn owner(records: &Records, id: &str, fields: Value) -> (String, Map<String, Value>) {
    let Value::Object(fields) = fields else {
        return owner(records, id, Value::Object(Map::new()));
    };
    let known = records.get(id).and_then(|record| record.get("locationId"));
    let location = fields.get("locationId").or(known).and_then(Value::as_str);
    let location = location.map_or_else(|| Settings::location(0), ToOwned::to_owned);
    (location, fields)
}
