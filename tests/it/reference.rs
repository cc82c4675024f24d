//! `deploy/REFERENCE.md` is made from the code: keys with their comments in `config/default.toml`, metrics, the message
//! contract, types, and the help of every command. It fails where the file is stale; `HOOKWELL_WRITE_REFERENCE=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use hookwell::config::{Config, DEFAULTS};
use hookwell::event::catalogue;
use hookwell::metrics::Metrics;
use hookwell::relay::{CLOUD_EVENTS, HEADERS};

use crate::cli::usage::COMMANDS;
use crate::harness::DaemonConfig;
use crate::harness::daemon::run_plain;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/REFERENCE.md");

const HEAD: &str = "\
# Reference

Made from the code by `tests/it/reference.rs`; a test fails when it is stale. What to do with all this is in [INSTALL.md](INSTALL.md),
[CONSUMERS.md](CONSUMERS.md) and [OPERATIONS.md](OPERATIONS.md).

- [Configuration](#configuration)
- [Messages](#messages)
- [Types of events](#types-of-events)
- [Metrics](#metrics)
- [Commands](#commands)
";

const CONFIGURATION: &str = "\
## Configuration

Defaults are compiled in (`config/default.toml`), the TOML file goes over them, and the environment over that:
`HOOKWELL_<SECTION>__<KEY>`, such as `HOOKWELL_STORE__URL` or `HOOKWELL_HTTP__MAX_BODY`. Lists are separated by commas there. Tables in
double brackets (`[[apps]]`) are in the file only. An unknown key is an error, and all errors are reported at once, each with its place and
a way out. Configuration is read at start.
";

/// A key as `config/default.toml` has it.
struct Key {
    section: String,
    name: String,
    default: Option<String>,
    meaning: String,
}

/// The keys of the defaults: those with one, and those that are commented out with an example.
fn keys() -> Vec<Key> {
    let (mut keys, mut section, mut said) = (Vec::new(), String::new(), Vec::new());
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    for line in DEFAULTS.lines() {
        let words = line.strip_prefix("# ");
        let code = words.unwrap_or(line);
        let assigned = code.split_once(" = ").filter(|(name, _)| is_name(name));
        if let Some((name, value)) = assigned {
            keys.push(Key {
                section: section.clone(),
                name: name.to_owned(),
                default: words.is_none().then(|| value.to_owned()),
                meaning: std::mem::take(&mut said).join(" "),
            });
        } else if code.starts_with('[') && code.ends_with(']') && !code.contains(' ') {
            code.clone_into(&mut section);
            said.clear();
        } else if let Some(words) = words {
            said.push(words);
        } else {
            said.clear();
        }
    }
    keys
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn configuration(out: &mut String) {
    out.push_str(CONFIGURATION);
    let mut section = String::new();
    for key in keys() {
        if key.section != section {
            key.section.clone_into(&mut section);
            let _ = write!(
                out,
                "\n### {section}\n\n| Key | Default | Meaning |\n|---|---|---|\n"
            );
        }
        let default = key
            .default
            .map_or("none".to_owned(), |value| format!("`{}`", cell(&value)));
        let _ = writeln!(
            out,
            "| `{}` | {default} | {} |",
            key.name,
            cell(&key.meaning)
        );
    }
}

fn messages(out: &mut String) {
    out.push_str("\n## Messages\n\nHeaders. The properties are in [CONSUMERS.md](CONSUMERS.md).\n\n| Header | What |\n|---|---|\n");
    for (name, what) in HEADERS.iter().chain(&CLOUD_EVENTS) {
        let _ = writeln!(out, "| `{name}` | {what} |");
    }
    out.push_str("\n## Types of events\n\nAs `hookwell events types` prints them. A missing tenant field is looked for in `locationId`, then `altId` with `altType` `location`, then\n`companyId`; an entity field that is missing under the other names that GHL uses. A type that is not here goes under\n`other.<type in snake case>.<tenant>`.\n\n");
    out.push_str(catalogue::markdown_table().trim());
    out.push('\n');
}

fn metrics(out: &mut String) {
    out.push_str("\n## Metrics\n\n`/metrics` on `admin.listen`, in Prometheus text, with `process_*` beside these. Times are seconds; no label ever holds a tenant, an\nentity or a path.\n\n| Metric | Kind | Meaning |\n|---|---|---|\n");
    let metrics = Metrics::new();
    let families: BTreeMap<_, _> = metrics
        .families()
        .iter()
        .map(|family| (family.name.as_str(), family))
        .collect();
    for (name, family) in families {
        let labels = match family.labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(", ")),
        };
        let _ = writeln!(
            out,
            "| `{name}{labels}` | {} | {} |",
            family.kind,
            cell(&family.help)
        );
    }
}

fn commands(out: &mut String) {
    out.push_str("\n## Commands\n");
    let config = DaemonConfig::new("sqlite://unused.db");
    let help = |command: &[&str]| {
        let output = run_plain(&[command, &["--help"]].concat(), &config);
        String::from_utf8(output.stdout).unwrap()
    };
    let _ = write!(out, "\n```console\n$ hookwell --help\n{}```\n", help(&[]));
    for command in COMMANDS {
        let name = command.join(" ");
        let _ = write!(
            out,
            "\n### hookwell {name}\n\n```console\n$ hookwell {name} --help\n{}```\n",
            help(command)
        );
    }
}

#[test]
fn the_reference_is_what_the_code_says() {
    let mut made = HEAD.to_owned() + "\n";
    configuration(&mut made);
    messages(&mut made);
    metrics(&mut made);
    commands(&mut made);
    if std::env::var_os("HOOKWELL_WRITE_REFERENCE").is_some() {
        std::fs::write(FILE, &made).unwrap();
    }
    let there = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    let differs = made
        .lines()
        .zip(there.lines())
        .find(|(made, there)| made != there);
    assert!(
        made == there,
        "deploy/REFERENCE.md is stale: HOOKWELL_WRITE_REFERENCE=1 bash tests/run.sh reference writes it; the first difference: {differs:?}"
    );
}

#[test]
fn every_key_of_every_section_is_in_the_defaults_with_a_meaning() {
    let keys = keys();
    for key in &keys {
        assert!(
            !key.meaning.is_empty(),
            "{}{} has no comment",
            key.section,
            key.name
        );
    }
    let wrong = "zzz = 1\n";
    let mut text = wrong.to_owned();
    for section in [
        "http",
        "admin",
        "store",
        "broker",
        "signature",
        "ghl",
        "repair",
        "quarantine",
        "log",
        "trace",
        "shutdown",
    ] {
        let _ = write!(text, "[{section}]\n{wrong}");
    }
    for section in ["broker.queues", "apps", "follow_ups"] {
        let _ = write!(text, "[[{section}]]\n{wrong}");
    }
    let problems = Config::read(Some(("f", &text)), std::iter::empty()).unwrap_err();
    let problems = problems.to_string();
    let mut sections = 0;
    for line in problems.lines() {
        let Some((place, known)) = line.split_once("there is no such key here; known are ") else {
            continue;
        };
        let section = place.trim().split(".zzz").next().unwrap();
        let section = match section.split_once('[') {
            Some((name, _)) => format!("[[{name}]]"),
            None => format!("[{section}]"),
        };
        if section.starts_with("[zzz") {
            continue;
        }
        sections += 1;
        for name in known.trim().split(", ") {
            // A list of tables has a section of its own.
            let is_there = |key: &Key| key.section == section && key.name == name;
            let is_table = format!("[[{}.{name}]]", section.trim_matches(['[', ']']));
            assert!(
                keys.iter()
                    .any(|key| is_there(key) || key.section == is_table),
                "config/default.toml lacks {name} of {section}"
            );
        }
    }
    assert_eq!(sections, 14, "{problems}");
}
