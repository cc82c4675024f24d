//! Trouble on demand: what goes wrong with which requests, and how often.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accounts::Account;
use super::answer::{Answer, Content, camel_case};

mod bodies;

use bodies::{broken, flood, hang_up};

/// Where a client that follows redirects would find a cloud's secrets.
pub const METADATA: &str = "http://169.254.169.254/latest/meta-data/";

/// A deed for some requests. In JSON: `{"path": "/contacts/", "count": 2, "deed": {"status": 503}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What the path begins with; any path without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The method; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The id of the account whose token is used or asked for; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How often; without it, until the faults are cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What happens.
    pub deed: Deed,
}

impl Fault {
    /// `deed` for every request, until the faults are cleared.
    pub fn new(deed: Deed) -> Self {
        Self {
            path: None,
            method: None,
            tenant: None,
            count: None,
            deed,
        }
    }

    /// The same only for paths that begin like this.
    pub fn path(mut self, prefix: &str) -> Self {
        self.path = Some(prefix.to_owned());
        self
    }

    /// The same only for this method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// The same only for this account.
    pub fn tenant(mut self, account: &Account) -> Self {
        self.tenant = Some(account.id().to_owned());
        self
    }

    /// The same so many times.
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}

/// What can happen. In JSON the name alone, or `{name: value}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Nothing is done for so many milliseconds; a client that hangs up meanwhile prevents it.
    Delay(u64),
    /// It is done at once and answered so many milliseconds later.
    LateAnswer(u64),
    /// Nothing is done and this status answered, without the headers of the rate limit.
    Status(u16),
    /// Nothing is done, and this is answered: a status and JSON.
    Answer(u16, Value),
    /// The connection ends.
    HangUp(Moment),
    /// It is done, and the answer is JSON cut in half.
    Malformed,
    /// It is done, and the answer says that it is a page.
    WrongType,
    /// Nothing is done, and so many bytes come, without a length.
    Flood(u64),
    /// Nothing is done, and the client is sent there, with its method and its body. [`METADATA`] is a
    /// place for it.
    Redirect(String),
    /// A token answer has no refresh token.
    NoRefreshToken,
    /// A token answer has this as `expires_in`, number or not.
    ExpiresIn(Value),
    /// A token answer is spelled as in version v3: `accessToken`, `refreshToken`, `expiresIn`.
    CamelCase,
}

/// When a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Nothing was done.
    Before,
    /// It was done, and not a byte of the answer comes.
    After,
    /// It was done, and the answer ends in the middle.
    Midway,
}

impl Deed {
    /// The deed's name, for the journal.
    fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            Ok(Value::Object(fields)) => fields.keys().next().cloned().unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Whether it is about token answers only.
    fn is_about_tokens(&self) -> bool {
        matches!(
            self,
            Self::NoRefreshToken | Self::ExpiresIn(_) | Self::CamelCase
        )
    }

    /// How long nothing is done.
    pub(super) fn wait_before(&self) -> Duration {
        match self {
            Self::Delay(millis) => Duration::from_millis(*millis),
            _ => Duration::ZERO,
        }
    }

    /// How long an answer is held back.
    pub(super) fn wait_after(&self) -> Duration {
        match self {
            Self::LateAnswer(millis) => Duration::from_millis(*millis),
            _ => Duration::ZERO,
        }
    }

    /// What comes instead of doing anything, with the status that is seen.
    pub(super) fn instead(&self) -> Option<(Option<StatusCode>, Response)> {
        let answer = match self {
            Self::HangUp(Moment::Before) => return Some((None, hang_up())),
            Self::Flood(bytes) => {
                let answer = Answer::ok(Value::Null);
                let response = answer.response(flood(*bytes), "application/json");
                return Some((Some(StatusCode::OK), response));
            }
            Self::Status(code) => {
                // What is no status is an error of whoever asked for it, and 500 says so loudly enough.
                let status =
                    StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let message = status.canonical_reason().unwrap_or("Error");
                let mut answer = Answer::json(
                    status,
                    json!({"statusCode": status.as_u16(), "message": message}),
                );
                answer.trace();
                answer
            }
            Self::Answer(code, body) => {
                let status = StatusCode::from_u16(*code);
                Answer::json(
                    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    body.clone(),
                )
            }
            // 307, which has the client send its method and body again: the worst that could be followed.
            Self::Redirect(to) => Answer::redirect(StatusCode::TEMPORARY_REDIRECT, to)?,
            _ => return None,
        };
        Some((Some(answer.status), answer.plain()))
    }

    /// Changes a token answer.
    pub(super) fn spoil_tokens(&self, answer: &mut Answer) {
        let Content::Json(Value::Object(fields)) = &mut answer.body else {
            return;
        };
        if !answer.status.is_success() {
            return;
        }
        match self {
            Self::NoRefreshToken => drop(fields.remove("refresh_token")),
            Self::ExpiresIn(value) => {
                fields.insert("expires_in".to_owned(), value.clone());
            }
            Self::CamelCase => camel_case(fields),
            _ => (),
        }
    }

    /// What goes out for `answer`, with the status that is seen.
    pub(super) fn send(&self, answer: Answer) -> (Option<StatusCode>, Response) {
        let status = answer.status;
        let (bytes, media_type) = answer.bytes();
        let response = match self {
            Self::HangUp(Moment::After) => return (None, hang_up()),
            Self::HangUp(_) => {
                return (
                    None,
                    answer.response(broken(bytes.slice(..bytes.len() / 2)), media_type),
                );
            }
            Self::Malformed => {
                answer.response(Body::from(bytes.slice(..bytes.len() / 2)), media_type)
            }
            Self::WrongType => answer.response(Body::from(bytes), "text/html; charset=utf-8"),
            _ => answer.plain(),
        };
        (Some(status), response)
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    /// Adds one. Where several apply to a request, the oldest counts.
    pub(super) fn add(&mut self, fault: Fault) {
        self.list.push(fault);
    }

    /// Ends all.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Those in force.
    pub(super) fn list(&self) -> &[Fault] {
        &self.list
    }

    /// What happens to a request, and its name.
    pub(super) fn pick(
        &mut self,
        method: &str,
        path: &str,
        tenant: Option<&str>,
        gives_tokens: bool,
    ) -> Option<(Deed, String)> {
        let at = self.list.iter().position(|fault| {
            let begins = fault
                .path
                .as_ref()
                .is_none_or(|prefix| path.starts_with(prefix.as_str()));
            let is_method = fault.method.as_ref().is_none_or(|wanted| wanted == method);
            let is_tenant = fault.tenant.is_none() || fault.tenant.as_deref() == tenant;
            begins && is_method && is_tenant && (gives_tokens || !fault.deed.is_about_tokens())
        })?;
        let fault = &mut self.list[at];
        let deed = fault.deed.clone();
        if let Some(count) = &mut fault.count {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.list.remove(at);
            }
        }
        let name = deed.name();
        Some((deed, name))
    }
}

#[cfg(test)]
mod tests;
