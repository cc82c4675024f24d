//! From a claimed row to the request that it is: a rule's, one of its lookups', a page of a repair, or none.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::super::rule::{self, Lookup, Rendered, Rule, TokenOf};
use super::super::{BACKFILL, RECONCILE, template, verdict};
use super::outcome::Purpose;
use super::progress::{NoCall, Progress, again};
use super::shared::Shared;
use super::{Runner, backfill, reconcile};
use crate::event::backfill::Kind;
use crate::event::subscription::starts_a_workflow;
use crate::ghl;
use crate::store::{Claimed, Next};
use crate::telemetry::Chain;

impl Runner {
    /// The request of a claimed row and what it is for, or an end without one.
    pub(super) async fn prepare(
        &self,
        claimed: &Claimed,
        progress: &Progress,
        shared: &Shared,
    ) -> Result<(Rendered, Purpose), NoCall> {
        let no_rule = || {
            park(
                verdict::NO_RULE,
                format!("no rule is called {}", claimed.rule),
            )
        };
        match rule::parts(&claimed.rule) {
            (BACKFILL, kind) => {
                let kind = kind.and_then(Kind::parse).ok_or_else(no_rule)?;
                let ask = backfill::ask_of(claimed, kind, (self.clock)()).ok_or_else(no_rule)?;
                let request =
                    backfill::request(kind, &ask, &claimed.tenant, progress.cursor.as_ref());
                return Ok((request, Purpose::Backfill(kind, ask)));
            }
            (RECONCILE, _) => {
                let (app_id, company) = (&claimed.event.event.app_id, &claimed.tenant);
                let request = reconcile::request(app_id, company, progress.cursor.as_ref());
                return Ok((request, Purpose::Reconcile));
            }
            _ => (),
        }
        let (rule, workflow) = self.rules.of_call(&claimed.rule);
        let rule = rule.ok_or_else(no_rule)?;
        let may_repeat = rule.policy.idempotent || crate::failpoints::mutant("mutant.M16");
        if claimed.taken_over && !may_repeat {
            return Err(park(
                verdict::OUTCOME_UNKNOWN,
                "whoever made the call did not come to its end".to_owned(),
            ));
        }
        if claimed.tenant.is_empty() {
            let detail = match rule.token_of {
                TokenOf::Tenant => "the event is of no tenant",
                TokenOf::Company => "the company of the event's location is not known",
            };
            let detail = detail.to_owned();
            return Err(park(verdict::NO_TENANT, detail));
        }
        let workflow = match workflow {
            None => None,
            Some(id) => {
                let app_id = &claimed.event.event.app_id;
                let kept = self.store.subscription(app_id, &claimed.tenant, id);
                match kept.await {
                    // One that was kept by an earlier version may lead to any call of the API.
                    Ok(Some(one)) if !starts_a_workflow(&one.target_url, self.client.base()) => {
                        let detail = "its targetUrl starts no workflow of the API; publish the workflow again at GHL";
                        return Err(park(verdict::TEMPLATE, detail.to_owned()));
                    }
                    Ok(Some(workflow)) => Some(workflow),
                    Ok(None) => {
                        let detail = "the workflow does not use the trigger any more".to_owned();
                        return Err(NoCall(Next::Cancelled, Some("unsubscribed"), detail));
                    }
                    Err(error) => {
                        let (reason, detail) = (verdict::STORE_UNAVAILABLE, Chain(&error));
                        return Err(NoCall(again(claimed), Some(reason), detail.to_string()));
                    }
                }
            }
        };
        let template = |error: template::Error| Err(park(verdict::TEMPLATE, error.to_string()));
        let looked_up = match self.lookups(rule, claimed, shared) {
            Ok(LookedUp::All(answers)) => answers,
            Ok(LookedUp::Lacks { ask, of }) => {
                let name = kept_as(rule, of, claimed, &ask);
                return Ok((get(ask, &of.version), Purpose::Lookup(name, of.keep)));
            }
            Err(error) => return template(error),
        };
        let rendered = rule.render(&claimed.event, looked_up.clone(), workflow.as_ref());
        match rendered {
            Ok(mut rendered) => {
                if let (Some(pages), Some(cursor)) = (rule.pages, &progress.cursor) {
                    let Rendered { target, body, .. } = &mut rendered;
                    pages.list.go_on(target, body, cursor);
                }
                Ok((rendered, Purpose::Rule(looked_up)))
            }
            Err(error) => template(error),
        }
    }

    /// The answers of a rule's lookups for this event, as far as they are kept.
    fn lookups<'a>(
        &self,
        rule: &'a Rule,
        claimed: &Claimed,
        shared: &Shared,
    ) -> Result<LookedUp<'a>, template::Error> {
        let mut answers = BTreeMap::new();
        if rule.lookups.is_empty() {
            return Ok(LookedUp::All(answers));
        }
        let (now, context) = (
            Instant::now(),
            rule::context(&claimed.event, &BTreeMap::new()),
        );
        for lookup in &rule.lookups {
            let target = lookup.path.address(&context)?;
            let name = kept_as(rule, lookup, claimed, &target);
            match shared.kept.get(&name, now) {
                Some(answer) => {
                    answers.insert(lookup.name.clone(), (*answer).clone());
                }
                None => {
                    return Ok(LookedUp::Lacks {
                        ask: target,
                        of: lookup,
                    });
                }
            }
        }
        Ok(LookedUp::All(answers))
    }
}

/// What is there of the answers that a rule needs.
enum LookedUp<'a> {
    /// Everything, by the names in expressions.
    All(BTreeMap<String, Json>),
    /// This one is to be asked for there.
    Lacks { ask: String, of: &'a Lookup },
}

/// What an answer is kept under. The path is in it as it is sent: it may name a record of the event.
fn kept_as(rule: &Rule, lookup: &Lookup, claimed: &Claimed, target: &str) -> String {
    let (app_id, tenant) = (&claimed.event.event.app_id, &claimed.tenant);
    format!("{}/{}/{app_id}/{tenant}{target}", rule.name, lookup.name)
}

fn park(reason: &'static str, detail: String) -> NoCall {
    NoCall(Next::Park, Some(reason), detail)
}

fn get(target: String, version: &str) -> Rendered {
    Rendered {
        method: ghl::Method::Get,
        target,
        version: version.to_owned(),
        body: None,
    }
}
