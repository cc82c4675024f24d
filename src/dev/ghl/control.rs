//! The handle over HTTP, for the shipped binary: `/_dev/`. Nothing here costs budget, is in the journal or
//! meets a fault.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Ghl;
use super::accounts::Account;
use super::answer::Answer;
use super::faults::Fault;
use super::visit::{Call, text};

/// What there is, as `GET /_dev/` shows it.
const ROUTES: [&str; 21] = [
    "GET /_dev/report",
    "GET /_dev/journal",
    "DELETE /_dev/journal",
    "GET /_dev/received",
    "GET /_dev/fault",
    "POST /_dev/fault",
    "DELETE /_dev/fault",
    "GET /_dev/contacts/{id}",
    "PUT /_dev/contacts/{id}",
    "DELETE /_dev/contacts/{id}",
    "GET /_dev/opportunities/{id}",
    "PUT /_dev/opportunities/{id}",
    "DELETE /_dev/opportunities/{id}",
    "PUT /_dev/locations/{id}",
    "POST /_dev/install",
    "POST /_dev/uninstall",
    "POST /_dev/code",
    "POST /_dev/expire",
    "an account is {\"company\": \"ID\"} or {\"location\": \"ID\"}",
    "a fault is {\"path\": \"/contacts/\", \"method\": \"GET\", \"tenant\": \"ID\", \"count\": 1, \"deed\": DEED}",
    "a deed is {\"delay\": MS}, {\"late_answer\": MS}, {\"status\": 503}, {\"answer\": [401, {…}]}, {\"hang_up\": \"before|after|midway\"}, \"malformed\", \"wrong_type\", {\"flood\": BYTES}, {\"redirect\": URL}, \"no_refresh_token\", {\"expires_in\": ANYTHING}, \"camel_case\"",
];

/// Answers a request to `/_dev/`.
pub(super) fn answer(ghl: &Ghl, call: &Call) -> Response {
    let answer = decide(ghl, call)
        .unwrap_or_else(|why| Answer::json(StatusCode::BAD_REQUEST, json!({ "error": why })));
    answer.plain()
}

fn decide(ghl: &Ghl, call: &Call) -> Result<Answer, String> {
    let body = || {
        call.json()
            .map_err(|_| "the body is not a JSON object".to_owned())
    };
    let account = || {
        let body = Value::Object(body()?);
        serde_json::from_value::<Account>(body).map_err(|_| {
            "the body must be {\"company\": \"ID\"} or {\"location\": \"ID\"}".to_owned()
        })
    };
    let done = || Answer::ok(json!({ "done": true }));
    let record = |found: Option<Value>| match found {
        Some(record) => Answer::ok(record),
        None => Answer::json(StatusCode::NOT_FOUND, json!({ "error": "not there" })),
    };
    let segments = call.segments();
    Ok(
        match (call.method.as_str(), segments.get(1..).unwrap_or_default()) {
            ("GET", []) => Answer::ok(json!({ "routes": ROUTES })),
            ("GET", ["report"]) => Answer::ok(json!(ghl.report())),
            ("GET", ["journal"]) => Answer::ok(json!(ghl.journal())),
            ("DELETE", ["journal"]) => {
                ghl.clear_journal();
                done()
            }
            ("GET", ["received"]) => Answer::ok(json!(ghl.received())),
            ("GET", ["fault"]) => Answer::ok(json!(ghl.lock().faults.list())),
            ("POST", ["fault"]) => {
                let fault = serde_json::from_value::<Fault>(Value::Object(body()?));
                ghl.fault(fault.map_err(|error| error.to_string())?);
                done()
            }
            ("DELETE", ["fault"]) => {
                ghl.clear_faults();
                done()
            }
            ("GET", ["contacts", id]) => record(ghl.contact(id)),
            ("PUT", ["contacts", id]) => {
                ghl.put_contact(id, Value::Object(body()?));
                record(ghl.contact(id))
            }
            ("DELETE", ["contacts", id]) => {
                ghl.delete_contact(id);
                done()
            }
            ("GET", ["opportunities", id]) => record(ghl.opportunity(id)),
            ("PUT", ["opportunities", id]) => {
                ghl.put_opportunity(id, Value::Object(body()?));
                record(ghl.opportunity(id))
            }
            ("DELETE", ["opportunities", id]) => {
                ghl.delete_opportunity(id);
                done()
            }
            ("PUT", ["locations", id]) => {
                ghl.put_location(id, text(&body()?, "name"));
                done()
            }
            ("POST", ["install"]) => {
                ghl.install(&account()?);
                done()
            }
            ("POST", ["uninstall"]) => {
                ghl.uninstall(&account()?);
                done()
            }
            ("POST", ["code"]) => Answer::ok(json!({ "code": ghl.issue_code(&account()?) })),
            ("POST", ["expire"]) => {
                let account = match body()?.is_empty() {
                    true => None,
                    false => Some(account()?),
                };
                ghl.expire_access_tokens(account.as_ref());
                done()
            }
            _ => Answer::json(
                StatusCode::NOT_FOUND,
                json!({ "error": "no such route", "routes": ROUTES }),
            ),
        },
    )
}
