//! A table of configuration that is being read: every value with its place, every problem collected.
//!
//! Values are taken out by key; what nobody has taken in the end is an unknown key. Nothing here knows
//! what a key means.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

mod secrets;

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

    /// Takes a value and reads it with `read`, which says what would be right.
    pub fn read<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.take(key)?;
        let text = match node.value {
            Value::Text(text) => text,
            other => {
                self.problem(
                    key,
                    &node.place,
                    format!("must be text in quotes and is {}", other.kind()),
                );
                return None;
            }
        };
        match read(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(key, &node.place, message);
                None
            }
        }
    }

    /// Takes text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.read(key, |text| Ok(text.to_owned()))
    }

    /// Takes text with its place.
    pub fn given_text(&mut self, key: &str) -> Option<(String, String)> {
        let place = self.entries.get(key).map(|node| node.place.clone());
        Some((self.text(key)?, place?))
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

    /// Takes one text or a list of texts, each with its place. A variable separates them by commas.
    pub fn texts(&mut self, key: &str) -> Vec<(String, String)> {
        let Some(node) = self.take(key) else {
            return Vec::new();
        };
        match node.value {
            Value::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| (part.to_owned(), node.place.clone()))
                .collect(),
            Value::List(items) => {
                let mut texts = Vec::new();
                for item in items {
                    match item.value {
                        Value::Text(text) => texts.push((text, item.place)),
                        other => self.problem(
                            key,
                            &item.place,
                            format!("must be a list of texts and holds {}", other.kind()),
                        ),
                    }
                }
                texts
            }
            other => {
                self.problem(
                    key,
                    &node.place,
                    format!("must be text or a list of texts and is {}", other.kind()),
                );
                Vec::new()
            }
        }
    }

    /// Takes a whole number within bounds.
    pub fn number(&mut self, key: &str, least: i64, most: i64) -> Option<i64> {
        let node = self.take(key)?;
        let number = match &node.value {
            Value::Number(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.problem(
                key,
                &node.place,
                format!("must be a whole number from {least} to {most}"),
            );
        }
        number
    }

    /// Takes true or false.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let node = self.take(key)?;
        let flag = match &node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.problem(key, &node.place, "must be true or false");
        }
        flag
    }

    /// Takes a duration such as `5s` within bounds.
    pub fn duration(&mut self, key: &str, least: Duration, most: Duration) -> Option<Duration> {
        self.read(key, |text| {
            let bounds = || {
                format!(
                    "must be a duration from {} to {}, such as \"5s\" or \"7days\"",
                    humantime::format_duration(least),
                    humantime::format_duration(most)
                )
            };
            let duration = humantime::parse_duration(text).map_err(|_| bounds())?;
            if (least..=most).contains(&duration) {
                Ok(duration)
            } else {
                Err(bounds())
            }
        })
    }

    /// Takes a size such as `1MiB` within bounds.
    pub fn size(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        self.read(key, |text| {
            let bounds = || {
                format!(
                    "must be a size from {} to {}, such as \"1MiB\"",
                    bytesize::ByteSize(least),
                    bytesize::ByteSize(most)
                )
            };
            let size = text
                .parse::<bytesize::ByteSize>()
                .map_err(|_| bounds())?
                .as_u64();
            if (least..=most).contains(&size) {
                Ok(size)
            } else {
                Err(bounds())
            }
        })
    }

    /// Takes a table whose keys are free, with texts, numbers and flags as values, each with its place.
    pub fn free_table<T>(
        &mut self,
        key: &str,
        of: impl Fn(Free<'_>, &str) -> T,
    ) -> Vec<(String, T)> {
        let Some(node) = self.take(key) else {
            return Vec::new();
        };
        let Value::Table(entries) = node.value else {
            self.problem(key, &node.place, "must be a table, such as { name = 20 }");
            return Vec::new();
        };
        let mut taken = Vec::new();
        for (name, node) in entries {
            match &node.value {
                Value::Text(text) => taken.push((name, of(Free::Text(text), &node.place))),
                Value::Number(number) => taken.push((name, of(Free::Number(*number), &node.place))),
                Value::Flag(flag) => taken.push((name, of(Free::Flag(*flag), &node.place))),
                other => self.problem(
                    &format!("{key}.{name}"),
                    &node.place,
                    format!("must be text, a number or a flag and is {}", other.kind()),
                ),
            }
        }
        taken
    }

    /// Takes a value of any form, with its place.
    pub fn value(&mut self, key: &str) -> Option<(serde_json::Value, String)> {
        let node = self.take(key)?;
        let place = node.place.clone();
        match json_of(node) {
            Ok(value) => Some((value, place)),
            Err((place, kind)) => {
                self.problem(
                    key,
                    &place,
                    format!("must not hold {kind}; write it as text"),
                );
                None
            }
        }
    }
}

/// A value of a free table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Free<'a> {
    /// Text.
    Text(&'a str),
    /// A number.
    Number(i64),
    /// A flag.
    Flag(bool),
}

/// A value as JSON, or the place and kind of what has no place in it.
fn json_of(node: Node) -> Result<serde_json::Value, (String, &'static str)> {
    Ok(match node.value {
        Value::Text(text) => text.into(),
        Value::Number(number) => number.into(),
        Value::Flag(flag) => flag.into(),
        Value::List(items) => {
            let items: Result<Vec<_>, _> = items.into_iter().map(json_of).collect();
            items?.into()
        }
        Value::Table(entries) => {
            let fields: Result<serde_json::Map<_, _>, _> = entries
                .into_iter()
                .map(|(name, node)| Ok((name, json_of(node)?)))
                .collect();
            fields?.into()
        }
        Value::Other(kind) => return Err((node.place, kind)),
    })
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
