//! What goes wrong, in GHL's words. The wording decides what a client does: a 401 has six meanings, and
//! only two of them are cured by a new token.
//!
//! Sources: `common/common-schemas.json` of GoHighLevel/highlevel-api-docs for the shapes; the texts of
//! 401 and 403 as measured against the live service by Exalt24/ghl-tenant-bridge
//! (`docs/INTEGRATION_CONTRACT.md`) and trevorotts1/openclaw-onboarding.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::Answer;

/// Why a request is not answered as it hoped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// No `Version` header.
    NoVersion,
    /// One that was never published.
    BadVersion,
    /// No access token, an unknown or an expired one.
    BadToken,
    /// Something that is no JWT.
    BadJwt,
    /// A token of an agency where one of a sub-account belongs, or the other way round.
    WrongClass,
    /// A token without the scope.
    NoScope,
    /// A token of another account, or of one that has uninstalled the app.
    OtherAccount,
    /// No such record, or no longer. The text says which.
    Gone(String),
    /// No such path.
    NoRoute(String),
    /// The path, but not this method.
    NoMethod,
    /// What fails validation, field by field.
    Invalid(Vec<String>),
    /// Anything else that is the client's fault.
    Bad(String),
    /// Over a limit.
    TooMany,
    /// The token endpoint has a form of its own.
    OAuth {
        /// The status.
        status: StatusCode,
        /// The kind.
        error: &'static str,
        /// The text.
        description: &'static str,
    },
}

impl Problem {
    /// One field that is not there.
    pub(super) fn missing(field: &str) -> Self {
        Self::Invalid(vec![format!("{field} should not be empty")])
    }

    /// The answer that says so.
    pub(super) fn answer(self) -> Answer {
        let (status, body) = match self {
            Self::NoVersion => unauthorized("version header was not found."),
            // Another measurement saw 400 "Invalid API version segment 'x' at position 0".
            Self::BadVersion => unauthorized("version header is invalid"),
            Self::BadToken => unauthorized("Invalid token: access token is invalid"),
            Self::BadJwt => unauthorized("Invalid JWT"),
            Self::WrongClass => unauthorized(
                "This authClass type is not allowed to access this scope. Please verify your IAM configuration if this is not the case.",
            ),
            Self::NoScope => unauthorized("The token is not authorized for this scope."),
            Self::NoMethod => unauthorized(
                "This route is not yet supported by the IAM Service. Please update your IAM config if this is not the case.",
            ),
            Self::OtherAccount => named(
                StatusCode::FORBIDDEN,
                "The token does not have access to this location.",
                "Forbidden",
            ),
            Self::Gone(text) | Self::NoRoute(text) => {
                named(StatusCode::NOT_FOUND, &text, "Not Found")
            }
            // The one kind whose message is an array.
            Self::Invalid(texts) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                let body = json!({
                    "statusCode": status.as_u16(),
                    "message": texts,
                    "error": "Unprocessable Entity",
                });
                (status, body)
            }
            Self::Bad(text) => named(StatusCode::BAD_REQUEST, &text, "Bad Request"),
            // The wording is not documented, nor is there a Retry-After.
            Self::TooMany => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let body = json!({"statusCode": status.as_u16(), "message": "Too Many Requests"});
                (status, body)
            }
            Self::OAuth {
                status,
                error,
                description,
            } => (
                status,
                json!({"error": error, "error_description": description}),
            ),
        };
        Answer::json(status, body)
    }
}

fn unauthorized(text: &str) -> (StatusCode, Value) {
    named(StatusCode::UNAUTHORIZED, text, "Unauthorized")
}

fn named(status: StatusCode, text: &str, error: &str) -> (StatusCode, Value) {
    let body = json!({"statusCode": status.as_u16(), "message": text, "error": error});
    (status, body)
}
