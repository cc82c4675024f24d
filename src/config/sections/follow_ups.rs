//! `[[follow_ups]]`: each rule compiled, with what is wrong said by its name, the field, and the nearest right one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::section::{Section, nearest};
use super::HOUR;
use crate::event::catalogue;
use crate::follow_up::rule::{
    ANSWER, CallTemplate, NAMES, Pages, Rule, SUBSCRIPTION, Target, TokenOf,
};
use crate::follow_up::template::{BodyTemplate, Error, Expression};
use crate::follow_up::verdict::Policy;
use crate::ghl::Method;
use crate::ghl::pages::List;
use crate::retry::Attempts;

use circle::circle;
use request::{lookups, request, trigger, version};

mod circle;
mod request;

/// Rules at most.
const MOST: usize = 500;

/// Every rule of the configuration, with problems for those that are wrong.
pub(super) fn rules(
    root: &mut Section,
    attempts: Option<Attempts>,
    warnings: &mut Vec<String>,
) -> Option<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut complete = true;
    for mut s in root.sections("follow_ups") {
        let place = s.place().to_owned();
        match rule(&mut s, attempts, warnings) {
            Some(rule) => {
                if rules.iter().any(|other| other.name == rule.name) {
                    s.problem("name", &place, format!("{} is there twice", rule.name));
                }
                rules.push(rule);
            }
            None => complete = false,
        }
        root.finish(s);
    }
    if MOST < rules.len() {
        let place = root.place().to_owned();
        root.problem("follow_ups", &place, format!("has more than {MOST} rules"));
    }
    if let Some(circle) = circle(&rules) {
        let place = root.place().to_owned();
        let message = format!(
            "{circle}: every answer would call for the next one, without end; give one of them another publish_as or tombstone_as"
        );
        root.problem("follow_ups", &place, message);
        complete = false;
    }
    complete.then_some(rules)
}

/// A problem in a rule says which rule it is in.
fn note(
    s: &mut Section,
    rule: &str,
    key: &str,
    place: &str,
    error: &Error,
    names: &BTreeSet<&str>,
) {
    let hint = match error {
        Error::UnknownName { name, .. } => {
            let known: Vec<_> = names.iter().copied().collect();
            match nearest(name, &known) {
                Some(known) => format!("; did you mean {known}?"),
                None => format!("; there are {}", known.join(", ")),
            }
        }
        _ => String::new(),
    };
    s.problem(key, place, format!("in rule {rule}: {error}{hint}"));
}

/// Without `defaults`, where the section that has them is wrong, nothing but what is wrong with the rule comes of it.
fn rule(s: &mut Section, defaults: Option<Attempts>, warnings: &mut Vec<String>) -> Option<Rule> {
    let place = s.place().to_owned();
    let name = s.read("name", |text| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        match (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(text.to_owned()),
            false => Err("must be 1 to 64 of a-z, 0-9, - and _".to_owned()),
        }
    });
    if name.is_none() && !s.has_problem("name") {
        s.problem("name", &place, "is missing: a rule needs a name of its own");
    }
    // The rest is read all the same, so that everything is said at once.
    let shown = name.clone().unwrap_or_else(|| "without a name".to_owned());
    let on = types(s, &shown, &place, warnings);
    let lookups = lookups(s, &shown);
    let looked_up: Vec<String> = lookups
        .iter()
        .flatten()
        .map(|lookup| lookup.name.clone())
        .collect();
    let names = Rule::names(looked_up.iter().map(String::as_str));
    let plain_names: BTreeSet<&str> = NAMES.into_iter().collect();
    let when = match s.given_text("when") {
        None => Some(None),
        Some((text, at)) => match Expression::condition(&text, &plain_names) {
            Ok(when) => Some(Some(when)),
            Err(error) => {
                note(s, &shown, "when", &at, &error, &plain_names);
                None
            }
        },
    };
    let trigger = trigger(s, &shown);
    let call = match trigger {
        None => {
            request(s, &shown, &place, &names).map(|(method, path)| (method, Target::Path(path)))
        }
        Some(trigger) => trigger.map(|trigger| (Method::Post, Target::Trigger(trigger))),
    };
    let version = version(s);
    let mut in_body = names.clone();
    if matches!(call, Some((_, Target::Trigger(_)))) {
        in_body.insert(SUBSCRIPTION);
    }
    let body = body(s, &shown, "body", &in_body);
    let mut with_answer = names.clone();
    with_answer.insert(ANSWER);
    let publish = self::body(s, &shown, "publish", &with_answer);
    let publish_as = event_type(s, "publish_as");
    let tombstone_as = event_type(s, "tombstone_as");
    let coalesce = s.duration("coalesce", Duration::ZERO, HOUR);
    let token_of = match s.read("token_of", |text| match text {
        "tenant" => Ok(TokenOf::Tenant),
        "company" => Ok(TokenOf::Company),
        _ => Err("must be \"tenant\" or \"company\"".to_owned()),
    }) {
        None if s.has_problem("token_of") => None,
        token_of => Some(token_of.unwrap_or(TokenOf::Tenant)),
    };
    if let (Some(TokenOf::Company), Some((_, Target::Trigger(_)))) = (token_of, &call) {
        let why = "has no place beside trigger: a workflow is its location's, and is started with the location's token";
        s.problem("token_of", &place, format!("in rule {shown}: {why}"));
    }
    let pages = pages(s, &shown, call.as_ref());
    let attempts = s.number("attempts", 1, 100);
    let idempotent = s.flag("idempotent");
    if publish.as_ref().is_some_and(Option::is_some)
        && publish_as.as_ref().is_some_and(Option::is_none)
    {
        s.problem(
            "publish",
            &place,
            format!("in rule {shown}: has no effect without publish_as"),
        );
    }
    let (method, target) = call?;
    let defaults = defaults?;
    Some(Rule {
        name: name?,
        on: on?,
        when: when?,
        call: CallTemplate {
            method,
            target,
            version: version?,
            body: body?,
        },
        token_of: token_of?,
        lookups: lookups?,
        pages: pages?,
        publish_as: publish_as?,
        publish: publish?,
        coalesce: coalesce.filter(|window| !window.is_zero()),
        policy: Policy {
            attempts: Attempts {
                most: attempts.map_or(defaults.most, |most| {
                    u32::try_from(most).unwrap_or(u32::MAX)
                }),
                ..defaults
            },
            // A list is only read, whatever the method.
            idempotent: idempotent.unwrap_or(method.is_idempotent() || pages?.is_some()),
            tombstone: tombstone_as.as_ref()?.is_some(),
        },
        tombstone_as: tombstone_as?,
    })
}

fn types(
    s: &mut Section,
    rule: &str,
    place: &str,
    warnings: &mut Vec<String>,
) -> Option<BTreeSet<String>> {
    let given = s.texts("on");
    if given.is_empty() {
        if !s.has_problem("on") {
            s.problem(
                "on",
                place,
                format!("in rule {rule}: is missing: the types of events that call for it"),
            );
        }
        return None;
    }
    let known: Vec<&str> = catalogue::all()
        .iter()
        .map(|kind| kind.event_type)
        .collect();
    let mut types = BTreeSet::new();
    let mut good = true;
    for (name, at) in given {
        if let Some(kind) = catalogue::find(&name) {
            types.insert(kind.event_type.to_owned());
        } else if let Some(near) = nearest(&name, &known) {
            good = false;
            s.problem(
                "on",
                &at,
                format!("in rule {rule}: {name} is no type of event; did you mean {near}?"),
            );
        } else {
            // GHL adds types now and then, and answers have types of their own.
            warnings.push(format!(
                "rule {rule}: the type {name} is not in the table of `hookwell events types`"
            ));
            types.insert(name);
        }
    }
    good.then_some(types)
}

/// How a rule goes through a list; the inner `None` where it does not.
fn pages(s: &mut Section, rule: &str, call: Option<&(Method, Target)>) -> Option<Option<Pages>> {
    let place = s.place().to_owned();
    let Some(most) = s.number("pages", 1, 10_000) else {
        return (!s.has_problem("pages")).then_some(None);
    };
    let list = match call? {
        (method, Target::Path(path)) => List::of(*method, path.head()),
        (_, Target::Trigger(_)) => None,
    };
    let Some(list) = list else {
        let known = List::ALL.map(|list| format!("{} {}", list.method.as_str(), list.path));
        s.problem(
            "pages",
            &place,
            format!(
                "in rule {rule}: its request reads no list with a known cursor; there are {}",
                known.join(", ")
            ),
        );
        return None;
    };
    Some(Some(Pages {
        list,
        most: u32::try_from(most).ok()?,
    }))
}

fn body(
    s: &mut Section,
    rule: &str,
    key: &str,
    names: &BTreeSet<&str>,
) -> Option<Option<BodyTemplate>> {
    let Some((value, at)) = s.value(key) else {
        return (!s.has_problem(key)).then_some(None);
    };
    match BodyTemplate::compile(&value, names) {
        Ok(body) => Some(Some(body)),
        Err(error) => {
            note(s, rule, key, &at, &error, names);
            None
        }
    }
}

fn event_type(s: &mut Section, key: &str) -> Option<Option<String>> {
    let given = s.read(key, |text| {
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        match text.split_once('.') {
            Some((family, action)) if text.len() <= 100 && word(family) && word(action) => Ok(text.to_owned()),
            _ => Err("must be <family>.<action> of a-z, 0-9 and _, such as \"contact.snapshot\"; consumers bind to \
                      <family>.<action>.<tenant>"
                .to_owned()),
        }
    });
    match given {
        None if s.has_problem(key) => None,
        given => Some(given),
    }
}
