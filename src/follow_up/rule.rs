//! A rule: which events call for which call, and what becomes of the answer. Compiled from the configuration,
//! pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minijinja::Value;
use minijinja::value::Serde;
use serde_json::{Value as Json, json};

use super::template::{BodyTemplate, Error, Expression, Template};
use super::verdict::Policy;
use crate::clock::rfc3339;
use crate::event::subscription::Subscription;
use crate::event::{Event, Recorded};
use crate::ghl::Method;
use crate::ghl::pages::List;

/// The names that an expression may use of an event.
pub const NAMES: [&str; 11] = [
    "entity_id",
    "location_id",
    "company_id",
    "tenant",
    "app_id",
    "event_type",
    "event_key",
    "position",
    "origin",
    "received_at",
    "body",
];

/// The name of the workflow that a trigger starts, in its body.
pub const SUBSCRIPTION: &str = "subscription";

/// The name of the answer, in what is published.
pub const ANSWER: &str = "answer";

/// What a rule's tenant has to be for its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOf {
    /// The location's token, or the company's for an event of a company.
    Tenant,
    /// The company's.
    Company,
}

/// Where a call goes.
#[derive(Debug)]
pub enum Target {
    /// To a path and query.
    Path(Template),
    /// To every workflow of the tenant that waits for this trigger: a call each.
    Trigger(String),
}

/// A list that a call reads page by page.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    /// How it goes on.
    pub list: List,
    /// Pages at most.
    pub most: u32,
}

/// A call as a rule describes it.
#[derive(Debug)]
pub struct CallTemplate {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub target: Target,
    /// The Version header.
    pub version: String,
    /// The body.
    pub body: Option<BodyTemplate>,
}

/// A call that a rule needs the answer of, kept for a while for every event of the tenant that asks for the same.
#[derive(Debug)]
pub struct Lookup {
    /// The name of its answer in expressions.
    pub name: String,
    /// The call, always GET.
    pub path: Template,
    /// The Version header.
    pub version: String,
    /// How long its answer is good for.
    pub keep: Duration,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// The types of events.
    pub on: BTreeSet<String>,
    /// What must hold of the event.
    pub when: Option<Expression>,
    /// The call.
    pub call: CallTemplate,
    /// Whose token it is made with.
    pub token_of: TokenOf,
    /// The answers it needs before.
    pub lookups: Vec<Lookup>,
    /// The type under which the answer is published: `<family>.<action>`.
    pub publish_as: Option<String>,
    /// What is published; without it, the answer as it came.
    pub publish: Option<BodyTemplate>,
    /// The type under which it is said that the record is gone.
    pub tombstone_as: Option<String>,
    /// Where the call reads a list: page by page.
    pub pages: Option<Pages>,
    /// How long to wait for other events of the record.
    pub coalesce: Option<Duration>,
    /// How often it is tried, and what may be repeated.
    pub policy: Policy,
}

impl Rule {
    /// Whether an event calls for it.
    pub fn takes(&self, event: &Recorded, context: &Value) -> bool {
        self.on.contains(&event.event.event_type)
            && self.when.as_ref().is_none_or(|when| when.holds(context))
    }

    /// The names that its expressions may use, the answer left out.
    pub fn names<'a>(lookups: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        NAMES.into_iter().chain(lookups).collect()
    }

    /// The trigger whose workflows it starts, if it does.
    pub fn trigger(&self) -> Option<&str> {
        match &self.call.target {
            Target::Path(_) => None,
            Target::Trigger(trigger) => Some(trigger),
        }
    }

    /// Whose token its call for an event is made with, and whose budget it is; `known` is the company of the event's
    /// location where that is known, for most events say none.
    pub fn token_owner<'a>(&self, event: &'a Event, known: Option<&'a str>) -> Option<&'a str> {
        match self.token_of {
            TokenOf::Tenant => event.tenant.id(),
            TokenOf::Company => event.tenant.company_id.as_deref().or(known),
        }
    }

    /// What its call for an event sends, to this workflow if it starts one; `answers` are those of its lookups.
    ///
    /// # Errors
    /// What cannot be evaluated for this event.
    pub fn render(
        &self,
        event: &Recorded,
        mut answers: BTreeMap<String, Json>,
        workflow: Option<&Subscription>,
    ) -> Result<Rendered, Error> {
        if let Some(workflow) = workflow {
            let known = json!({
                "id": workflow.id, "trigger": workflow.trigger, "workflow_id": workflow.workflow_id,
                "filters": workflow.filters,
            });
            answers.insert(SUBSCRIPTION.to_owned(), known);
        }
        let context = context(event, &answers);
        let body = self.call.body.as_ref().map(|body| body.value(&context));
        let body = match body.transpose()? {
            // A workflow gets the event as it came.
            None if workflow.is_some() => serde_json::from_slice(&event.event.body).ok(),
            body => body,
        };
        let target = match &self.call.target {
            Target::Path(path) => path.address(&context)?,
            Target::Trigger(_) => workflow.map_or_else(String::new, |one| one.target_url.clone()),
        };
        Ok(Rendered {
            method: self.call.method,
            target,
            version: self.call.version.clone(),
            body,
        })
    }

    /// The body of what is published, made from the answer; `None` for the answer as it came.
    ///
    /// # Errors
    /// What cannot be evaluated for this event and answer.
    pub fn message(&self, context: &Value) -> Result<Option<Json>, Error> {
        self.publish
            .as_ref()
            .map(|publish| publish.value(context))
            .transpose()
    }
}

/// A call as it is sent, but for its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The Version header.
    pub version: String,
    /// The body.
    pub body: Option<Json>,
}

/// What expressions see of an event; `answers` are those of lookups, and the answer itself.
pub fn context(event: &Recorded, answers: &BTreeMap<String, Json>) -> Value {
    let recorded = event;
    let event = &recorded.event;
    let mut context = json!({
        "entity_id": event.entity_id,
        "location_id": event.tenant.location_id,
        "company_id": event.tenant.company_id,
        "tenant": event.tenant.id(),
        "app_id": event.app_id,
        "event_type": event.event_type,
        "event_key": event.key.as_str(),
        "position": recorded.position.0,
        "origin": event.origin.as_str(),
        "received_at": rfc3339(event.received_at),
        // Bodies that cannot be read have no type that a rule could name.
        "body": serde_json::from_slice::<Json>(&event.body).unwrap_or(Json::Null),
    });
    if let Some(fields) = context.as_object_mut() {
        for (name, answer) in answers {
            fields.insert(name.clone(), answer.clone());
        }
    }
    Value::from(Serde(&context))
}

/// What a call is planned under: the rule's name, and which workflow it starts where it starts one.
pub fn planned_as(name: &str, workflow: Option<&str>) -> String {
    match workflow {
        None => name.to_owned(),
        Some(workflow) => format!("{name}/{workflow}"),
    }
}

/// The inverse of [`planned_as`].
pub fn parts(planned: &str) -> (&str, Option<&str>) {
    match planned.split_once('/') {
        None => (planned, None),
        Some((name, workflow)) => (name, Some(workflow)),
    }
}

/// The rules of a configuration, by name.
#[derive(Debug, Default)]
pub struct Rules {
    rules: BTreeMap<String, Rule>,
}

impl Rules {
    /// Rules with different names.
    pub fn new(rules: Vec<Rule>) -> Self {
        let named = rules.into_iter().map(|rule| (rule.name.clone(), rule));
        Self {
            rules: named.collect(),
        }
    }

    /// The rule of a name.
    pub fn find(&self, name: &str) -> Option<&Rule> {
        self.rules.get(name)
    }

    /// The rule of a planned call, and which workflow the call is to start.
    pub fn of_call<'a>(&self, planned: &'a str) -> (Option<&Rule>, Option<&'a str>) {
        let (name, workflow) = parts(planned);
        (self.find(name), workflow)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// The types of events that any of them takes.
    pub fn types(&self) -> BTreeSet<&str> {
        self.all()
            .flat_map(|rule| rule.on.iter().map(String::as_str))
            .collect()
    }
}
