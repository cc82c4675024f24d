//! README, ARCHITECTURE and `config/` say what is true: what they repeat of the code is compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hookwell::config::{Config, DEFAULTS};
use hookwell::event::catalogue;
use hookwell::metrics::Metrics;
use hookwell::relay::{CLOUD_EVENTS, HEADERS};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text between `<!-- name:begin -->` and `<!-- name:end -->`.
fn marked<'a>(text: &'a str, name: &str) -> &'a str {
    let begin = format!("<!-- {name}:begin -->");
    let end = format!("<!-- {name}:end -->");
    let after = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("README lacks {begin}"))
        .1;
    after
        .split_once(&end)
        .unwrap_or_else(|| panic!("README lacks {end}"))
        .0
        .trim()
}

#[test]
fn the_table_of_types_in_the_readme_is_the_catalogue() {
    assert_eq!(
        marked(&read("README.md"), "types"),
        catalogue::markdown_table().trim(),
        "paste the output of `hookwell events types`"
    );
}

#[test]
fn the_table_of_headers_in_the_readme_is_the_message_contract() {
    let mut table = String::from("| Header | What |\n|---|---|\n");
    for (name, what) in HEADERS.iter().chain(&CLOUD_EVENTS) {
        table.push_str(&format!("| `{name}` | {what} |\n"));
    }
    assert_eq!(
        marked(&read("README.md"), "headers"),
        table.trim(),
        "the table should be:\n{table}"
    );
}

#[test]
fn the_consumers_in_the_readme_are_the_files_that_are_run() {
    let readme = read("README.md");
    for file in [
        "deploy/consumers/consumer.py",
        "deploy/consumers/consumer.mjs",
    ] {
        let code = read(file);
        assert!(
            readme.contains(code.trim()),
            "README does not show {file} as it is"
        );
    }
}

#[test]
fn every_key_with_a_default_is_in_the_readme() {
    let readme = read("README.md");
    let defaults: toml::Table = DEFAULTS.parse().expect("default.toml is TOML");
    let missing: Vec<String> = defaults
        .iter()
        .flat_map(|(section, keys)| {
            let keys = keys.as_table().expect("sections are tables");
            keys.keys().map(move |key| format!("{section}.{key}"))
        })
        .filter(|key| !readme.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "README does not explain {missing:?}");
}

#[test]
fn every_metric_is_in_the_readme_and_the_readme_names_no_other() {
    let readme = read("README.md");
    let metrics = Metrics::new();
    let names: BTreeSet<&str> = metrics.names().iter().map(String::as_str).collect();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !readme.contains(**name))
        .collect();
    assert!(missing.is_empty(), "README does not name {missing:?}");
    let of_readme: BTreeSet<&str> = readme
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("hookwell_") && word.len() > "hookwell_".len())
        .collect();
    let suffixed = |word: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| word.strip_suffix(suffix))
            .any(|stem| names.contains(stem))
    };
    let unknown: Vec<_> = of_readme
        .iter()
        .filter(|word| !names.contains(**word) && !suffixed(word))
        .collect();
    assert!(
        unknown.is_empty(),
        "README names metrics that are not there: {unknown:?}"
    );
}

#[test]
fn every_file_in_config_loads() {
    let own_app = "[[apps]]\nid = \"a\"\npath = \"/hooks\"\n";
    let folder = root().join("config");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("config/ is there") {
        let path: PathBuf = entry.expect("config/ can be listed").path();
        let mut text = fs::read_to_string(&path).expect("a file of config/ is text");
        // The defaults name no app: nobody's is everybody's.
        if path.ends_with("default.toml") {
            text.push_str(own_app);
        }
        let name = path.display().to_string();
        if let Err(problems) = Config::read(Some((&name, &text)), std::iter::empty()) {
            panic!("{problems}");
        }
        seen += 1;
    }
    assert!(seen >= 2, "config/ has {seen} files");
}

#[test]
fn every_source_file_is_in_the_map_of_the_architecture() {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src/ can be listed") {
            let path = entry.expect("src/ can be listed").path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            } else {
                // Pages and the like are known by their folder.
                found.push(folder.to_owned());
            }
        }
    }
    let map = read("ARCHITECTURE.md");
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    let missing: Vec<_> = found
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .filter(|name| !map.contains(name.trim_end_matches(".rs")))
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md does not name {missing:?}"
    );
}

/// Words that look like a metric's name.
fn metrics_named_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("hookwell_") && word.len() > "hookwell_".len())
        .collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_are_there() {
    let metrics = Metrics::new();
    let names: BTreeSet<&str> = metrics.names().iter().map(String::as_str).collect();
    for file in ["alerts.yaml", "alerts_test.yaml", "dashboard.json"] {
        let text = read(&format!("deploy/observe/{file}"));
        let named = metrics_named_in(&text);
        assert!(10 < named.len(), "{file} names {named:?}");
        let known = |word: &str| {
            let stems = ["_bucket", "_sum", "_count"].iter();
            names.contains(word)
                || stems
                    .filter_map(|suffix| word.strip_suffix(suffix))
                    .any(|stem| names.contains(stem))
        };
        let unknown: Vec<_> = named.into_iter().filter(|word| !known(word)).collect();
        assert!(
            unknown.is_empty(),
            "deploy/observe/{file} asks for {unknown:?}"
        );
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/observe/dashboard.json")).unwrap();
    assert!(dashboard["panels"].is_array());
}

#[test]
fn every_alert_has_its_heading_in_the_runbook_and_every_heading_its_alert() {
    let (alerts, runbook) = (
        read("deploy/observe/alerts.yaml"),
        read("deploy/RUNBOOK.md"),
    );
    let named: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let headings: Vec<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        // What several alerts point to has a heading of its own.
        .filter(|heading| heading.starts_with("Hookwell"))
        .collect();
    assert!(15 < named.len(), "{named:?}");
    assert_eq!(named, headings, "in the same order");
    for name in named {
        let link = format!("runbook_url: RUNBOOK.md#{}", name.to_lowercase());
        assert!(alerts.contains(&link), "{name} is not linked: {link}");
    }
}
