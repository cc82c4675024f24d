//! Each foreign crate and each side effect has one home; whoever adds another one says so here.

use std::path::{Path, PathBuf};

/// A crate and where it may be named: files, or folders (with a slash at the end), below `src/`.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx", &["store.rs", "store/"]),
    ("lapin", &["broker.rs", "broker/"]),
    ("async_compat", &["broker/"]),
    ("axum", &["http.rs", "http/", "admin.rs", "admin/", "dev/"]),
    ("hyper", &["http.rs"]),
    ("hyper_util", &["http.rs"]),
    ("http_body_util", &["http.rs", "http/"]),
    ("prometheus", &["metrics.rs", "metrics/"]),
    ("backoff", &["retry.rs"]),
    ("percent_encoding", &["escape.rs"]),
    ("ring", &["signature/rsa.rs", "seal.rs"]),
    ("ed25519_dalek", &["signature.rs", "signature/"]),
    (
        "base64",
        &[
            "signature.rs",
            "signature/",
            "cli/events.rs",
            "dev/ghl/tokens.rs",
            "seal.rs",
            "ghl/oauth.rs",
            "http/oauth.rs",
        ],
    ),
    (
        "reqwest",
        &[
            "cli/ask.rs",
            "cli/doctor/reached.rs",
            "cli/send.rs",
            "ghl.rs",
            "spans.rs",
        ],
    ),
    ("minijinja", &["follow_up/", "admin/"]),
    (
        "secrecy",
        &[
            "seal.rs",
            "key_file.rs",
            "ghl.rs",
            "ghl/",
            "follow_up/",
            "http/oauth.rs",
            "http/triggers.rs",
            "config.rs",
            "config/",
        ],
    ),
    ("zeroize", &["seal.rs", "key_file.rs", "cli/keys.rs"]),
    ("clap", &["cli.rs", "cli/"]),
    ("clap_complete", &["cli/completions.rs"]),
    ("clap_mangen", &["cli/man.rs"]),
    ("indicatif", &["cli/progress.rs"]),
    ("anyhow", &["cli.rs", "cli/"]),
    ("httpdate", &["cli/when.rs"]),
    ("fail", &["failpoints.rs"]),
    ("tikv_jemallocator", &["lib.rs"]),
    ("rustix", &["store/sqlite/census.rs"]),
    ("getrandom", &["chance.rs", "cli/keys.rs"]),
    ("uuid", &["cli/send.rs", "dev/"]),
    ("toml", &["config/"]),
    ("strsim", &["config/"]),
    ("bytesize", &["config/"]),
    ("tracing_subscriber", &["telemetry.rs"]),
];

/// What only these files may do.
const DEEDS: &[(&str, &[&str])] = &[
    // The clock, and the column of `tail` that compares two clocks.
    ("SystemTime::now", &["clock.rs", "cli/tail.rs"]),
    // A second signal; a panic of which nobody hears.
    ("process::exit", &["cli/serve.rs"]),
    ("process::abort", &["failpoints.rs", "telemetry.rs"]),
    // The task that waits for signals; everything else has the supervisor as its parent.
    ("tokio::spawn", &["cli/serve.rs"]),
    ("task::spawn(", &[]),
    // The configuration, and who runs a command.
    ("env::var", &["config.rs", "cli.rs"]),
    ("env::set_var", &[]),
    // It panics when nobody reads any more (`hookwell send --list | head`).
    (" println!(", &[]),
    (" print!(", &[]),
];

/// What the pure rooms must not name, with the rooms.
const PURE: &[&str] = &[
    "event.rs",
    "event/",
    "signature.rs",
    "signature/",
    "routing.rs",
    "retry.rs",
    "budget.rs",
    "escape.rs",
    "seal.rs",
];
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::process",
    "SystemTime",
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every source file with its path below `src/`; tests beside the code may use what they like.
fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut code = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        if name.ends_with("tests.rs") || name.contains("/tests/") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines: Vec<_> = product
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        code.push((name, lines.join("\n")));
    }
    assert!(code.len() > 20, "src was not found");
    code
}

fn is_at_home(name: &str, homes: &[&str]) -> bool {
    homes
        .iter()
        .any(|home| name == *home || (home.ends_with('/') && name.starts_with(home)))
}

/// Whether `text` names the crate or module `word` in a path, and not just as the end of another name.
fn names(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let rest = &text[at + word.len()..];
        // `crate::x::ring::y` is a module of ours.
        let own = text[..at].ends_with("::");
        let imported = text[..at].ends_with("use ") && rest.starts_with([';', ' ']);
        !before.is_some_and(is_part) && !own && (rest.starts_with("::") || imported)
    })
}

#[test]
fn a_foreign_crate_is_named_only_at_its_home() {
    let code = code();
    for (name, homes) in HOMES {
        let strays: Vec<_> = code
            .iter()
            .filter(|(file, text)| !is_at_home(file, homes) && names(text, name))
            .map(|(file, _)| file)
            // The assembly of `send` picks the TLS stack, which is ring's.
            .filter(|file| !(*name == "ring" && *file == "cli/send.rs"))
            .collect();
        assert!(
            strays.is_empty(),
            "{name} belongs to {homes:?} and is named in {strays:?}"
        );
        let used = homes.is_empty()
            || code
                .iter()
                .any(|(file, text)| is_at_home(file, homes) && names(text, name));
        assert!(used, "{name} is not used at its home {homes:?}");
    }
}

#[test]
fn time_exits_tasks_and_the_environment_have_one_home_each() {
    for (deed, homes) in DEEDS {
        for (file, text) in code() {
            assert!(
                is_at_home(&file, homes) || !text.contains(deed),
                "{deed} belongs to {homes:?} and is in {file}"
            );
        }
    }
}

#[test]
fn the_values_touch_no_clock_no_task_and_no_file() {
    for (file, text) in code() {
        if is_at_home(&file, PURE) {
            for word in IMPURE {
                assert!(!text.contains(word), "{file} names {word}");
            }
        }
    }
}

/// The layers of ARCHITECTURE.md, the lowest first; none may name one that is above it.
const LAYERS: [&[&str]; 4] = [
    &[
        "event",
        "signature",
        "routing",
        "retry",
        "budget",
        "escape",
        "seal",
        "clock",
        "chance",
        "failpoints",
        "tls",
        "telemetry",
    ],
    &["store", "broker", "ghl", "key_file", "spans", "metrics"],
    &[
        "ingest",
        "feed",
        "relay",
        "follow_up",
        "quarantine",
        "retention",
        "observe",
        "census",
        "disk",
        "operator",
    ],
    &["http", "admin", "cli", "app", "supervisor", "config"],
];

#[test]
fn no_layer_knows_one_that_is_above_it() {
    let room = |file: &str| {
        let first = file.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first).to_owned()
    };
    // The commands and the assembly may name everything.
    let above = LAYERS.len() - 1;
    for (file, text) in code() {
        let room = room(&file);
        if ["lib", "main", "dev"].contains(&room.as_str()) {
            continue;
        }
        let layer = LAYERS
            .iter()
            .position(|rooms| rooms.contains(&room.as_str()));
        let layer = layer.unwrap_or_else(|| panic!("{file} is in no layer"));
        if layer == above {
            continue;
        }
        let edges = LAYERS[1]
            .iter()
            .filter(|other| layer == 1 && **other != "metrics");
        for other in LAYERS[layer + 1..].iter().copied().flatten().chain(edges) {
            assert!(
                room == *other || !names_room(&text, other),
                "{file} names {other}"
            );
        }
    }
}

/// Whether it imports or names a room of ours, also as one of several in braces.
fn names_room(text: &str, room: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let path = format!("crate::{room}");
    let named = text
        .match_indices(&path)
        .any(|(at, _)| ends(&text[at + path.len()..]));
    named
        || text.match_indices("use crate::{").any(|(at, _)| {
            let list = text[at..].split_once(';').unwrap().0;
            list["use crate::{".len()..]
                .split([',', '{', '}'])
                .any(|one| one.trim().split("::").next() == Some(room))
        })
}

/// What is for development does not reach into the daemon, nor the daemon into it.
#[test]
fn only_its_command_names_what_is_for_development_and_it_names_little() {
    for (file, text) in code() {
        if file == "dev.rs" || file.starts_with("dev/") {
            let ours = text
                .replace("crate::clock", "")
                .replace("crate::event::Micros", "")
                .replace("crate::event::micros", "");
            assert!(!ours.contains("crate::"), "{file} names more than it may");
        } else {
            let may = file == "cli/dev.rs" || !text.contains("crate::dev");
            assert!(may, "{file} names dev");
        }
    }
}

#[test]
fn the_walk_tells_a_crate_from_a_word() {
    for (text, word, expected) in [
        ("use sqlx::Row;", "sqlx", true),
        ("use sqlx;", "sqlx", true),
        ("let x: sqlx::Error", "sqlx", true),
        ("not_sqlx::x", "sqlx", false),
        ("crate::ring::x", "ring", false),
        ("string::x", "ring", false),
        ("hyper_util::rt", "hyper", false),
    ] {
        assert_eq!(names(text, word), expected, "{text}");
    }
}
