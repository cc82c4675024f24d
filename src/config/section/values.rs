//! Taking a value out of a section: of which kind it has to be, and within which bounds.

use std::time::Duration;

use super::{Node, Section, Value};

impl Section {
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
