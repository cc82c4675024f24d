//! Rows in columns for people, one JSON object a line for programs.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// Prints rows under the names of their columns. `json` prints an object a line instead.
pub(super) fn print(json: bool, names: &[&str], rows: &[Vec<Value>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for row in rows {
            let object: Map<_, _> = names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(row.clone())
                .collect();
            writeln!(out, "{}", line(&Value::Object(object)))?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        return writeln!(out, "none");
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(text).collect())
        .collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|n| {
            cells
                .iter()
                .map(|row| row[n].chars().count())
                .chain([names[n].len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut row_of = |row: &[String]| {
        let padded: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    row_of(
        &names
            .iter()
            .map(|name| name.to_uppercase().replace('_', " "))
            .collect::<Vec<_>>(),
    )?;
    cells.iter().try_for_each(|row| row_of(row))
}

/// Prints one thing: a line for each of its fields, or an object with all of them.
pub(super) fn one(json: bool, fields: Vec<(&str, Value)>) -> io::Result<()> {
    if json {
        let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        return print(true, &names, &[values]);
    }
    self::fields(&mut io::stdout().lock(), &fields)
}

/// Prints one thing, a line for each of its fields.
pub(super) fn fields(out: &mut impl Write, fields: &[(&str, Value)]) -> io::Result<()> {
    fields.iter().try_for_each(|(name, value)| {
        writeln!(out, "{:<14} {}", name.replace('_', " "), text(value))
    })
}

/// A value as a cell: never a control character, whatever a webhook brought.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => line(other),
    }
}

/// A value as JSON on one line that is safe to show on a terminal.
pub(super) fn line(value: &Value) -> String {
    inert(&value.to_string())
}

/// The same on many lines, for people.
pub(super) fn pretty(value: &Value) -> String {
    inert(&format!("{value:#}"))
}

/// JSON escapes what ASCII calls a control character but for DEL; terminals obey those above it too. Neither
/// is anywhere in JSON but within a string, where this means the same.
fn inert(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => text.push(c),
        }
    }
    text
}

/// Text that is safe to show on a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn no_value_drives_a_terminal_and_json_says_the_same() {
        let value = json!({"a": ["\u{9b}31m", "\u{1b}[31m", "\u{7f}\n", "ä\\u009b"]});
        for shown in [
            line(&value),
            pretty(&value),
            text(&value),
            text(&value["a"][0]),
        ] {
            let drives = shown.chars().any(|c| c.is_control() && c != '\n');
            assert!(!drives, "{shown:?}");
        }
        for shown in [line(&value), pretty(&value)] {
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
    }
}
