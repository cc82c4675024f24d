//! One request with everything its handler may look at and change.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::State;
use super::accounts::Account;
use super::answer::Answer;
use super::errors::Problem;
use super::form;
use super::settings::Settings;
use super::tokens::Grant;
use crate::event::Micros;

/// What a handler makes of a request.
pub(super) type Outcome = Result<Answer, Problem>;

/// A request as it came.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) raw_query: String,
    pub(super) query: BTreeMap<String, String>,
    /// The headers that matter here, first of each.
    pub(super) version: Option<String>,
    pub(super) authorization: Option<String>,
    content_type: Option<String>,
    body: Bytes,
}

impl Call {
    /// Takes a request apart.
    pub(super) fn new(
        method: &str,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Self {
        let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            raw_query: query.to_owned(),
            query: form::decode(query),
            version: header("version"),
            authorization: header(header::AUTHORIZATION.as_str()),
            content_type: header(header::CONTENT_TYPE.as_str()),
            body,
        }
    }

    /// The parts of the path between slashes.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// The access token.
    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.authorization.as_deref()?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    }

    /// A query parameter that is not empty.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let value = self.query.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// A query parameter that is a number, at most `most`; `default` without it.
    pub(super) fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Problem> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        let number = text
            .parse()
            .map_err(|_| Problem::Invalid(vec![format!("{name} must be a number string")]))?;
        match number <= most {
            true => Ok(number),
            false => Err(too_large(name, most)),
        }
    }

    /// The body as a JSON object; an empty body is an empty one.
    pub(super) fn json(&self) -> Result<Map<String, Value>, Problem> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::Bad(format!("the body is not a JSON object: {error}")))
    }

    /// The body as fields of text. GHL documents forms for its token endpoints and takes JSON as well.
    pub(super) fn fields(&self) -> Result<BTreeMap<String, String>, Problem> {
        let media_type = self.content_type.as_deref().unwrap_or_default();
        if media_type.starts_with("application/json") {
            let fields = self.json()?.into_iter();
            return Ok(fields
                .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
                .collect());
        }
        Ok(form::decode(&String::from_utf8_lossy(&self.body)))
    }
}

/// A number over its bound.
pub(super) fn too_large(name: &str, most: usize) -> Problem {
    Problem::Invalid(vec![format!("{name} must not be greater than {most}")])
}

/// What a handler works on.
pub(super) struct Visit<'a> {
    pub(super) settings: &'a Settings,
    pub(super) state: &'a mut State,
    pub(super) call: &'a Call,
    pub(super) now: Micros,
    /// What the access token gives a right to; none where none is needed.
    pub(super) grant: Option<Grant>,
}

impl Visit<'_> {
    /// The sub-account of the token; empty where the token is an agency's.
    pub(super) fn location(&self) -> String {
        match self.grant.as_ref().map(|grant| &grant.account) {
            Some(Account::Location(id)) => id.clone(),
            _ => String::new(),
        }
    }

    /// That the token is for this sub-account.
    pub(super) fn must_be_of(&self, location: &str) -> Result<(), Problem> {
        let granted = self.grant.as_ref().map(|grant| &grant.account);
        match granted {
            Some(Account::Location(id)) if id == location => Ok(()),
            _ => Err(Problem::OtherAccount),
        }
    }

    /// That the token is for this agency.
    pub(super) fn must_be_of_company(&self, company: &str) -> Result<(), Problem> {
        match self.grant.as_ref().map(|grant| &grant.account) {
            Some(Account::Company(id)) if id == company => Ok(()),
            _ => Err(Problem::OtherAccount),
        }
    }

    /// A text field of a JSON body that has to be there, and to be for the token's sub-account.
    pub(super) fn own_location(&self, body: &Map<String, Value>) -> Result<String, Problem> {
        let location = text(body, "locationId").ok_or_else(|| Problem::missing("locationId"))?;
        self.must_be_of(location)?;
        Ok(location.to_owned())
    }
}

/// A text field of a JSON body that is not empty.
pub(super) fn text<'a>(body: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    body.get(field)?.as_str().filter(|text| !text.is_empty())
}
