//! What an answer of GHL's API means. Pure: status and body in, one word of a closed set out.
//!
//! GHL answers 401 for at least five different things, and only one of them is cured by a new token: the
//! message has to be read before a refresh token is spent (observed answers, and its common error schemas).

use serde_json::Value;

/// What an answer means for whoever made the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// It was done.
    Done,
    /// The access token is not good any more: refresh or mint once, then again.
    TokenExpired,
    /// The app lacks a scope: permanent until it is authorised again.
    ScopeMissing,
    /// A token of the wrong class, such as a company's on a sub-account's path.
    WrongClass,
    /// No such path or method in this Version.
    NoRoute,
    /// The Version header is missing or not one of GHL's.
    BadVersion,
    /// 401 for a reason that is not known here.
    Unauthorised,
    /// The token may not touch this tenant: another one's, or the app is not installed any more.
    NoAccess,
    /// The record is gone.
    Gone,
    /// The request is wrong (400, 422 and the like): the same request will always be.
    Invalid,
    /// Over the rate limit.
    RateLimited,
    /// GHL cannot at the moment (5xx).
    Unavailable,
    /// A redirect, or a success without a body that can be read: never followed, never believed.
    Unexpected,
}

impl Meaning {
    /// Every meaning.
    pub const ALL: [Self; 13] = [
        Self::Done,
        Self::TokenExpired,
        Self::ScopeMissing,
        Self::WrongClass,
        Self::NoRoute,
        Self::BadVersion,
        Self::Unauthorised,
        Self::NoAccess,
        Self::Gone,
        Self::Invalid,
        Self::RateLimited,
        Self::Unavailable,
        Self::Unexpected,
    ];

    /// The name in metrics, logs and the reason of a parked call.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::TokenExpired => "token_expired",
            Self::ScopeMissing => "scope_missing",
            Self::WrongClass => "wrong_token_class",
            Self::NoRoute => "no_route",
            Self::BadVersion => "bad_version",
            Self::Unauthorised => "unauthorised",
            Self::NoAccess => "no_access",
            Self::Gone => "gone",
            Self::Invalid => "invalid",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
        }
    }

    /// What an answer means.
    pub fn of(status: u16, body: &[u8]) -> Self {
        let said = message_of(body).to_ascii_lowercase();
        let says = |part: &str| said.contains(part);
        match status {
            200..=299 => Self::Done,
            401 if says("invalid token") || says("invalid jwt") || says("jwt expired") => {
                Self::TokenExpired
            }
            401 if says("not authorized for this scope") => Self::ScopeMissing,
            401 if says("authclass") || says("user type mismatch") => Self::WrongClass,
            401 if says("not yet supported by the iam service") => Self::NoRoute,
            400 | 401 if says("version header") || says("invalid api version") => Self::BadVersion,
            401 => Self::Unauthorised,
            403 => Self::NoAccess,
            404 if says("cannot get ") || says("cannot post ") || says("cannot put ") => {
                Self::NoRoute
            }
            404 if says("cannot delete ") || says("cannot patch ") => Self::NoRoute,
            404 | 410 => Self::Gone,
            429 => Self::RateLimited,
            400..=499 => Self::Invalid,
            500..=599 => Self::Unavailable,
            _ => Self::Unexpected,
        }
    }
}

/// Whether a record that was asked for by its id is not there: 404 says so, and for an opportunity that was just deleted
/// 400, as developers report (GoHighLevel/highlevel-api-docs issue 27). Of a request that is wrong 400 is said, too, so
/// the message has to say it.
pub fn is_no_record(status: u16, body: &[u8]) -> bool {
    let said = || message_of(body).to_ascii_lowercase();
    match Meaning::of(status, body) {
        Meaning::Gone => true,
        Meaning::Invalid => status == 400 && said().contains("not found"),
        _ => false,
    }
}

/// The message of an error body, which is a text in one place and a list of texts in another; for the
/// newest paths it is inside `error`. At most 300 characters, without control characters.
pub fn message_of(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return String::new();
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            Some(texts.join("; "))
        }
        _ => None,
    };
    let found = [
        &value["message"],
        &value["error"]["message"],
        &value["error_description"],
        &value["error"],
    ];
    let found = found.into_iter().find_map(text).unwrap_or_default();
    found
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect()
}

/// The code of an error of the token endpoint (RFC 6749, 5.2), or the text that GHL has in its place; empty where there
/// is none. At most 100 characters.
pub fn code_of(body: &[u8]) -> String {
    let value = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let code = value["error"].as_str().unwrap_or_default();
    code.chars().take(100).collect()
}

/// GHL's id for a call, which its support asks for: at most 64 characters, graphic ASCII.
pub fn trace_id_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Traced {
        #[serde(rename = "traceId")]
        trace_id: String,
    }
    let id = serde_json::from_slice::<Traced>(body).ok()?.trace_id;
    (id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_of_errors_has_its_meaning() {
        let rows: &[(u16, &str, Meaning)] = &[
            (200, "{}", Meaning::Done),
            (201, "", Meaning::Done),
            (
                400,
                r#"{"statusCode":400,"message":"Bad Request"}"#,
                Meaning::Invalid,
            ),
            (
                400,
                r#"{"message":"Invalid API version segment 'x' at position 0"}"#,
                Meaning::BadVersion,
            ),
            (
                401,
                r#"{"statusCode":401,"message":"Invalid token: access token is invalid","error":"Unauthorized"}"#,
                Meaning::TokenExpired,
            ),
            (
                401,
                r#"{"statusCode":401,"message":"Invalid JWT"}"#,
                Meaning::TokenExpired,
            ),
            (
                401,
                r#"{"message":"The token is not authorized for this scope."}"#,
                Meaning::ScopeMissing,
            ),
            (
                401,
                r#"{"message":"This authClass type is not allowed to access this scope. x"}"#,
                Meaning::WrongClass,
            ),
            (
                401,
                r#"{"message":"Token's user type mismatch!"}"#,
                Meaning::WrongClass,
            ),
            (
                401,
                r#"{"message":"This route is not yet supported by the IAM Service. x"}"#,
                Meaning::NoRoute,
            ),
            (
                401,
                r#"{"message":"version header was not found."}"#,
                Meaning::BadVersion,
            ),
            (
                401,
                r#"{"message":"version header is invalid"}"#,
                Meaning::BadVersion,
            ),
            (401, "not JSON", Meaning::Unauthorised),
            (
                403,
                r#"{"message":"The token does not have access to this location."}"#,
                Meaning::NoAccess,
            ),
            (404, r#"{"message":"Contact not found"}"#, Meaning::Gone),
            (
                404,
                r#"{"message":"Cannot GET /oauth/location-token"}"#,
                Meaning::NoRoute,
            ),
            (
                422,
                r#"{"statusCode":422,"message":["limit must not be greater than 100"],"error":"Unprocessable Entity"}"#,
                Meaning::Invalid,
            ),
            (429, "", Meaning::RateLimited),
            (500, "", Meaning::Unavailable),
            (503, "<html>", Meaning::Unavailable),
            (302, "", Meaning::Unexpected),
            (0, "", Meaning::Unexpected),
        ];
        for (status, body, meaning) in rows {
            assert_eq!(
                Meaning::of(*status, body.as_bytes()),
                *meaning,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn a_record_is_not_there_where_400_says_so_too() {
        for (status, body, expected) in [
            (404, r#"{"message":"Contact not found"}"#, true),
            (410, "", true),
            (
                400,
                r#"{"statusCode":400,"message":"Opportunity with id x not found"}"#,
                true,
            ),
            (400, r#"{"message":["Opportunity Not Found"]}"#, true),
            (400, r#"{"statusCode":400,"message":"Bad Request"}"#, false),
            (400, "not found", false),
            (404, r#"{"message":"Cannot GET /x"}"#, false),
            (401, r#"{"message":"version header was not found."}"#, false),
            (422, r#"{"message":["x not found"]}"#, false),
            (200, r#"{"message":"x not found"}"#, false),
        ] {
            assert_eq!(
                is_no_record(status, body.as_bytes()),
                expected,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn the_message_is_a_text_a_list_or_inside_error_and_never_more_than_a_line() {
        for (body, message) in [
            (r#"{"message":"one"}"#, "one"),
            (r#"{"message":["one","two"]}"#, "one; two"),
            (r#"{"error":{"code":"x","message":"one"}}"#, "one"),
            (
                r#"{"error":"UnAuthorized!","error_description":"one"}"#,
                "one",
            ),
            (r#"{"error":"one"}"#, "one"),
            ("{\"message\":\"o\\nn\\u001be\"}", "one"),
            ("[]", ""),
            ("", ""),
        ] {
            assert_eq!(message_of(body.as_bytes()), message, "{body}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(1_000));
        assert_eq!(message_of(long.as_bytes()).len(), 300);
    }

    #[test]
    fn a_trace_id_is_taken_only_if_it_is_plain() {
        assert_eq!(
            trace_id_of(br#"{"traceId":"8f71-x"}"#).as_deref(),
            Some("8f71-x")
        );
        assert_eq!(trace_id_of(br#"{"traceId":"a b"}"#), None);
        assert_eq!(trace_id_of(b"[]"), None);
    }
}
