//! From texts to one tree of values with their places: defaults, file, variables.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::{Node, Problem, Section, Value};

/// Lays the layers over each other: embedded defaults, the file's text under its name, and variables.
///
/// # Errors
/// A problem for each text that is not TOML.
pub fn lay(
    defaults: &str,
    file: Option<(&str, &str)>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Section, Vec<Problem>> {
    let mut entries = parse("default", defaults, |_| "default".to_owned())?;
    let mut place = "default".to_owned();
    if let Some((name, text)) = file {
        merge(
            &mut entries,
            parse(name, text, |at| position(name, text, at))?,
        );
        name.clone_into(&mut place);
    }
    for (name, text) in variables {
        let Some(path) = name.strip_prefix("HOOKWELL_") else {
            continue;
        };
        // Empty is absent: that is how a container's environment unsets a variable.
        if text.is_empty() {
            continue;
        }
        // One with a single underscore belongs to somebody else, such as a test script.
        let Some((section, key)) = path.split_once("__") else {
            continue;
        };
        let node = Node {
            value: Value::Text(text),
            place: name.clone(),
        };
        let table = BTreeMap::from([(key.to_lowercase(), node)]);
        let section_node = Node {
            value: Value::Table(table),
            place: name.clone(),
        };
        merge(
            &mut entries,
            BTreeMap::from([(section.to_lowercase(), section_node)]),
        );
    }
    Ok(Section::root(entries, place))
}

fn parse(
    name: &str,
    text: &str,
    place: impl Fn(usize) -> String,
) -> Result<BTreeMap<String, Node>, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: toml::de::Error| Problem {
            key: "TOML".to_owned(),
            place: error
                .span()
                .map_or_else(|| name.to_owned(), |span| place(span.start)),
            message: error.message().to_owned(),
        };
        return Err(errors.into_iter().map(problem).collect());
    }
    Ok(table_of(document.into_inner(), &place))
}

fn position(name: &str, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{name}:{line}:{column}")
}

fn table_of(table: DeTable<'_>, place: &impl Fn(usize) -> String) -> BTreeMap<String, Node> {
    table
        .into_iter()
        .map(|(key, value)| (key.into_inner().into_owned(), node_of(value, place)))
        .collect()
}

fn node_of(value: Spanned<DeValue<'_>>, place: &impl Fn(usize) -> String) -> Node {
    let place_here = place(value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Other("a number beyond 64 bits"),
        },
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Array(list) => {
            Value::List(list.into_iter().map(|item| node_of(item, place)).collect())
        }
        DeValue::Table(table) => Value::Table(table_of(table, place)),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node {
        value,
        place: place_here,
    }
}

/// Tables are merged key by key, everything else is replaced.
fn merge(below: &mut BTreeMap<String, Node>, above: BTreeMap<String, Node>) {
    for (key, node) in above {
        match (below.get_mut(&key).map(|old| &mut old.value), node) {
            (
                Some(Value::Table(old)),
                Node {
                    value: Value::Table(new),
                    ..
                },
            ) => merge(old, new),
            (_, node) => {
                below.insert(key, node);
            }
        }
    }
}
