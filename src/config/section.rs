//! A table of configuration that is being read: every value with its place, every problem collected.
//!
//! Values are taken out by key; what nobody has taken in the end is an unknown key. Nothing here knows
//! what a key means.

use std::collections::BTreeMap;
use std::fmt;

mod secrets;
mod values;

pub use values::Free;

/// Something wrong, with its key, its place and the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The key, such as `broker.url`.
    pub key: String,
    /// Where its value stands: `file:line:column`, a variable's name, or `default`.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.place, self.message)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// A kind that no key takes: a float or a date.
    Other(&'static str),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: String,
}

/// A table of configuration that is being read.
#[derive(Debug)]
pub struct Section {
    name: String,
    entries: BTreeMap<String, Node>,
    place: String,
    known: Vec<String>,
    problems: Vec<Problem>,
}

impl Section {
    /// The whole configuration.
    pub(super) fn root(entries: BTreeMap<String, Node>, place: String) -> Self {
        Self {
            name: String::new(),
            entries,
            place,
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// Notes a problem with a key of this section.
    pub fn problem(&mut self, key: &str, place: &str, message: impl Into<String>) {
        let key = self.path(key);
        self.problems.push(Problem {
            key,
            place: place.to_owned(),
            message: message.into(),
        });
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        self.known.push(key.to_owned());
        self.entries.remove(key)
    }

    /// Where the section itself stands.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Takes a table out as a section of its own; an empty one where there is none.
    pub fn section(&mut self, key: &str) -> Section {
        let mut section = Section {
            name: self.path(key),
            entries: BTreeMap::new(),
            place: self.place.clone(),
            known: Vec::new(),
            problems: Vec::new(),
        };
        match self.take(key) {
            None => (),
            Some(Node {
                value: Value::Table(entries),
                place,
            }) => {
                section.entries = entries;
                section.place = place;
            }
            Some(Node { value, place }) => {
                self.problem(
                    key,
                    &place,
                    format!("must be a table, [{key}], and is {}", value.kind()),
                );
            }
        }
        section
    }

    /// Takes a list of tables out, each as a section named `key[n]`.
    pub fn sections(&mut self, key: &str) -> Vec<Section> {
        let Some(Node { value, place }) = self.take(key) else {
            return Vec::new();
        };
        let Value::List(items) = value else {
            self.problem(
                key,
                &place,
                format!("must be a list of tables, [[{}]]", self.path(key)),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (n, item) in items.into_iter().enumerate() {
            let name = format!("{}[{n}]", self.path(key));
            match item.value {
                Value::Table(entries) => sections.push(Section {
                    name,
                    entries,
                    place: item.place,
                    known: Vec::new(),
                    problems: Vec::new(),
                }),
                other => self.problem(
                    key,
                    &item.place,
                    format!("entry {n} must be a table and is {}", other.kind()),
                ),
            }
        }
        sections
    }

    /// Takes the problems of a section that was taken out, and reports what nobody has taken from it.
    pub fn finish(&mut self, mut section: Section) {
        let left: Vec<(String, Node)> = std::mem::take(&mut section.entries).into_iter().collect();
        for (key, node) in left {
            let message = match nearest(&key, &section.known) {
                Some(known) => format!("there is no such key; did you mean {known}?"),
                None => format!(
                    "there is no such key here; known are {}",
                    section.known.join(", ")
                ),
            };
            section.problem(&key, &node.place, message);
        }
        self.problems.append(&mut section.problems);
    }

    /// Ends the reading.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut all = Section {
            name: String::new(),
            entries: BTreeMap::new(),
            place: String::new(),
            known: Vec::new(),
            problems: Vec::new(),
        };
        all.finish(self);
        all.problems.sort();
        all.problems
    }

    /// Whether a key is there by somebody's wish. Asked before it is taken.
    pub fn is_given(&self, key: &str) -> bool {
        self.given_at(key).is_some()
    }

    /// Where a key is given, if it is, and not just by the defaults.
    pub fn given_at(&self, key: &str) -> Option<String> {
        let place = &self.entries.get(key)?.place;
        (place != "default").then(|| place.clone())
    }

    /// Whether a problem with a key was noted.
    pub fn has_problem(&self, key: &str) -> bool {
        let path = self.path(key);
        self.problems.iter().any(|problem| problem.key == path)
    }
}

/// The name among those that are known that looks most like this one.
pub fn nearest<'a, S: AsRef<str>>(key: &str, known: &'a [S]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(key, name.as_ref()), name.as_ref()))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
