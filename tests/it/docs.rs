//! README, ARCHITECTURE, the guides and `config/` say what is true: what they repeat of the code is compared. The reference is
//! made from the code, see `reference`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hookwell::config::Config;
use hookwell::metrics::Metrics;
use hookwell::seal::{KEY_BYTES, Keyring};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_consumers_in_the_guide_are_the_files_that_are_run() {
    let guide = read("deploy/CONSUMERS.md");
    for file in [
        "deploy/consumers/consumer.py",
        "deploy/consumers/consumer.mjs",
    ] {
        let code = read(file);
        assert!(
            guide.contains(code.trim()),
            "deploy/CONSUMERS.md does not show {file} as it is"
        );
    }
}

#[test]
fn the_documents_name_no_metric_that_is_not_there() {
    let names = names_of_metrics();
    for file in [
        "README.md",
        "deploy/RUNBOOK.md",
        "deploy/INSTALL.md",
        "deploy/CONSUMERS.md",
        "deploy/OPERATIONS.md",
        "deploy/SCALING.md",
        "deploy/observe/alerts.yaml",
        "deploy/observe/alerts_test.yaml",
        "deploy/observe/dashboard.json",
    ] {
        let text = read(file);
        let unknown = unknown_metrics(&text, &names);
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}

#[test]
fn every_file_in_config_loads() {
    let own_app = "[[apps]]\nid = \"a\"\npath = \"/hooks\"\n";
    let folder = root().join("config");
    let keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(&keys, Keyring::line("k", &[1; KEY_BYTES]).as_bytes()).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("config/ is there") {
        let path: PathBuf = entry.expect("config/ can be listed").path();
        let mut text = fs::read_to_string(&path).expect("a file of config/ is text");
        // The defaults name no app: nobody's is everybody's.
        if path.ends_with("default.toml") {
            text.push_str(own_app);
        }
        // Whoever follows the file makes this one.
        text = text.replace("\"token-keys\"", &format!("{:?}", keys.path()));
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

fn names_of_metrics() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let names = metrics.families().iter().map(|family| family.name.clone());
    names.collect()
}

fn unknown_metrics<'a>(text: &'a str, names: &BTreeSet<String>) -> Vec<&'a str> {
    let known = |word: &str| {
        let stems = ["_bucket", "_sum", "_count"].iter();
        names.contains(word)
            || stems
                .filter_map(|suffix| word.strip_suffix(suffix))
                .any(|stem| names.contains(stem))
    };
    let named = metrics_named_in(text).into_iter();
    named.filter(|word| !known(word)).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_many_metrics() {
    for file in ["alerts.yaml", "alerts_test.yaml", "dashboard.json"] {
        let text = read(&format!("deploy/observe/{file}"));
        let named = metrics_named_in(&text);
        assert!(10 < named.len(), "{file} names {named:?}");
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
