//! Which paths there are, what each asks of a token, and who answers.
//!
//! Paths and scopes are those of the specifications in GoHighLevel/highlevel-api-docs, the names of
//! version 2021-07-28. The paths that only v3 has are not here, as they answer "Cannot GET" to an older
//! version.

use super::errors::Problem;
use super::visit::{Outcome, Visit};
use super::{authorize, contacts, installs, locations, messages, oauth, opportunities};

/// Every `Version` that GHL has published (<https://marketplace.gohighlevel.com/docs/Versioning>).
/// Established paths answer under all of them.
const VERSIONS: [&str; 5] = ["v3", "2023-02-21", "2021-07-28", "2021-04-15", "legacy"];

/// A path with its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Authorize,
    Token,
    LocationToken,
    InstalledLocations,
    GetContact(&'a str),
    CreateContact,
    UpdateContact(&'a str),
    DeleteContact(&'a str),
    AddTags(&'a str),
    RemoveTags(&'a str),
    SearchContacts,
    ListContacts,
    GetOpportunity(&'a str),
    CreateOpportunity,
    UpdateOpportunity(&'a str),
    DeleteOpportunity(&'a str),
    SetStatus(&'a str),
    FindOpportunities,
    SearchOpportunities,
    Pipelines,
    GetLocation(&'a str),
    SearchLocations,
    CustomFields(&'a str),
    SendMessage,
    ExecuteTrigger,
}

/// Whose token an endpoint takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Nobody's.
    None,
    /// An agency's.
    Company,
    /// A sub-account's.
    Location,
    /// Either's.
    Any,
}

impl<'a> Endpoint<'a> {
    /// The endpoint of a request.
    pub(super) fn find(method: &str, segments: &[&'a str]) -> Option<Self> {
        Some(match (method, segments) {
            ("GET", ["oauth", "chooselocation"] | ["v2", "oauth", "chooselocation"]) => {
                Self::Authorize
            }
            ("POST", ["oauth", "token"]) => Self::Token,
            ("POST", ["oauth", "locationToken"]) => Self::LocationToken,
            ("GET", ["oauth", "installedLocations"]) => Self::InstalledLocations,
            ("GET", ["contacts"]) => Self::ListContacts,
            ("POST", ["contacts"]) => Self::CreateContact,
            ("POST", ["contacts", "search"]) => Self::SearchContacts,
            ("GET", ["contacts", id]) => Self::GetContact(id),
            ("PUT", ["contacts", id]) => Self::UpdateContact(id),
            ("DELETE", ["contacts", id]) => Self::DeleteContact(id),
            ("POST", ["contacts", id, "tags"]) => Self::AddTags(id),
            ("DELETE", ["contacts", id, "tags"]) => Self::RemoveTags(id),
            ("POST", ["opportunities"]) => Self::CreateOpportunity,
            ("GET", ["opportunities", "search"]) => Self::FindOpportunities,
            ("POST", ["opportunities", "search"]) => Self::SearchOpportunities,
            ("GET", ["opportunities", "pipelines"]) => Self::Pipelines,
            ("GET", ["opportunities", id]) => Self::GetOpportunity(id),
            ("PUT", ["opportunities", id]) => Self::UpdateOpportunity(id),
            ("DELETE", ["opportunities", id]) => Self::DeleteOpportunity(id),
            ("PUT", ["opportunities", id, "status"]) => Self::SetStatus(id),
            ("GET", ["locations", "search"]) => Self::SearchLocations,
            ("GET", ["locations", id]) => Self::GetLocation(id),
            ("GET", ["locations", id, "customFields"]) => Self::CustomFields(id),
            ("POST", ["conversations", "messages"]) => Self::SendMessage,
            ("POST", ["workflows-marketplace", "triggers", "execute", _, _]) => {
                Self::ExecuteTrigger
            }
            _ => return None,
        })
    }

    /// Whether there is such a path with another method.
    pub(super) fn is_path(segments: &[&'a str]) -> bool {
        ["GET", "POST", "PUT", "DELETE"]
            .iter()
            .any(|method| Self::find(method, segments).is_some())
    }

    /// Whether its answers have tokens in them.
    pub(super) fn gives_tokens(self) -> bool {
        matches!(self, Self::Token | Self::LocationToken)
    }

    /// Whose token it takes, and the scope of it.
    pub(super) fn needs(self) -> (Class, &'static str) {
        match self {
            Self::Authorize | Self::Token => (Class::None, ""),
            Self::LocationToken => (Class::Company, "oauth.write"),
            Self::InstalledLocations => (Class::Company, "oauth.readonly"),
            Self::GetContact(_) | Self::SearchContacts | Self::ListContacts => {
                (Class::Location, "contacts.readonly")
            }
            Self::CreateContact
            | Self::UpdateContact(_)
            | Self::DeleteContact(_)
            | Self::AddTags(_)
            | Self::RemoveTags(_) => (Class::Location, "contacts.write"),
            Self::GetOpportunity(_)
            | Self::FindOpportunities
            | Self::SearchOpportunities
            | Self::Pipelines => (Class::Location, "opportunities.readonly"),
            Self::CreateOpportunity
            | Self::UpdateOpportunity(_)
            | Self::DeleteOpportunity(_)
            | Self::SetStatus(_) => (Class::Location, "opportunities.write"),
            Self::GetLocation(_) => (Class::Any, "locations.readonly"),
            Self::SearchLocations => (Class::Company, "locations.readonly"),
            Self::CustomFields(_) => (Class::Location, "locations/customFields.readonly"),
            Self::SendMessage => (Class::Location, "conversations/message.write"),
            Self::ExecuteTrigger => (Class::Location, "workflows.readonly"),
        }
    }

    /// Answers.
    pub(super) fn run(self, visit: &mut Visit<'_>) -> Outcome {
        match self {
            Self::Authorize => authorize::choose(visit),
            Self::Token => oauth::token(visit),
            Self::LocationToken => oauth::location_token(visit),
            Self::InstalledLocations => installs::installed_locations(visit),
            Self::GetContact(id) => contacts::get(visit, id),
            Self::CreateContact => contacts::create(visit),
            Self::UpdateContact(id) => contacts::update(visit, id),
            Self::DeleteContact(id) => contacts::delete(visit, id),
            Self::AddTags(id) => contacts::tag(visit, id, true),
            Self::RemoveTags(id) => contacts::tag(visit, id, false),
            Self::SearchContacts => contacts::search(visit),
            Self::ListContacts => contacts::list(visit),
            Self::GetOpportunity(id) => opportunities::get(visit, id),
            Self::CreateOpportunity => opportunities::create(visit),
            Self::UpdateOpportunity(id) => opportunities::update(visit, id),
            Self::DeleteOpportunity(id) => opportunities::delete(visit, id),
            Self::SetStatus(id) => opportunities::set_status(visit, id),
            Self::FindOpportunities => opportunities::find(visit),
            Self::SearchOpportunities => opportunities::search(visit),
            Self::Pipelines => locations::pipelines(visit),
            Self::GetLocation(id) => locations::get(visit, id),
            Self::SearchLocations => locations::search(visit),
            Self::CustomFields(id) => locations::custom_fields(visit, id),
            Self::SendMessage => messages::send(visit),
            Self::ExecuteTrigger => messages::execute_trigger(visit),
        }
    }
}

/// Answers a request: finds its endpoint, judges version and token, and lets the endpoint answer.
///
/// Which of several things that are wrong GHL names first is not documented, but that a code is looked
/// at before the client.
pub(super) fn answer(visit: &mut Visit<'_>) -> Outcome {
    let (method, path) = (&visit.call.method, &visit.call.path);
    let segments = visit.call.segments();
    let Some(endpoint) = Endpoint::find(method, &segments) else {
        return Err(match Endpoint::is_path(&segments) {
            true => Problem::NoMethod,
            false => Problem::NoRoute(format!("Cannot {method} {path}")),
        });
    };
    let (class, scope) = endpoint.needs();
    match visit.call.version.as_deref() {
        Some(version) if !VERSIONS.contains(&version) => return Err(Problem::BadVersion),
        None if class != Class::None => return Err(Problem::NoVersion),
        _ => (),
    }
    if class != Class::None {
        visit.grant = Some(oauth::admit(visit, class, scope)?);
    }
    endpoint.run(visit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_and_its_other_methods_are_not() {
        let segments = ["contacts", "search"];
        assert_eq!(
            Endpoint::find("POST", &segments),
            Some(Endpoint::SearchContacts)
        );
        assert_eq!(Endpoint::find("PATCH", &segments), None);
        assert!(Endpoint::is_path(&segments));
        assert!(!Endpoint::is_path(&["oauth", "installed-locations"]));
        assert!(!Endpoint::is_path(&[]));
    }
}
