//! Why a webhook was not taken: the only place of its status codes.
//!
//! GHL counts every status outside 2xx as a failure and retries it for about three days. What cannot be committed now is
//! answered 429, which GHL has retried under every rule it ever had.

use axum::http::StatusCode;

use crate::ingest::Refusal;

/// Why a request was answered with something else than 200.
#[derive(Debug)]
pub(super) enum Problem {
    Refused(Refusal),
    BadRequest,
    NotFound,
    MethodNotAllowed,
    BodyTooSlow,
    BodyTooLarge,
    BodyTruncated,
    UnsupportedMediaType,
    /// No memory for one more body.
    Full,
    /// No room on the disk but for what is in the log already.
    DiskReserve,
}

impl Problem {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let own = [
            Self::BadRequest,
            Self::NotFound,
            Self::MethodNotAllowed,
            Self::BodyTooSlow,
            Self::BodyTooLarge,
            Self::BodyTruncated,
            Self::UnsupportedMediaType,
            Self::Full,
            Self::DiskReserve,
        ];
        own.into_iter().chain(Refusal::all().map(Self::Refused))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Refusal::Signature(_)) => StatusCode::UNAUTHORIZED,
            Self::Refused(Refusal::UnknownApp) => StatusCode::FORBIDDEN,
            Self::Refused(Refusal::Overloaded | Refusal::Unavailable)
            | Self::Full
            | Self::DiskReserve => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest | Self::BodyTruncated => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// The `reason` label of `hookwell_refused_total`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::BadRequest => "bad_request",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTruncated => "truncated",
            Self::UnsupportedMediaType => "media_type",
            Self::Full => "memory_full",
            Self::DiskReserve => "disk_reserve",
        }
    }

    /// Short, constant, and the same for every signature: an attacker learns nothing.
    pub(super) fn text(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::Signature(_)) => r#"{"error":"signature"}"#,
            Self::Refused(Refusal::UnknownApp) => r#"{"error":"unknown app"}"#,
            Self::Refused(Refusal::Overloaded | Refusal::Unavailable)
            | Self::Full
            | Self::DiskReserve => r#"{"error":"come again later"}"#,
            Self::BadRequest | Self::BodyTruncated => r#"{"error":"bad request"}"#,
            Self::NotFound => r#"{"error":"not found"}"#,
            Self::MethodNotAllowed => r#"{"error":"post only"}"#,
            Self::BodyTooSlow => r#"{"error":"too slow"}"#,
            Self::BodyTooLarge => r#"{"error":"body too large"}"#,
            Self::UnsupportedMediaType => r#"{"error":"application/json only"}"#,
        }
    }

    /// Whether the rest of the request may still be on the wire.
    pub(super) fn ends_the_connection(&self) -> bool {
        matches!(
            self,
            Self::BodyTooSlow
                | Self::BodyTooLarge
                | Self::BodyTruncated
                | Self::BadRequest
                | Self::Full
        )
    }
}
