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
            writeln!(out, "{}", Value::Object(object))?;
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
    let mut line = |row: &[String]| {
        let padded: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(
        &names
            .iter()
            .map(|name| name.to_uppercase().replace('_', " "))
            .collect::<Vec<_>>(),
    )?;
    cells.iter().try_for_each(|row| line(row))
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
        other => other.to_string(),
    }
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
