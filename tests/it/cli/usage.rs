//! Help and exit codes.

use super::{code, stderr, stdout};
use crate::harness::daemon::run_plain;
use crate::harness::{Backend, Daemon, DaemonConfig, run_cli, store_url};

/// Every command that does something.
pub(crate) const COMMANDS: [&[&str]; 43] = [
    &["serve"],
    &["check-config"],
    &["migrate"],
    &["status"],
    &["doctor"],
    &["healthcheck"],
    &["audit"],
    &["completions"],
    &["man"],
    &["send"],
    &["tail"],
    &["events", "list"],
    &["events", "show"],
    &["events", "export"],
    &["events", "types"],
    &["held"],
    &["dead-letters", "list"],
    &["dead-letters", "show"],
    &["dead-letters", "retry"],
    &["dead-letters", "discard"],
    &["quarantine", "list"],
    &["quarantine", "show"],
    &["quarantine", "admit"],
    &["erase"],
    &["restored"],
    &["compact"],
    &["keys", "generate"],
    &["keys", "rotate"],
    &["installs", "list"],
    &["installs", "show"],
    &["installs", "reconcile"],
    &["triggers", "list"],
    &["follow-ups", "list"],
    &["follow-ups", "show"],
    &["follow-ups", "retry"],
    &["follow-ups", "cancel"],
    &["follow-ups", "try"],
    &["backfill"],
    &["replay"],
    &["replay", "list"],
    &["replay", "show"],
    &["replay", "cancel"],
    &["dev", "ghl"],
];

const HELP: &str = "\
Webhooks of GoHighLevel: verified, in a durable log before they are answered, in RabbitMQ in order

Usage: hookwell <COMMAND>

Commands:
  serve         Run the daemon until SIGTERM or Ctrl-C
  check-config  Check the configuration and say what it means, without touching anything
  migrate       Bring the store's schema up to date (serve does so by itself)
  status        Show the ledger: accepted = published + pending + parked + discarded
  doctor        Look for what goes wrong in practice, and say how to mend it
  healthcheck   Ask the daemon of this machine whether it takes webhooks
  send          Post realistic webhooks, signed with a development key
  tail          Print what arrives in RabbitMQ
  events        Look into the log
  held          Tenants whose events wait, as RabbitMQ refuses them
  installs      Where the apps are installed, and whether there is a token
  triggers      Which workflows use triggers of the apps
  follow-ups    The API calls that events call for
  backfill      Read from the API what changed in a time, and append what the log lacks
  replay        Publish events again that were published before
  dead-letters  Events that could not be published
  quarantine    Requests that were refused
  erase         Remove everything about a contact or of a tenant
  restored      Say that the store was restored from an older copy
  compact       Rewrite the SQLite file without its free pages
  audit         Show what people did, at the console and on the command line
  keys          Keys: for trying things out, and those that seal tokens
  dev           Servers for trying things out
  completions   Print completions for a shell
  man           Write the manual: a page for each command
  help          Print this message or the help of the given subcommand(s)

Options:
  -h, --help     Print help
  -V, --version  Print version

Examples:
  hookwell check-config --config hookwell.toml
  hookwell serve --config hookwell.toml
  hookwell send ContactCreate --config hookwell.toml --key dev-key.pem --count 100 --rate 20
  hookwell tail --config hookwell.toml

Exit codes: 0 done; 1 it ran and something was not as asked; 64 wrong usage; 66 no such thing; 69
the store or RabbitMQ cannot be used; 70 a task of the daemon died; 73 a file cannot be made; 78 the
configuration is wrong.
";

#[test]
fn help_shows_every_command_and_the_exit_codes() {
    let config = DaemonConfig::new("sqlite://unused.db");
    let output = run_plain(&["--help"], &config);
    assert_eq!(code(&output), Some(0));
    assert_eq!(stdout(&output), HELP);
    let output = run_plain(&["--version"], &config);
    assert_eq!(
        stdout(&output),
        concat!("hookwell ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn the_help_of_every_command_has_an_example_of_it() {
    let config = DaemonConfig::new("sqlite://unused.db");
    for command in COMMANDS {
        let output = run_plain(&[command, &["--help"]].concat(), &config);
        assert_eq!(code(&output), Some(0), "{command:?}");
        let help = stdout(&output);
        let (_, examples) = help
            .split_once("Example")
            .unwrap_or_else(|| panic!("{command:?} has no example:\n{help}"));
        let line = format!("hookwell {}", command.join(" "));
        assert!(examples.contains(&line), "{command:?}:\n{help}");
    }
}

#[test]
fn wrong_usage_ends_with_64() {
    let config = DaemonConfig::new("sqlite://unused.db");
    let rows: [&[&str]; 16] = [
        &[],
        &["frobnicate"],
        &["serve", "--nonsense"],
        &["events"],
        &["events", "show"],
        &["erase"],
        &["events", "list", "--limit", "0"],
        &["dead-letters", "retry"],
        &["dead-letters", "discard"],
        &["dead-letters", "retry", "1", "--all"],
        &["quarantine", "admit", "1", "--all"],
        &["send"],
        &["send", "ContactCreate"],
        &["keys", "generate"],
        &["dev"],
        &["dev", "ghl", "--burst", "0"],
    ];
    for arguments in rows {
        let output = run_plain(arguments, &config);
        assert_eq!(
            code(&output),
            Some(64),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_doctor_says_of_what_is_no_url_that_it_is_none() {
    let config = DaemonConfig::new("sqlite://unused.db");
    for url in [
        "nonsense",
        "hooks.example.com",
        "hooks.example.com:443",
        "ftp://host",
        "https://",
        "https://host?a=b",
    ] {
        let output = run_plain(&["doctor", "--url", url], &config);
        assert_eq!(code(&output), Some(64), "{url}");
        let said = stderr(&output);
        assert!(
            said.contains("it is no URL") && said.contains("https://hooks.example.com"),
            "{said}"
        );
    }
}

#[test]
fn a_bad_configuration_ends_every_command_with_78() {
    let config = DaemonConfig::new("mysql://somewhere");
    for command in COMMANDS {
        let more: &[&str] = match command {
            ["events", "types"] | ["keys" | "dev", ..] | ["completions" | "man"] => continue,
            [
                "events" | "dead-letters" | "quarantine",
                "show" | "retry" | "admit" | "discard",
            ] => &["1"],
            ["installs" | "follow-ups", "show"] => &["1"],
            ["follow-ups", "retry" | "cancel"] => &["--all"],
            ["follow-ups", "try"] => &["rule", "--event", "1"],
            ["send"] => &["ContactCreate", "--key", "k.pem"],
            ["erase"] => &["--contact", "contact0000000000001"],
            ["backfill"] => &["--tenant", "l", "--since", "1h"],
            ["replay"] | ["replay", "show" | "cancel"] => &["1"],
            _ => &[],
        };
        let output = run_cli(&[command, more].concat(), &config);
        assert_eq!(code(&output), Some(78), "{command:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("store.url"), "{command:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_ends_with_66_and_says_where_to_look() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url());
    assert!(run_cli(&["migrate"], &config).status.success());
    let rows: [(&[&str], &str); 9] = [
        (&["replay", "17"], "position 17"),
        (&["replay", "show", "17"], "hookwell replay list"),
        (&["events", "show", "17"], "position 17"),
        (&["events", "show", "no-such-key"], "hookwell events list"),
        (
            &["dead-letters", "show", "17"],
            "hookwell dead-letters list",
        ),
        (
            &["dead-letters", "retry", "17"],
            "hookwell dead-letters list",
        ),
        (&["quarantine", "show", "17"], "hookwell quarantine list"),
        (&["quarantine", "admit", "17"], "hookwell quarantine list"),
        (
            &["send", "ContactCreate", "--key", "nowhere.pem"],
            "hookwell keys generate",
        ),
    ];
    for (arguments, advice) in rows {
        let output = run_cli(arguments, &config);
        let said = stderr(&output);
        assert_eq!(code(&output), Some(66), "{arguments:?}: {said}");
        assert!(said.contains(advice), "{arguments:?}: {said}");
    }
    // An empty list is no failure.
    for arguments in [
        &["events", "list"][..],
        &["dead-letters", "list"],
        &["dead-letters", "retry", "--all"],
        &["quarantine", "list"],
        &["quarantine", "admit", "--all"],
    ] {
        let output = run_cli(arguments, &config);
        assert_eq!(code(&output), Some(0), "{arguments:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_ends_with_69() {
    let absent = DaemonConfig::new("postgres://nobody:s3cret@127.0.0.1:1/none")
        .set("store", "connect_timeout = \"0s\"");
    for command in [
        &["serve"][..],
        &["migrate"],
        &["status"],
        &["events", "list"],
    ] {
        let output = run_cli(command, &absent);
        let said = stderr(&output);
        assert_eq!(code(&output), Some(69), "{command:?}: {said}");
        assert!(said.contains("store"), "{command:?}: {said}");
        assert!(!said.contains("s3cret"), "{command:?}: {said}");
    }
    let nowhere = DaemonConfig::new("sqlite:///proc/none/hookwell.db");
    assert_eq!(code(&run_cli(&["serve"], &nowhere)), Some(69));

    // An address in use is a reason not to start, too.
    let url = store_url(Backend::Sqlite).await;
    let first = Daemon::start(&DaemonConfig::new(url.url())).await;
    let url = store_url(Backend::Sqlite).await;
    let mut second = DaemonConfig::new(url.url());
    second.variables = vec![(
        "HOOKWELL_HTTP__LISTEN".to_owned(),
        first.address().to_string(),
    )];
    let (ended, log) = Daemon::try_start(&second).await.err().unwrap();
    assert_eq!(ended, Some(69), "{log}");
    assert!(log.contains("http.listen"), "{log}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let config = DaemonConfig::new("sqlite://unused.db");
    let binary = env!("CARGO_BIN_EXE_hookwell");
    let script = format!("set -o pipefail; '{binary}' send --list | head -n 1");
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(config.dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!stderr(&output).contains("panicked"), "{output:?}");
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let config = DaemonConfig::new("sqlite://unused.db");
    for shell in ["bash", "zsh", "fish"] {
        let output = run_plain(&["completions", shell], &config);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("dead-letters"), "{shell}");
    }
    let output = run_plain(&["man", "--dir", "man1"], &config);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    for page in [
        "hookwell.1",
        "hookwell-doctor.1",
        "hookwell-dead-letters-retry.1",
    ] {
        let text = std::fs::read_to_string(config.dir().join("man1").join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    let output = run_plain(&["man", "--dir", "/dev/null/man"], &config);
    assert_eq!(code(&output), Some(73), "{}", stderr(&output));
}
