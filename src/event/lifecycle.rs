//! What an app's own events say of its installations: INSTALL, UNINSTALL, UPDATE and PLAN_CHANGE.
//!
//! A tolerant reader, as everywhere: all that must be there is a tenant. GHL's pages leave out fields that
//! come, and name some that do not; an INSTALL for "future locations" says no company. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::{Event, Micros};

/// What kind of account an installation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Account {
    /// An agency.
    Company,
    /// A sub-account.
    Location,
}

impl Account {
    /// The name in the store and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Company => "company",
            Self::Location => "location",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Company, Self::Location]
            .into_iter()
            .find(|account| account.as_str() == name)
    }
}

/// What happened to an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The app was installed.
    Installed,
    /// It was removed; for a company, from every location of it as well.
    Uninstalled,
    /// It goes on with another version or plan.
    Updated,
}

/// One event of an installation's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// What happened.
    pub transition: Transition,
    /// The kind of account.
    pub account: Account,
    /// Its id.
    pub tenant: String,
    /// The agency of a location, where the event says it.
    pub company_id: Option<String>,
    /// When it happened, by GHL's clock where the event says it: what is older than what is known
    /// changes nothing.
    pub at: Micros,
    /// What else it says.
    pub details: Details,
}

/// What is kept of an installation for people to see. Each text has at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// The agency's name.
    pub company_name: Option<String>,
    /// Who installed it.
    pub user_id: Option<String>,
    /// The plan of the app.
    pub plan_id: Option<String>,
    /// The version of the app.
    pub version_id: Option<String>,
    /// The domain of a white-label agency.
    pub white_label_domain: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "installType", default)]
    install_type: Value,
    #[serde(default)]
    timestamp: Value,
    #[serde(rename = "companyName", default)]
    company_name: Value,
    #[serde(rename = "userId", default)]
    user_id: Value,
    #[serde(rename = "planId", default)]
    plan_id: Value,
    #[serde(rename = "newPlanId", default)]
    new_plan_id: Value,
    #[serde(rename = "versionId", default)]
    version_id: Value,
    #[serde(rename = "whitelabelDetails", default)]
    white_label: Value,
}

/// The types that are read here, by the names on the wire.
pub const TYPES: [&str; 4] = ["INSTALL", "UNINSTALL", "UPDATE", "PLAN_CHANGE"];

impl Lifecycle {
    /// What an event says of an installation; `None` for every other event, and for one of no tenant.
    pub fn of(event: &Event) -> Option<Self> {
        let transition = match event.event_type.as_str() {
            "INSTALL" => Transition::Installed,
            "UNINSTALL" => Transition::Uninstalled,
            "UPDATE" | "PLAN_CHANGE" => Transition::Updated,
            _ => return None,
        };
        let body: Body = serde_json::from_slice(&event.body).ok()?;
        // A company-wide INSTALL says so; without a word, the location decides.
        let company_wide = text(&body.install_type).is_some_and(|kind| kind == "Company");
        let (account, tenant) = match (&event.tenant.location_id, &event.tenant.company_id) {
            (Some(location), _) if !company_wide => (Account::Location, location),
            (_, Some(company)) => (Account::Company, company),
            (Some(location), None) => (Account::Location, location),
            (None, None) => return None,
        };
        Some(Self {
            transition,
            account,
            tenant: tenant.clone(),
            company_id: event.tenant.company_id.clone(),
            at: text(&body.timestamp)
                .and_then(|text| moment(&text))
                .unwrap_or(event.received_at),
            details: Details {
                company_name: text(&body.company_name),
                user_id: text(&body.user_id),
                plan_id: text(&body.new_plan_id).or_else(|| text(&body.plan_id)),
                version_id: text(&body.version_id),
                white_label_domain: text(&body.white_label["domain"]),
            },
        })
    }
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let kept: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    (!kept.is_empty()).then_some(kept)
}

/// An ISO 8601 moment as GHL writes it, in UTC.
pub(crate) fn moment(text: &str) -> Option<Micros> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok().map(Micros)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::identify::identify;
    use crate::event::{BodyHash, Origin};
    use serde_json::json;

    fn read(body: &Value) -> Option<Lifecycle> {
        let bytes = bytes::Bytes::from(body.to_string());
        let hash = BodyHash::of(&bytes);
        let identity = identify(&bytes, &hash, None);
        Lifecycle::of(&Event {
            key: identity.key,
            app_id: "app".to_owned(),
            event_type: identity.event_type,
            tenant: identity.tenant,
            entity_id: identity.entity_id,
            origin: Origin::Webhook,
            signature: None,
            received_at: Micros(7),
            body_hash: hash,
            body: bytes,
        })
    }

    #[test]
    fn an_install_is_of_a_location_or_of_a_company() {
        let location = json!({"type": "INSTALL", "appId": "app", "installType": "Location", "locationId": "l1",
            "companyId": "c1", "companyName": "An agency", "planId": "p", "userId": "u",
            "timestamp": "2026-08-17T09:06:59.366Z", "whitelabelDetails": {"domain": "crm.example.com"}});
        let read_ = read(&location).unwrap();
        assert_eq!(
            (read_.transition, read_.account),
            (Transition::Installed, Account::Location)
        );
        assert_eq!(
            (read_.tenant.as_str(), read_.company_id.as_deref()),
            ("l1", Some("c1"))
        );
        assert_eq!(read_.at, Micros(1_786_957_619_366_000));
        assert_eq!(
            read_.details.white_label_domain.as_deref(),
            Some("crm.example.com")
        );
        let company = json!({"type": "INSTALL", "installType": "Company", "companyId": "c1", "whitelabelDetails": {"domain": ""}});
        let read_ = read(&company).unwrap();
        assert_eq!(
            (read_.account, read_.tenant.as_str(), read_.at),
            (Account::Company, "c1", Micros(7))
        );
        assert_eq!(read_.details, Details::default());
        // "Future locations": no company, no user.
        let future = read(&json!({"type": "INSTALL", "locationId": "l1"})).unwrap();
        assert_eq!(
            (future.account, future.company_id),
            (Account::Location, None)
        );
    }

    #[test]
    fn the_rest_of_a_life_is_read_as_well_and_nothing_else_is() {
        let of = |body: Value| {
            read(&body).map(|read| (read.transition, read.tenant, read.details.plan_id))
        };
        let found = |transition, plan: Option<&str>| {
            Some((transition, "l1".to_owned(), plan.map(str::to_owned)))
        };
        assert_eq!(
            of(json!({"type": "UNINSTALL", "locationId": "l1"})),
            found(Transition::Uninstalled, None)
        );
        assert_eq!(
            of(json!({"type": "UPDATE", "locationId": "l1", "planId": "p"})),
            found(Transition::Updated, Some("p"))
        );
        assert_eq!(
            of(
                json!({"type": "PLAN_CHANGE", "locationId": "l1", "companyId": "c1", "currentPlanId": "a", "newPlanId": "b"})
            ),
            found(Transition::Updated, Some("b"))
        );
        assert_eq!(
            of(json!({"type": "ContactCreate", "locationId": "l1"})),
            None
        );
        assert_eq!(of(json!({"type": "INSTALL"})), None);
        let odd = json!({"type": "INSTALL", "locationId": "l1", "planId": 5, "timestamp": "soon", "companyName": "\u{7}"});
        assert_eq!(read(&odd).unwrap().details, Details::default());
    }
}
