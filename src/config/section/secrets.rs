//! Secrets: given by their key, or by a file that a key names.

use std::path::Path;

use super::{Section, Value};
use crate::key_file;

impl Section {
    /// The file with a secret, where others than its owner and its group may read it, or its group may change it.
    pub fn open_secret(&self, key: &str) -> Option<String> {
        let Value::Text(path) = &self.entries.get(&format!("{key}_file"))?.value else {
            return None;
        };
        // There Docker puts secrets that the whole container may read; nobody else is in it.
        let is_containers = path.starts_with("/run/secrets/");
        (!is_containers && key_file::is_open(Path::new(path))).then(|| path.clone())
    }

    /// Takes a secret: from the key itself, or from the file that `<key>_file` names. `several` says
    /// whether commas and line ends separate more than one; lines of a file that begin with `#` are comments then.
    pub fn secrets(&mut self, key: &str, several: bool) -> Vec<(String, String)> {
        let file_key = format!("{key}_file");
        let Some((path, place)) = self.given_text(&file_key) else {
            // Commas are legal in a password.
            return match several {
                true => self.texts(key),
                false => self.given_text(key).into_iter().collect(),
            };
        };
        if let Some(node) = self.take(key)
            && node.place != "default"
        {
            self.problem(
                key,
                &node.place,
                format!("is also given by {file_key}; keep one of the two"),
            );
        }
        match std::fs::read_to_string(&path) {
            Ok(text) if several => text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .flat_map(|line| line.split(','))
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| (part.to_owned(), path.clone()))
                .collect(),
            Ok(text) => match text.trim() {
                "" => Vec::new(),
                text => vec![(text.to_owned(), path)],
            },
            Err(error) => {
                self.problem(&file_key, &place, format!("{path} cannot be read: {error}"));
                Vec::new()
            }
        }
    }
}
