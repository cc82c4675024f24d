//! `keys generate` and `send`.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::{Duration, Instant};

use super::{code, stderr, stdout};
use crate::harness::daemon::run_plain;
use crate::harness::{Backend, Daemon, DaemonConfig, Ghl, run_cli, store_url};

#[test]
fn a_new_key_is_readable_by_its_owner_alone_and_never_overwritten() {
    let config = DaemonConfig::new("sqlite://unused.db");
    let generate = || run_plain(&["keys", "generate", "--out", "dev.pem"], &config);
    let output = generate();
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let key = config.dir().join("dev.pem");
    let public = config.dir().join("dev.pem.pub");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    let private = std::fs::read_to_string(&key).unwrap();
    let secret = private.lines().nth(1).unwrap();
    assert!(
        !stdout(&output).contains(secret),
        "the private key is shown"
    );
    let public = std::fs::read_to_string(public).unwrap();
    assert!(
        stdout(&output).contains(public.trim()),
        "for the configuration"
    );

    let output = generate();
    assert_eq!(code(&output), Some(73));
    assert!(stderr(&output).contains("dev.pem"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&key).unwrap(), private);
}

#[test]
fn keys_are_rotated_by_one_command_at_a_time() {
    let config = DaemonConfig::new("sqlite://unused.db");
    let file = config.dir().join("token-keys");
    let rotate = || run_plain(&["keys", "rotate", "--file", "token-keys"], &config);
    assert_eq!(code(&rotate()), Some(0));
    let elsewhere = run_plain(&["keys", "rotate", "--file", "no/token-keys"], &config);
    assert_ne!(code(&elsewhere), Some(0));
    assert!(
        stderr(&elsewhere).contains("there is no folder no"),
        "{}",
        stderr(&elsewhere)
    );
    let before = std::fs::read_to_string(&file).unwrap();
    let other = std::fs::File::open(config.dir()).unwrap();
    other.try_lock().unwrap();
    let output = rotate();
    assert_eq!(code(&output), Some(69), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("another `hookwell keys rotate`"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    drop(other);
    assert_eq!(code(&rotate()), Some(0));
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.ends_with(&before) && after.len() > before.len());
}

#[test]
fn a_key_file_that_is_rotated_keeps_its_owner_its_group_and_its_mode() {
    let config = DaemonConfig::new("sqlite://unused.db");
    let file = config.dir().join("token-keys");
    let rotate = || {
        let output = run_plain(&["keys", "rotate", "--file", "token-keys"], &config);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        let about = file.metadata().unwrap();
        (
            about.uid(),
            about.gid(),
            about.permissions().mode() & 0o7777,
        )
    };
    let (uid, gid, mode) = rotate();
    assert_eq!(mode, 0o600, "a new one is its owner's alone");
    for mode in [0o640, 0o600, 0o440, 0o400] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(rotate(), (uid, gid, mode));
    }
    // To give a file away takes root, which the tests need not be.
    if chown(&file, Some(uid), Some(gid + 4711)).is_ok() {
        assert_eq!(rotate(), (uid, gid + 4711, 0o400));
        chown(&file, Some(uid + 815), Some(gid)).unwrap();
        assert_eq!(rotate(), (uid + 815, gid, 0o400));
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.lines().count() >= 5,
        "every key is still there: {} lines",
        text.lines().count()
    );
    let left: Vec<_> = std::fs::read_dir(config.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["token-keys"], "nothing is left beside it");
}

/// A daemon whose address is in the configuration, as an operator's is, and the key file to send with.
async fn running() -> (Daemon, DaemonConfig, crate::harness::StoreUrl) {
    let url = store_url(Backend::Sqlite).await;
    let mut config = DaemonConfig::new(url.url());
    let daemon = Daemon::start(&config).await;
    config.variables = vec![(
        "HOOKWELL_HTTP__LISTEN".to_owned(),
        daemon.address().to_string(),
    )];
    std::fs::write(config.dir().join("dev.pem"), Ghl::new().key.to_pkcs8_pem()).unwrap();
    std::fs::write(
        config.dir().join("other.pem"),
        Ghl::with_seed([9; 32]).key.to_pkcs8_pem(),
    )
    .unwrap();
    (daemon, config, url)
}

#[tokio::test]
async fn sent_webhooks_are_accepted_counted_and_of_the_tenant_asked_for() {
    let (_daemon, config, _url) = running().await;
    let send = |more: &[&str]| {
        let output = run_cli(&[&["send", "--key", "dev.pem"], more].concat(), &config);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let said = send(&["ContactCreate"]);
    assert!(said.starts_with("1 of 1 accepted in "), "{said}");
    let said = send(&[
        "ContactCreate",
        "InvoicePaid",
        "--count",
        "30",
        "--tenant",
        "AnotherTenant",
    ]);
    assert!(said.starts_with("30 of 30 accepted in "), "{said}");
    let list = |more: &[&str]| {
        let arguments = [&["events", "list", "--json", "--limit", "100"], more].concat();
        stdout(&run_cli(&arguments, &config)).lines().count()
    };
    assert_eq!(list(&[]), 31);
    assert_eq!(list(&["--tenant", "AnotherTenant"]), 30);
    // In turn, also where only the URL can name the type.
    assert_eq!(list(&["--type", "InvoicePaid"]), 15);
}

#[tokio::test]
async fn an_event_names_the_company_and_the_location_asked_for() {
    let (_daemon, config, _url) = running().await;
    for (n, tenant) in (1..).zip(["--tenant", "--location"]) {
        let arguments = [
            "send",
            "INSTALL",
            "--key",
            "dev.pem",
            "--company",
            "TheCompany",
            tenant,
            "ThePlace",
        ];
        let output = run_cli(&arguments, &config);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        let output = run_cli(&["events", "show", &format!("{n}"), "--body"], &config);
        let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&body["companyId"], &body["locationId"]),
            (&"TheCompany".into(), &"ThePlace".into()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_rate_is_kept_and_without_one_nobody_waits() {
    let (_daemon, config, _url) = running().await;
    let timed = |more: &[&str]| {
        let started = Instant::now();
        let arguments = [
            &["send", "ContactCreate", "--key", "dev.pem", "--count", "21"],
            more,
        ]
        .concat();
        let output = run_cli(&arguments, &config);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        started.elapsed()
    };
    let paced = timed(&["--rate", "20"]);
    assert!(paced >= Duration::from_millis(950), "{paced:?}");
    assert!(paced < Duration::from_secs(5), "{paced:?}");
    let fast = timed(&[]);
    assert!(fast < paced, "{fast:?} without a rate, {paced:?} with it");
}

#[tokio::test]
async fn sending_says_what_was_refused_and_ends_with_1() {
    let (mut daemon, config, _url) = running().await;
    let output = run_cli(
        &[
            "send",
            "ContactCreate",
            "--key",
            "other.pem",
            "--count",
            "3",
        ],
        &config,
    );
    assert_eq!(code(&output), Some(1));
    let said = stdout(&output);
    assert!(said.contains("0 of 3 accepted"), "{said}");
    assert!(said.contains("3 answered 401"), "{said}");
    assert!(said.contains("signature.ed25519_keys"), "{said}");

    let output = run_cli(&["send", "NoSuchThing", "--key", "dev.pem"], &config);
    assert_eq!(code(&output), Some(66));
    assert!(stderr(&output).contains("hookwell send --list"));
    let output = run_cli(
        &["send", "ContactCreate", "--key", "dev.pem", "--app", "none"],
        &config,
    );
    assert_eq!(code(&output), Some(78));
    // A file that is no private key is not repeated either.
    let output = run_cli(
        &["send", "ContactCreate", "--key", "hookwell.toml"],
        &config,
    );
    assert_eq!(code(&output), Some(66));

    daemon.kill9();
    let output = run_cli(&["send", "ContactCreate", "--key", "dev.pem"], &config);
    assert_eq!(code(&output), Some(1));
    assert!(
        stdout(&output).contains("does `hookwell serve` run"),
        "{}",
        stdout(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_sample_of_every_known_type_and_the_daemon_takes_each() {
    let (_daemon, config, _url) = running().await;
    let output = run_plain(&["send", "--list"], &config);
    let types = stdout(&output);
    let types: Vec<_> = types.lines().collect();
    assert!(types.len() >= 25, "{types:?}");
    let count = types.len().to_string();
    let arguments = [&["send", "--key", "dev.pem", "--count", &count], &types[..]].concat();
    let output = run_cli(&arguments, &config);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let output = run_cli(&["events", "list", "--json", "--limit", "1000"], &config);
    let mut stored: Vec<String> = stdout(&output)
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            row["type"].as_str().unwrap().to_owned()
        })
        .collect();
    stored.sort();
    let mut expected: Vec<_> = types.iter().map(|name| (*name).to_owned()).collect();
    expected.sort();
    assert_eq!(stored, expected);
}
