//! Messages and workflow triggers: nothing is sent; what came is kept for whoever asks.

use serde_json::{Value, json};

use super::answer::Answer;
use super::contacts;
use super::errors::Problem;
use super::journal::Received;
use super::visit::{Outcome, Visit, text};

/// The channels in `apps/conversations.json` of GoHighLevel/highlevel-api-docs.
const TYPES: [&str; 7] = [
    "SMS",
    "Email",
    "WhatsApp",
    "IG",
    "FB",
    "Custom",
    "Live_Chat",
];

/// `POST /conversations/messages`. Its own version is 2021-04-15; the others are taken as well. The
/// status of a success is not agreed on by the sources, so a client should take any 2xx.
pub(super) fn send(visit: &mut Visit<'_>) -> Outcome {
    let body = visit.call.json()?;
    let mut wrong = Vec::new();
    let kind = text(&body, "type");
    if kind.is_none_or(|kind| !TYPES.contains(&kind)) {
        wrong.push(format!("type must be one of {}", TYPES.join(", ")));
    }
    let contact = text(&body, "contactId");
    if contact.is_none() {
        wrong.push("contactId should not be empty".to_owned());
    }
    let (Some(kind), Some(contact), true) = (kind, contact, wrong.is_empty()) else {
        return Err(Problem::Invalid(wrong));
    };
    contacts::known(visit, contact)?;
    let mut answer = json!({
        "conversationId": format!("conversation-{contact}"),
        "messageId": uuid::Uuid::new_v4().simple().to_string(),
    });
    if kind == "Email" {
        answer["emailMessageId"] = uuid::Uuid::new_v4().simple().to_string().into();
    }
    keep(visit, Value::Object(body.clone()));
    Ok(Answer::created(answer))
}

/// `POST /workflows-marketplace/triggers/execute/{}/{}`, the `targetUrl` of a subscription to a workflow
/// trigger. Without a token it is answered 401, as developers report; what else is not documented.
pub(super) fn execute_trigger(visit: &mut Visit<'_>) -> Outcome {
    let body = visit.call.json()?;
    keep(visit, Value::Object(body));
    Ok(Answer::ok(json!({ "success": true })))
}

fn keep(visit: &mut Visit<'_>, body: Value) {
    let received = Received {
        at_us: visit.now.0,
        path: visit.call.path.clone(),
        tenant: visit.location(),
        body,
    };
    visit.state.journal.receive(received);
}
