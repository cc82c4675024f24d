//! Configurations: any text is settings or problems, each problem says of which key, and no problem
//! repeats a password.

use hookwell::config::Config;

/// Stands for the password in the corpus.
const SECRET: &str = "hunter2";

/// Takes lines `NAME=value` before a line `---` as the environment and the rest as the file; whether
/// they are a configuration.
pub fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let (variables, file) = text.split_once("---\n").unwrap_or(("", text));
    // A device has no end.
    if text.contains("_file") && (text.contains("/dev") || text.contains("/proc")) {
        return false;
    }
    let read = || {
        let variables = variables.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Config::read(Some(("fuzz.toml", file)), variables)
    };
    let problems = match (read(), read()) {
        (Ok(config), Ok(again)) => {
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
            assert_sound(&config);
            return true;
        }
        (Err(problems), Err(again)) => {
            assert_eq!(problems, again, "the same answer twice");
            problems
        }
        _ => panic!("one text, two answers"),
    };
    assert!(!problems.0.is_empty());
    // A secret is one only where secrets go.
    let is_url = |line: &str| {
        ["url", "HOOKWELL_STORE__URL=", "HOOKWELL_BROKER__URL="]
            .iter()
            .any(|start| line.trim_start().starts_with(start))
    };
    let secret = text
        .lines()
        .all(|line| !line.contains(SECRET) || is_url(line));
    for problem in &problems.0 {
        assert!(
            !problem.key.is_empty() && !problem.place.is_empty() && !problem.message.is_empty()
        );
        assert!(
            !secret || !problem.to_string().contains(SECRET),
            "{problem}"
        );
    }
    let shown = problems.to_string();
    assert!(shown.lines().count() > problems.0.len(), "{shown}");
    false
}

/// What the rest of the daemon relies on.
fn assert_sound(config: &Config) {
    assert!(!config.apps.is_empty());
    for app in &config.apps {
        assert!(!app.id.is_empty() && app.path.starts_with('/'), "{app:?}");
    }
    let http = &config.http;
    assert!(http.requests.body_bytes <= http.requests.memory_bytes);
    assert!(http.requests.body_bytes > 0 && http.connections.connections > 0 && http.waiting > 0);
    let relay = &config.relay;
    assert!(relay.window > 0 && relay.window_bytes > 0 && relay.unroutable_attempts > 0);
    assert!(config.quarantine.rate > 0 && config.quarantine.bounds.bytes > 0);
    assert!(config.store.batch > 0 && !config.store.url.is_empty());
}
