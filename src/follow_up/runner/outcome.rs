//! How a call ended, from its answer and what it was made for: an answer that has to be read and cannot be is
//! believed by nobody. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::super::rule::Rule;
use super::super::verdict::{self, Outcome};
use crate::event::backfill::{Ask, Kind};
use crate::ghl::{self, Answer, Meaning, Method, meaning};
use crate::telemetry::Chain;

/// What a call was for.
pub(super) enum Purpose {
    /// For the rule, with the answers of its lookups.
    Rule(BTreeMap<String, Json>),
    /// For a lookup: its name in the kept answers, and how long it stays there.
    Lookup(String, Duration),
    /// For a page of records that changed.
    Backfill(Kind, Ask),
    /// For a page of where the app is installed.
    Reconcile,
}

impl Purpose {
    /// Whether the answer, of which this is the body, has to be JSON. What a write without an answer has done is done.
    fn wants_json(&self, rule: Option<&Rule>, body: &[u8]) -> bool {
        match self {
            Self::Rule(_) => rule.is_some_and(|rule| {
                let reads = rule.call.method == Method::Get || !body.is_empty();
                rule.pages.is_some() || (rule.publish_as.is_some() && reads)
            }),
            Self::Lookup(..) | Self::Backfill(..) | Self::Reconcile => true,
        }
    }
}

/// How a call ended.
pub(super) fn outcome_of(
    answer: &Result<Answer, ghl::Error>,
    purpose: &Purpose,
    rule: Option<&Rule>,
) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(ghl::Error::TooLarge(_)) => return Outcome::TooLarge,
        Err(ghl::Error::Unanswered(_)) => return Outcome::Unanswered,
        Err(_) => return Outcome::NotSent,
    };
    let meaning = answer.meaning();
    let is_json = || serde_json::from_slice::<IgnoredAny>(&answer.body).is_ok();
    if meaning == Meaning::Done && purpose.wants_json(rule, &answer.body) && !is_json() {
        return Outcome::Unreadable;
    }
    let is_record = matches!(purpose, Purpose::Rule(_))
        && rule.is_some_and(|rule| rule.call.method == Method::Get && rule.policy.tombstone);
    let status = answer.status;
    let meaning = match is_record && meaning::is_no_record(status, &answer.body) {
        true => Meaning::Gone,
        false => meaning,
    };
    Outcome::Answered { meaning, status }
}

/// Its name in metrics, and why a call is made again.
pub(super) fn name_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { meaning, .. } => meaning.as_str(),
        Outcome::NotSent => "not_sent",
        Outcome::Unanswered => "unanswered",
        Outcome::TooLarge => verdict::ANSWER_TOO_LARGE,
        Outcome::Unreadable => Meaning::Unexpected.as_str(),
    }
}

/// The same in more words; none for what went well.
pub(super) fn detail_of(outcome: Outcome, answer: &Result<Answer, ghl::Error>) -> String {
    match (outcome, answer) {
        (Outcome::Unreadable, Ok(answer)) => format!(
            "the answer, {} with {} bytes, is not JSON",
            answer.status,
            answer.body.len()
        ),
        (
            Outcome::Answered {
                meaning: Meaning::Done,
                ..
            },
            _,
        ) => String::new(),
        (_, Ok(answer)) => said(&answer.body),
        (_, Err(error)) => Chain(error).to_string(),
    }
}

/// What an answer says that was found to be readable.
pub(super) fn json_of(answer: &Answer) -> Json {
    serde_json::from_slice(&answer.body).unwrap_or(Json::Null)
}

/// What an error body says, with GHL's id for the call, which its support asks for.
pub(super) fn said(body: &[u8]) -> String {
    let message = meaning::message_of(body);
    match meaning::trace_id_of(body) {
        Some(trace) => format!("{message} (traceId {trace})"),
        None => message,
    }
}
