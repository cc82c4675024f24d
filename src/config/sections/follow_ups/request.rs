//! What a rule asks GHL for: a request, or a trigger in its place, and what is looked up before it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{DAY, SECOND};
use super::note;
use crate::config::section::{Section, nearest};
use crate::follow_up::rule::{ANSWER, Lookup, NAMES};
use crate::follow_up::template::{Error, Template};
use crate::ghl::{Method, VERSION};

/// The trigger whose workflows a rule starts; the inner `None` for one that is wrong.
pub(super) fn trigger(s: &mut Section, rule: &str) -> Option<Option<String>> {
    let (text, at) = s.given_text("trigger")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let good = (1..=128).contains(&text.len()) && text.bytes().all(plain);
    if !good {
        s.problem(
            "trigger",
            &at,
            format!(
                "in rule {rule}: must be the key of a workflow trigger: letters, digits, - and _"
            ),
        );
    }
    if let Some((_, at)) = s.given_text("request") {
        s.problem(
            "request",
            &at,
            format!("in rule {rule}: has no place beside trigger, which says where the call goes"),
        );
        return Some(None);
    }
    Some(good.then_some(text))
}

/// A method and a path below the base.
pub(super) fn request(
    s: &mut Section,
    rule: &str,
    place: &str,
    names: &BTreeSet<&str>,
) -> Option<(Method, Template)> {
    let Some((text, at)) = s.given_text("request") else {
        if !s.has_problem("request") {
            s.problem(
                "request",
                place,
                format!("in rule {rule}: is missing, such as \"GET /contacts/{{entity_id}}\""),
            );
        }
        return None;
    };
    let form = format!(
        "in rule {rule}: must be a method and a path, such as \"GET /contacts/{{entity_id}}\""
    );
    let Some((verb, path)) = text.split_once(' ') else {
        s.problem("request", &at, form);
        return None;
    };
    let verbs: Vec<&str> = Method::ALL.iter().map(|method| method.as_str()).collect();
    let Some(method) = Method::ALL
        .into_iter()
        .find(|method| method.as_str() == verb)
    else {
        let hint = match nearest(&verb.to_uppercase(), &verbs) {
            Some(near) => format!("; did you mean {near}?"),
            None => format!("; there are {}", verbs.join(", ")),
        };
        s.problem(
            "request",
            &at,
            format!("in rule {rule}: {verb} is no method{hint}"),
        );
        return None;
    };
    match path_template(path.trim(), names) {
        Ok(path) => Some((method, path)),
        Err(Some(error)) => {
            note(s, rule, "request", &at, &error, names);
            None
        }
        Err(None) => {
            s.problem("request", &at, form);
            None
        }
    }
}

/// A path below the base: it begins with a slash of its own.
fn path_template(path: &str, names: &BTreeSet<&str>) -> Result<Template, Option<Error>> {
    let template = Template::compile(path, names).map_err(Some)?;
    let head = template.head();
    // Spaces may stand in an expression.
    let plain = !path.contains([' ', '#']) || path.contains('{');
    match head.starts_with('/') && !head.starts_with("//") && plain {
        true => Ok(template),
        false => Err(None),
    }
}

/// The `Version` header; [`VERSION`] where none is given.
pub(super) fn version(s: &mut Section) -> Option<String> {
    let version = s.read("version", |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        match (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(text.to_owned()),
            false => Err("must be a Version of GHL's API, such as \"2021-07-28\"".to_owned()),
        }
    });
    match version {
        None if s.has_problem("version") => None,
        version => Some(version.unwrap_or_else(|| VERSION.to_owned())),
    }
}

/// Reads whose answers a rule's expressions may name.
pub(super) fn lookups(s: &mut Section, rule: &str) -> Option<Vec<Lookup>> {
    let mut lookups: Vec<Lookup> = Vec::new();
    let mut complete = true;
    for mut l in s.sections("lookups") {
        let place = l.place().to_owned();
        let name = l.read("name", |text| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            let good = (1..=32).contains(&text.len()) && text.bytes().all(plain);
            match good && text != ANSWER && !NAMES.contains(&text) {
                true => Ok(text.to_owned()),
                false => Err("must be a name of its own of a-z, 0-9 and _".to_owned()),
            }
        });
        if name.is_none() && !l.has_problem("name") {
            l.problem(
                "name",
                &place,
                format!("in rule {rule}: is missing: what its answer is called in expressions"),
            );
        }
        let names: BTreeSet<&str> = NAMES.into_iter().collect();
        let request = request(&mut l, rule, &place, &names);
        let version = version(&mut l);
        let keep = l.duration("keep", SECOND, DAY);
        match (name, request, version) {
            (Some(name), Some((Method::Get, path)), Some(version)) => lookups.push(Lookup {
                name,
                path,
                version,
                keep: keep.unwrap_or(Duration::from_secs(600)),
            }),
            (Some(_), Some((_, _)), Some(_)) => {
                complete = false;
                l.problem(
                    "request",
                    &place,
                    format!("in rule {rule}: a lookup only reads: GET"),
                );
            }
            _ => complete = false,
        }
        s.finish(l);
    }
    complete.then_some(lookups)
}
