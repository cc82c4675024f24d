//! Filters, orders and cursors, which both searches of GHL's have in common.
//!
//! GHL describes its search only outside the API's specification. What is here is what clients use
//! (GoHighLevel/highlevel-api-docs issues 31, 170, 247, 289): filters `{field, operator, value}` in groups
//! `{group, filters}`, an order `[{field, direction}]`, and a cursor that each row carries and that goes
//! back unchanged.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::time::{day, millis};

/// A value that rows are ordered by. Times are numbers: milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Missing,
    Number(f64),
    Text(String),
}

impl Key {
    fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::String(text)) => millis(text)
                .map(Self::number)
                .unwrap_or_else(|| Self::Text(text.to_lowercase())),
            Some(Value::Number(number)) => Self::Number(number.as_f64().unwrap_or_default()),
            Some(Value::Bool(flag)) => Self::Text(flag.to_string()),
            _ => Self::Missing,
        }
    }

    /// Milliseconds fit into a float without loss.
    fn number(number: i64) -> Self {
        Self::Number(number as f64)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| match key {
            Self::Missing => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
        };
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => one.total_cmp(two),
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            _ => rank(self).cmp(&rank(other)),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Missing => Value::Null,
            // A whole number is written as one.
            Self::Number(number) if number.fract() == 0.0 => json!(*number as i64),
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
        }
    }
}

/// An order: fields, and whether each is downwards. The id is what decides last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order(pub(super) Vec<(String, bool)>);

impl Order {
    /// The newest first, by this field.
    pub(super) fn newest(field: &str) -> Self {
        Self(vec![(field.to_owned(), true)])
    }

    /// An order as in a request: `[{"field": "dateUpdated", "direction": "asc"}]`.
    pub(super) fn parse(sort: &Value) -> Result<Self, String> {
        let wrong = || "sort must be an array of {field, direction}".to_owned();
        let fields = sort.as_array().ok_or_else(wrong)?.iter().map(|one| {
            let field = one["field"].as_str().ok_or_else(wrong)?;
            match one["direction"].as_str() {
                Some("asc") => Ok((field.to_owned(), false)),
                Some("desc") => Ok((field.to_owned(), true)),
                _ => Err("direction must be one of asc, desc".to_owned()),
            }
        });
        fields.collect::<Result<_, _>>().map(Self)
    }

    fn keys(&self, record: &Value) -> Vec<Key> {
        let key = |(field, _): &(String, bool)| Key::of(record.get(field));
        self.0.iter().map(key).collect()
    }

    fn compare(&self, one: (&[Key], &str), two: (&[Key], &str)) -> Ordering {
        for ((_, down), (a, b)) in self.0.iter().zip(one.0.iter().zip(two.0)) {
            let order = a.compare(b);
            if order.is_ne() {
                return if *down { order.reverse() } else { order };
            }
        }
        one.1.cmp(two.1)
    }
}

/// One page: its rows with their cursors, and how many rows there are in all.
pub(super) struct Page {
    pub(super) rows: Vec<(Value, Value)>,
    pub(super) total: usize,
}

/// The rows after a cursor, or after so many.
pub(super) enum Start {
    /// A cursor, as it came with a row.
    After(Value),
    /// So many rows.
    Skip(usize),
}

/// Cuts a page out of `records`.
pub(super) fn page<'a>(
    records: impl Iterator<Item = &'a Value>,
    order: &Order,
    start: &Start,
    limit: usize,
) -> Result<Page, String> {
    let id = |record: &'a Value| record["id"].as_str().unwrap_or_default();
    let mut rows: Vec<(Vec<Key>, &Value)> =
        records.map(|record| (order.keys(record), record)).collect();
    let total = rows.len();
    rows.sort_by(|one, two| order.compare((&one.0, id(one.1)), (&two.0, id(two.1))));
    let skip = match start {
        Start::Skip(count) => *count,
        Start::After(cursor) => {
            let wrong = || "searchAfter must be what came with a row of the same order".to_owned();
            let cursor = cursor.as_array().ok_or_else(wrong)?;
            let (last, values) = cursor.split_last().ok_or_else(wrong)?;
            let last = last.as_str().ok_or_else(wrong)?;
            if values.len() != order.0.len() {
                return Err(wrong());
            }
            let keys: Vec<Key> = values.iter().map(|value| Key::of(Some(value))).collect();
            let is_past = |(of_row, record): &(Vec<Key>, &'a Value)| {
                order.compare((of_row, id(record)), (&keys, last)).is_le()
            };
            rows.partition_point(is_past)
        }
    };
    let rows = rows
        .into_iter()
        .skip(skip)
        .take(limit)
        .map(|(keys, record)| {
            let mut cursor: Vec<Value> = keys.iter().map(Key::json).collect();
            cursor.push(record["id"].clone());
            (record.clone(), Value::Array(cursor))
        });
    Ok(Page {
        rows: rows.collect(),
        total,
    })
}

/// Whether `filters` are such at all, so that a wrong one is told even where there is nothing to find.
pub(super) fn check(filters: &Value) -> Result<(), String> {
    passes(&Value::Null, filters).map(drop)
}

/// Whether `record` passes a list of filters, all of them.
pub(super) fn passes(record: &Value, filters: &Value) -> Result<bool, String> {
    let filters = filters
        .as_array()
        .ok_or_else(|| "filters must be an array".to_owned())?;
    // Every filter is looked at, so that a wrong one is an error whatever the others say.
    let mut all = true;
    for filter in filters {
        all &= passes_one(record, filter)?;
    }
    Ok(all)
}

fn passes_one(record: &Value, filter: &Value) -> Result<bool, String> {
    if let Some(group) = filter.get("group") {
        let members = filter["filters"]
            .as_array()
            .ok_or_else(|| "filters must be an array".to_owned())?;
        let results = members.iter().map(|member| passes_one(record, member));
        let results: Vec<bool> = results.collect::<Result<_, _>>()?;
        return match group.as_str() {
            Some("AND") => Ok(results.iter().all(|passed| *passed)),
            Some("OR") => Ok(results.iter().any(|passed| *passed)),
            _ => Err("group must be one of AND, OR".to_owned()),
        };
    }
    let field = filter["field"]
        .as_str()
        .ok_or_else(|| "field should not be empty".to_owned())?;
    let found = record.get(field).filter(|value| !value.is_null());
    let wanted = &filter["value"];
    match filter["operator"].as_str() {
        Some("eq") => Ok(equals(found, wanted)),
        Some("not_eq") => Ok(!equals(found, wanted)),
        Some("contains") => Ok(contains(found, wanted)),
        Some("not_contains") => Ok(!contains(found, wanted)),
        Some("exists") => Ok(found.is_some()),
        Some("not_exists") => Ok(found.is_none()),
        Some("range") => in_range(found, wanted),
        _ => Err(format!(
            "operator of {field} must be one of eq, not_eq, contains, not_contains, exists, not_exists, range"
        )),
    }
}

/// Whether a value is the wanted one, or has it, or is one of the wanted ones.
fn equals(found: Option<&Value>, wanted: &Value) -> bool {
    match (found, wanted) {
        (found, Value::Array(several)) => several.iter().any(|one| equals(found, one)),
        (Some(Value::Array(values)), wanted) => {
            values.iter().any(|value| equals(Some(value), wanted))
        }
        (found, wanted) => Key::of(found).compare(&Key::of(Some(wanted))).is_eq(),
    }
}

fn contains(found: Option<&Value>, wanted: &Value) -> bool {
    match (found, wanted.as_str()) {
        (Some(Value::String(text)), Some(part)) => {
            text.to_lowercase().contains(&part.to_lowercase())
        }
        (Some(Value::Array(values)), Some(_)) => {
            values.iter().any(|value| contains(Some(value), wanted))
        }
        _ => false,
    }
}

/// `{gte, gt, lte, lt}`, with times as text or in milliseconds.
fn in_range(found: Option<&Value>, bounds: &Value) -> Result<bool, String> {
    let bounds = bounds
        .as_object()
        .ok_or_else(|| "value of range must be an object".to_owned())?;
    // A day is a time here, too.
    let as_bound = |value: &Value| match value.as_str().and_then(day) {
        Some(time) => Key::number(time),
        None => Key::of(Some(value)),
    };
    let found = found.map(as_bound);
    let mut inside = found.is_some();
    for (name, bound) in bounds {
        let is = match name.as_str() {
            "gte" => Ordering::is_ge,
            "gt" => Ordering::is_gt,
            "lte" => Ordering::is_le,
            "lt" => Ordering::is_lt,
            _ => return Err(format!("{name} must be one of gte, gt, lte, lt")),
        };
        let order = found.as_ref().map(|found| found.compare(&as_bound(bound)));
        inside &= order.is_some_and(is);
    }
    Ok(inside)
}

#[cfg(test)]
mod tests;
