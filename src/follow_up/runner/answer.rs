//! Where answers go: into the log, as events of our own.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::super::rule::{self, ANSWER, Rule};
use super::super::verdict;
use super::Runner;
use super::outcome::{json_of, said};
use super::progress::{Progress, again, no_next};
use crate::event::{BodyHash, Event, EventKey, Origin};
use crate::failpoints;
use crate::ghl::Answer;
use crate::store::{Claimed, Ended, Next};

impl Runner {
    /// What becomes of a rule's answer: it is published, and a list goes on with its next page.
    pub(super) async fn take_answer(
        &self,
        rule: Option<&Rule>,
        claimed: &Claimed,
        progress: &mut Progress,
        looked_up: BTreeMap<String, Json>,
        answer: &Answer,
        ended: &mut Ended,
    ) -> Next {
        let Some(rule) = rule else {
            return Next::Park;
        };
        let page = progress.page + 1;
        let next = self
            .publish(rule, claimed, page, answer, looked_up, ended)
            .await;
        let Some(pages) = rule.pages.filter(|_| next == Next::Done) else {
            return next;
        };
        let next = match pages.list.after(&json_of(answer), progress.cursor.as_ref()) {
            Ok(next) => next,
            Err(why) => return no_next(why, ended),
        };
        let Some(next) = progress.page_read(next, Duration::ZERO) else {
            return Next::Done;
        };
        if page < pages.most {
            return next;
        }
        (ended.reason, ended.detail) = (
            Some("more_pages"),
            format!("there are more than {page} pages; raise `pages` and retry"),
        );
        Next::Park
    }

    /// Appends the answer to the log, where the rule publishes it.
    async fn publish(
        &self,
        rule: &Rule,
        claimed: &Claimed,
        page: u32,
        answer: &Answer,
        mut answers: BTreeMap<String, Json>,
        ended: &mut Ended,
    ) -> Next {
        let Some(publish_as) = &rule.publish_as else {
            return Next::Done;
        };
        let body = match &rule.publish {
            None => answer.body.clone(),
            Some(_) => {
                answers.insert(ANSWER.to_owned(), json_of(answer));
                match rule.message(&rule::context(&claimed.event, &answers)) {
                    Ok(message) => Bytes::from(message.unwrap_or(Json::Null).to_string()),
                    Err(error) => {
                        (ended.reason, ended.detail) = (Some(verdict::TEMPLATE), error.to_string());
                        return Next::Park;
                    }
                }
            }
        };
        self.append(rule, claimed, page, publish_as, body, ended)
            .await
    }

    /// Says to consumers that a record is gone.
    pub(super) async fn publish_tombstone(
        &self,
        rule: &Rule,
        claimed: &Claimed,
        answer: &Answer,
        ended: &mut Ended,
    ) -> Next {
        let Some(tombstone_as) = &rule.tombstone_as else {
            return Next::Park;
        };
        let event = &claimed.event.event;
        let body = json!({
            "id": event.entity_id, "locationId": event.tenant.location_id, "gone": true,
            "status": answer.status, "message": said(&answer.body),
            "eventKey": event.key.as_str(), "eventType": event.event_type,
        });
        self.append(
            rule,
            claimed,
            1,
            tombstone_as,
            Bytes::from(body.to_string()),
            ended,
        )
        .await
    }

    /// Appends an event of our own; its key is that of the call, so that one made twice is one event where
    /// the answer is the same.
    async fn append(
        &self,
        rule: &Rule,
        claimed: &Claimed,
        page: u32,
        event_type: &str,
        body: Bytes,
        ended: &mut Ended,
    ) -> Next {
        let of = &claimed.event;
        let mut key = format!("{}-{}", claimed.rule, of.position);
        if 1 < page {
            key.push_str(&format!("-{page}"));
        }
        let event = Event {
            key: EventKey::from_id(&key)
                .unwrap_or_else(|| EventKey::from_body(&BodyHash::of(&body))),
            app_id: of.event.app_id.clone(),
            event_type: event_type.to_owned(),
            tenant: of.event.tenant.clone(),
            entity_id: of.event.entity_id.clone(),
            origin: Origin::FollowUp,
            signature: None,
            received_at: (self.clock)(),
            body_hash: BodyHash::of(&body),
            body,
        };
        if failpoints::mutant("mutant.M15") {
            let writer = self.writer.clone();
            failpoints::later(async move { drop(writer.append(event).await) });
            return Next::Done;
        }
        if self.writer.append(event).await.is_some() {
            failpoints::crash("call.appended");
            return Next::Done;
        }
        // The call was made, its answer is not in the log: it is made again if it may be.
        if !rule.policy.idempotent {
            ended.reason = Some(verdict::OUTCOME_UNKNOWN);
            ended.detail = "the call was made, its answer is not in the log".to_owned();
            return Next::Park;
        }
        ended.reason = Some(verdict::STORE_UNAVAILABLE);
        again(claimed)
    }
}
