//! Agencies, their sub-accounts, and which of them have the app.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::event::Micros;

/// Who a token is for, and whose budget a request costs. In JSON `{"company": "…"}` or
/// `{"location": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// An agency.
    Company(String),
    /// A sub-account.
    Location(String),
}

impl Account {
    /// The id.
    pub fn id(&self) -> &str {
        match self {
            Self::Company(id) | Self::Location(id) => id,
        }
    }

    /// GHL's name of the kind, in `userType` and `authClass`.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Company(_) => "Company",
            Self::Location(_) => "Location",
        }
    }
}

/// A sub-account.
#[derive(Debug, Clone)]
pub(super) struct Location {
    pub(super) company: String,
    pub(super) name: String,
    /// Since when it has the app.
    pub(super) installed: Option<Micros>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    companies: BTreeMap<String, Option<Micros>>,
    locations: BTreeMap<String, Location>,
}

impl Accounts {
    /// The agency of the settings with its sub-accounts; nobody has the app.
    pub(super) fn new(settings: &Settings) -> Self {
        let mut accounts = Self::default();
        accounts.companies.insert(settings.company.clone(), None);
        for n in 0..settings.locations {
            let location = Location {
                company: settings.company.clone(),
                name: format!("Branch {}", n + 1),
                installed: None,
            };
            accounts.locations.insert(Settings::location(n), location);
        }
        accounts
    }

    /// Whether there is such an account.
    pub(super) fn has(&self, account: &Account) -> bool {
        match account {
            Account::Company(id) => self.companies.contains_key(id),
            Account::Location(id) => self.locations.contains_key(id),
        }
    }

    /// A sub-account.
    pub(super) fn location(&self, id: &str) -> Option<&Location> {
        self.locations.get(id)
    }

    /// The sub-accounts of an agency by id.
    pub(super) fn of<'a>(
        &'a self,
        company: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Location)> {
        self.locations
            .iter()
            .filter(move |(_, location)| location.company == company)
    }

    /// Adds a sub-account, or names it anew. One that comes after the agency has the app gets it too,
    /// where `future_locations` is set.
    pub(super) fn put_location(
        &mut self,
        settings: &Settings,
        company: &str,
        id: &str,
        name: Option<&str>,
        now: Micros,
    ) {
        let has_app = self.companies.entry(company.to_owned()).or_default();
        let installed = has_app.filter(|_| settings.future_locations).map(|_| now);
        let count = self.locations.len();
        let location = self
            .locations
            .entry(id.to_owned())
            .or_insert_with(|| Location {
                company: company.to_owned(),
                name: format!("Branch {}", count + 1),
                installed,
            });
        if let Some(name) = name {
            name.clone_into(&mut location.name);
        }
    }

    /// Gives the app to an account, and with an agency to `only` that sub-account or to all it has.
    /// An agency or sub-account that is new is added.
    pub(super) fn install(
        &mut self,
        settings: &Settings,
        account: &Account,
        only: Option<&str>,
        now: Micros,
    ) {
        match account {
            Account::Company(company) => {
                self.companies
                    .entry(company.clone())
                    .or_default()
                    .get_or_insert(now);
                if let Some(id) = only {
                    self.put_location(settings, company, id, None, now);
                }
                for (id, location) in &mut self.locations {
                    if location.company == *company && only.is_none_or(|only| only == id) {
                        location.installed.get_or_insert(now);
                    }
                }
            }
            Account::Location(id) => {
                let company = settings.company.clone();
                self.put_location(settings, &company, id, None, now);
                if let Some(location) = self.locations.get_mut(id) {
                    location.installed.get_or_insert(now);
                }
            }
        }
    }

    /// Takes the app away; from an agency with all its sub-accounts.
    pub(super) fn uninstall(&mut self, account: &Account) {
        match account {
            Account::Company(company) => {
                if let Some(installed) = self.companies.get_mut(company) {
                    *installed = None;
                }
                for location in self.locations.values_mut() {
                    if location.company == *company {
                        location.installed = None;
                    }
                }
            }
            Account::Location(id) => {
                if let Some(location) = self.locations.get_mut(id) {
                    location.installed = None;
                }
            }
        }
    }

    /// Whether an account has the app.
    pub(super) fn is_installed(&self, account: &Account) -> bool {
        match account {
            Account::Company(id) => self.companies.get(id).is_some_and(Option::is_some),
            Account::Location(id) => self
                .locations
                .get(id)
                .is_some_and(|location| location.installed.is_some()),
        }
    }
}
