//! `check-config`, and where configuration comes from.

use std::path::Path;

use serde_json::json;

use super::{code, stderr, stdout};
use crate::harness::daemon::run_plain;
use crate::harness::{DaemonConfig, Ghl, run_cli};

/// A folder to be in and a file with this text.
fn file(text: &str) -> (DaemonConfig, String) {
    let config = DaemonConfig::new("sqlite://unused.db");
    let path = config.dir().join("given.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (config, path)
}

#[test]
fn every_problem_is_told_at_once_with_its_key_and_its_place() {
    let text = r#"
[http]
listen = "everywhere"
max_body = 17
comit_deadline = "5s"
[store]
url = "mysql://somewhere"
batch = 0
[broker]
url = "http://broker"
topology = "maybe"
[[broker.queues]]
name = "q"
bind = ["contact. #"]
[signature]
ed25519_keys = ["not a key"]
legacy_rsa = "perhaps"
[nonsense]
a = 1
[[apps]]
id = "one"
path = "no-slash"
[[apps]]
id = "two"
"#;
    let (config, path) = file(text);
    let output = run_plain(&["check-config", "--config", &path], &config);
    assert_eq!(code(&output), Some(78));
    assert_eq!(stdout(&output), "");
    let said = stderr(&output);
    let rows = [
        ("http.listen", 3),
        ("http.max_body", 4),
        ("http.comit_deadline", 5),
        ("store.url", 7),
        ("store.batch", 8),
        ("broker.url", 10),
        ("broker.topology", 11),
        ("broker.queues[0].bind", 14),
        ("signature.ed25519_keys", 16),
        ("signature.legacy_rsa", 17),
        ("nonsense", 18),
        ("apps[0].path", 22),
        ("apps[1].path", 23),
    ];
    for (key, line) in rows {
        let told = said
            .lines()
            .find(|told| told.trim_start().starts_with(&format!("{key} (")))
            .unwrap_or_else(|| panic!("{key} is not told:\n{said}"));
        assert!(told.contains(&format!("{path}:{line}:")), "{told}");
    }
    assert!(
        said.starts_with(&format!(
            "hookwell: {} problems in the configuration:",
            rows.len()
        )),
        "{said}"
    );
    assert!(said.contains("did you mean commit_deadline?"), "{said}");
}

#[test]
fn types_that_are_kept_for_times_of_their_own_are_told_with_their_places() {
    let app = "[[apps]]\nid = \"a\"\npath = \"/a\"\n";
    let kept = |table: &str| {
        format!("[store]\nkeep_keys = \"31days\"\n[store.keep_bodies_of]\n{table}{app}")
    };
    let (config, path) = file(&kept(
        "INSTALL = \"31days\"\nInboundMessage = \"1day\"\n\"contact.snapshot\" = \"2h\"\n",
    ));
    let output = run_plain(&["check-config", "--config", &path], &config);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let (config, path) = file(&kept(
        "INSTALL = \"32days\"\nInboundMesage = \"1day\"\nContactCreate = 3\n",
    ));
    let output = run_plain(&["check-config", "--config", &path], &config);
    assert_eq!(code(&output), Some(78));
    let said = stderr(&output);
    for told in [
        format!(
            "store.keep_bodies_of.INSTALL ({path}:4:11): must be a duration from 1s to that of store.keep_keys"
        ),
        format!(
            "store.keep_bodies_of.InboundMesage ({path}:5:17): is no type of event; did you mean InboundMessage?"
        ),
        format!("store.keep_bodies_of.ContactCreate ({path}:6:17): must be a duration"),
    ] {
        assert!(said.contains(&told), "{told}\n{said}");
    }
}

#[test]
fn what_is_not_toml_or_not_there_is_told() {
    let (config, path) = file("[http\nlisten = 1");
    let output = run_plain(&["check-config", "--config", &path], &config);
    assert_eq!(code(&output), Some(78));
    assert!(
        stderr(&output).contains(&format!("{path}:1:")),
        "{}",
        stderr(&output)
    );
    let output = run_plain(&["check-config", "--config", "nowhere.toml"], &config);
    assert_eq!(code(&output), Some(78));
    assert!(stderr(&output).contains("nowhere.toml"));
    // Nothing at all lacks an app, and says what one looks like.
    let output = run_plain(&["check-config"], &config);
    assert_eq!(code(&output), Some(78));
    assert!(stderr(&output).contains("[[apps]]"), "{}", stderr(&output));
}

#[test]
fn every_file_that_is_shipped_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let shipped = entry.unwrap().path();
        let mut text = std::fs::read_to_string(&shipped).unwrap();
        if !text.contains("\n[[apps]]") {
            // There is no default app.
            text.push_str("\n[[apps]]\nid = \"a\"\npath = \"/a\"\n");
        }
        let (config, path) = file(&text);
        let made = run_plain(&["keys", "rotate", "--file", "token-keys"], &config);
        assert_eq!(code(&made), Some(0), "{}", stderr(&made));
        let output = run_plain(&["check-config", "--config", &path], &config);
        assert_eq!(
            code(&output),
            Some(0),
            "{}: {}",
            shipped.display(),
            stderr(&output)
        );
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn a_good_configuration_is_told_in_words_and_as_json() {
    let config = DaemonConfig::new("sqlite://data/hookwell.db")
        .broker("amqp://guest:guest@127.0.0.1:5672/%2f")
        .queue("hookwell.contacts", &["contact.#"]);
    let output = run_cli(&["check-config"], &config);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    for part in [
        "The configuration is good.",
        "/webhooks/ghl",
        "data/hookwell.db",
        "127.0.0.1:5672",
        "quorum queue hookwell.contacts  <-  contact.#",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    let output = run_cli(&["check-config", "--json"], &config);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["brokers"], serde_json::json!(["127.0.0.1:5672"]));
    assert_eq!(told["apps"][0]["path"], "/webhooks/ghl");
    assert_eq!(told["queues"][1]["bind"], serde_json::json!(["contact.#"]));
    // It touches nothing.
    assert!(!config.dir().join("data").exists());
}

#[test]
fn what_is_on_is_told_in_words_and_as_json() {
    let check = |of_first: &str, more: &str| {
        let (config, path) = file(&format!(
            "[store]\nurl = \"sqlite://a.db\"\n[ghl]\ntoken_keys_file = \"token-keys\"\n{more}\n\
             [[apps]]\nid = \"one\"\npath = \"/one\"\n{of_first}\n[[apps]]\nid = \"two\"\npath = \"/two\"\n"
        ));
        run_plain(&["keys", "rotate", "--file", "token-keys"], &config);
        let words = run_plain(&["check-config", "--config", &path], &config);
        assert_eq!(code(&words), Some(0), "{}", stderr(&words));
        let json = run_plain(&["check-config", "--config", &path, "--json"], &config);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        (stdout(&words), json)
    };
    let credentials = "client_id = \"one-1\"\nclient_secret = \"s3cr3t-canary\"\n\
                       redirect_uri = \"https://hooks.example.com/back\"\n";
    let all = format!(
        "{credentials}install_url = \"https://m.example.com/x?client_id=one-1\"\n\
         triggers_path = \"/triggers\"\ntriggers_secret = \"a-canary-of-triggers\"\n"
    );
    let rules = "[admin]\ntoken = \"ada:0123456789abcdef0123456789canary01\"\n\
                 [[follow_ups]]\nname = \"snap\"\non = [\"ContactCreate\"]\nrequest = \"GET /contacts/{entity_id}\"\n\
                 [[follow_ups]]\nname = \"other\"\non = [\"ContactCreate\"]\nrequest = \"GET /contacts/{entity_id}\"\n";
    let rows: [(&str, &str, &[&str]); 3] = [
        (
            "",
            "",
            &["API calls   off: no app has client_id", "console off"],
        ),
        (
            credentials,
            "",
            &[
                "API calls   https://services.leadconnectorhq.com, for app one\n",
                "no rules",
                "app one  GET /back (no /oauth/install without install_url)",
            ],
        ),
        (
            &all,
            rules,
            &[
                "rules other, snap",
                "app one  GET /oauth/install, and back to /back",
                "app one  POST /triggers of workflow triggers",
                "console for ada",
            ],
        ),
    ];
    for (of_first, more, parts) in rows {
        let (words, _) = check(of_first, more);
        for part in parts {
            assert!(words.contains(part), "{part} is missing:\n{words}");
        }
        assert!(!words.contains("canary"), "{words}");
    }
    let (_, nothing) = check("", "");
    assert_eq!(
        (&nothing["calls"], &nothing["console"]),
        (&json!(null), &json!([]))
    );
    let (_, everything) = check(&all, rules);
    assert_eq!(
        everything["calls"],
        json!({"api_base": "https://services.leadconnectorhq.com", "apps": ["one"], "rules": ["other", "snap"]})
    );
    assert_eq!(
        everything["apps"],
        json!([
            {"id": "one", "path": "/one", "calls": true, "install": "/oauth/install", "callback": "/back", "triggers": "/triggers"},
            {"id": "two", "path": "/two", "calls": false, "install": null, "callback": null, "triggers": null},
        ])
    );
    assert_eq!(everything["console"], json!(["ada"]));
    assert!(!everything.to_string().contains("canary"), "{everything}");
}

#[test]
fn variables_go_over_the_file() {
    let mut config = DaemonConfig::new("sqlite://from-the-file.db");
    config.variables = vec![
        (
            "HOOKWELL_STORE__URL".into(),
            "sqlite://from-the-variable.db".into(),
        ),
        ("HOOKWELL_HTTP__LISTEN".into(), "127.0.0.1:8123".into()),
        ("HOOKWELL_HTTP__MAX_WAITING".into(), "17".into()),
        (
            "HOOKWELL_BROKER__URL".into(),
            "amqp://a:b@127.0.0.1:1001/v,amqp://a:b@127.0.0.1:1002/v".into(),
        ),
        // One underscore is somebody else's.
        ("HOOKWELL_HOME".into(), "/somewhere".into()),
    ];
    let output = run_cli(&["check-config", "--json"], &config);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["store"], "SQLite, from-the-variable.db");
    assert_eq!(told["listen"], "127.0.0.1:8123");
    assert_eq!(
        told["brokers"],
        serde_json::json!(["127.0.0.1:1001", "127.0.0.1:1002"])
    );
    config.variables = vec![
        ("HOOKWELL_HTTP__MAX_WAITING".into(), "many".into()),
        ("HOOKWELL_HTTP__NONSENSE".into(), "1".into()),
    ];
    let output = run_cli(&["check-config"], &config);
    assert_eq!(code(&output), Some(78));
    let said = stderr(&output);
    for part in [
        "http.max_waiting (HOOKWELL_HTTP__MAX_WAITING)",
        "http.nonsense (HOOKWELL_HTTP__NONSENSE)",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn secrets_come_from_files_and_never_go_out() {
    let secret = "s3cr3t-canary";
    let (config, path) = file(
        r#"
[store]
url_file = "store_url"
[broker]
url_file = "broker_url"
[[apps]]
id = "a"
path = "/a"
"#,
    );
    let put = |name: &str, text: String| std::fs::write(config.dir().join(name), text).unwrap();
    put(
        "store_url",
        format!("postgres://u:{secret}@127.0.0.1:1/d\n"),
    );
    put(
        "broker_url",
        format!("amqp://u:{secret}@127.0.0.1:1001/v\n\namqp://u:{secret}@127.0.0.1:1002/v\n"),
    );
    let check = |more: &[&str]| {
        let output = run_plain(
            &[&["check-config", "--config", &path], more].concat(),
            &config,
        );
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!said.contains(secret), "{said}");
        (code(&output), said)
    };
    for more in [&[][..], &["--json"]] {
        let (ended, said) = check(more);
        assert_eq!(ended, Some(0), "{said}");
        assert!(said.contains("127.0.0.1:1002"), "{said}");
    }
    // Whatever is wrong with them.
    for (name, broken) in [
        ("store_url", format!("mysql://u:{secret}@h/d")),
        ("store_url", format!("u:{secret}@h/d")),
        ("broker_url", format!("amqp://u:{secret}@h:99999999/v")),
        ("broker_url", format!("http://u:{secret}@h/v")),
        ("broker_url", secret.to_owned()),
        ("broker_url", format!("amqp://u:{secret}@h/")),
    ] {
        let kept = std::fs::read_to_string(config.dir().join(name)).unwrap();
        put(name, broken);
        let (ended, said) = check(&[]);
        assert_eq!(ended, Some(78), "{said}");
        put(name, kept);
    }
    std::fs::remove_file(config.dir().join("broker_url")).unwrap();
    let (ended, said) = check(&[]);
    assert_eq!(ended, Some(78));
    assert!(said.contains("broker.url_file"), "{said}");

    // Both ways at once is one too many; a private key pasted by mistake is not repeated.
    let private = Ghl::new().key.to_pkcs8_pem();
    let mut config = DaemonConfig::new("sqlite://unused.db").set("store", "url_file = \"x\"");
    config.keys = vec![private.clone()];
    let output = run_cli(&["check-config"], &config);
    let said = stderr(&output);
    assert_eq!(code(&output), Some(78));
    assert!(said.contains("keep one of the two"), "{said}");
    assert!(said.contains("private key"), "{said}");
    assert!(!said.contains(private.lines().nth(1).unwrap()), "{said}");
}

#[test]
fn a_file_of_token_keys_that_cannot_be_used_is_a_problem_with_its_key_and_its_place() {
    let (config, path) = file(
        "[ghl]\ntoken_keys_file = \"keys/token-keys\"\n[[apps]]\nid = \"a\"\npath = \"/a\"\n\
         client_id = \"a-1\"\nclient_secret = \"s\"\nredirect_uri = \"https://hooks.example.com/callback\"\n",
    );
    let keys = config.dir().join("keys/token-keys");
    let check = || {
        let output = run_plain(&["check-config", "--config", &path], &config);
        (code(&output), stderr(&output))
    };
    let (ended, said) = check();
    assert_eq!(ended, Some(78), "{said}");
    let told = format!("ghl.token_keys_file ({path}:2:");
    for part in [
        &told,
        "keys/token-keys",
        "`hookwell keys rotate --file keys/token-keys`",
    ] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert!(!config.dir().join("keys").exists(), "it touches nothing");
    std::fs::create_dir(config.dir().join("keys")).unwrap();
    for (text, part) in [
        ("", "holds no key"),
        ("k1 s3cr3t-canary", "line 1"),
        ("# a word\nsecret-canary", "line 2"),
    ] {
        std::fs::write(&keys, text).unwrap();
        let (ended, said) = check();
        assert_eq!(ended, Some(78), "{text}: {said}");
        assert!(said.contains(&told) && said.contains(part), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
    let serve = run_plain(&["serve", "--config", &path], &config);
    assert_eq!(code(&serve), Some(78), "{}", stderr(&serve));
    // The command that makes it is not in its own way.
    std::fs::remove_file(&keys).unwrap();
    let arguments = [
        "keys",
        "rotate",
        "--file",
        "keys/token-keys",
        "--config",
        &path,
    ];
    let output = run_plain(&arguments, &config);
    assert!(
        stdout(&output).contains("is the first one of"),
        "{}",
        stderr(&output)
    );
    let (ended, said) = check();
    assert_eq!(ended, Some(0), "{said}");
}

#[test]
fn what_weakens_a_promise_is_noted() {
    let mut config = DaemonConfig::new("sqlite://unused.db")
        .broker("amqp://u:p@broker.example.com/v")
        .set("signature", "legacy_rsa = true");
    config.tail = "[[broker.queues]]\nname = \"c\"\nbind = [\"#\"]\nkind = \"classic\"\n".into();
    let output = run_cli(&["check-config"], &config);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    for part in ["without TLS", "legacy_rsa is on", "classic queue"] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    assert!(!said.contains("store.url"), "{said}");
    // A setting that got lost must not send events into another log in silence.
    let path = config.dir().join("bare.toml");
    std::fs::write(
        &path,
        "[[apps]]\nid = \"0123456789abcdef01234567\"\npath = \"/webhooks/ghl\"\n",
    )
    .unwrap();
    let path = path.display().to_string();
    let output = run_plain(&["check-config", "--config", &path], &config);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("store.url is not set"), "{said}");
}

#[test]
fn a_reserve_of_a_disk_that_is_postgres_s_is_noted_and_its_size_is_read() {
    let checked = |url: &str, reserve: &str| {
        let config = DaemonConfig::new(url).set("store", &format!("disk_reserve = {reserve:?}"));
        let output = run_cli(&["check-config"], &config);
        let said = stdout(&output) + &stderr(&output);
        (code(&output), said.contains("disk_reserve"))
    };
    assert_eq!(checked("postgres://u:p@db/h", "1GiB"), (Some(0), true));
    assert_eq!(checked("sqlite://unused.db", "1GiB"), (Some(0), false));
    assert_eq!(checked("sqlite://unused.db", "0"), (Some(0), false));
    assert_eq!(checked("sqlite://unused.db", "some"), (Some(78), true));
    let plain = DaemonConfig::new("postgres://u:p@db/h");
    let said = stdout(&run_cli(&["check-config"], &plain));
    assert!(!said.contains("disk_reserve"), "{said}");
}

#[test]
fn queue_arguments_that_drop_confirmed_messages_are_noted() {
    let noted = |kind: &str, arguments: &str| {
        let mut config = DaemonConfig::new("sqlite://unused.db");
        config.tail = format!(
            "[[broker.queues]]\nname = \"bounded\"\nbind = [\"#\"]\nkind = \"{kind}\"\narguments = {{ {arguments} }}\n"
        );
        let output = run_cli(&["check-config", "--json"], &config);
        assert_eq!(code(&output), Some(0), "{arguments}: {}", stderr(&output));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let warnings = said["warnings"].as_array().unwrap();
        let notes = |warning: &&serde_json::Value| {
            let warning = warning.as_str().unwrap();
            warning.contains("arguments of bounded") && warning.contains("drop confirmed messages")
        };
        warnings.iter().filter(notes).count()
    };
    let reject = "x-overflow = \"reject-publish\"";
    let reject_and_park = "x-overflow = \"reject-publish-dlx\"";
    let cases = [
        ("quorum", "x-overflow = \"drop-head\"", 1),
        ("quorum", "x-max-length = 9, x-overflow = \"drop-head\"", 1),
        ("quorum", "x-max-length = 9, x-overflow = 1", 1),
        ("quorum", "x-max-length = 9", 1),
        ("classic", "x-max-length = 9", 1),
        ("quorum", "x-max-length-bytes = 9", 1),
        ("quorum", "x-message-ttl = 9", 1),
        ("quorum", &format!("x-message-ttl = 9, {reject}"), 1),
        ("quorum", "x-expires = 9", 1),
        ("quorum", &format!("x-expires = 9, {reject}"), 1),
        ("quorum", "x-max-length = 9, x-message-ttl = 9", 1),
        ("quorum", &format!("x-max-length = 9, {reject}"), 0),
        ("quorum", &format!("x-max-length-bytes = 9, {reject}"), 0),
        (
            "classic",
            &format!("x-max-length = 9, {reject_and_park}"),
            0,
        ),
        ("quorum", reject, 0),
        ("quorum", "x-single-active-consumer = true", 0),
        ("quorum", "", 0),
        ("stream", "x-max-length-bytes = 9", 0),
    ];
    for (kind, arguments, expected) in cases {
        assert_eq!(noted(kind, arguments), expected, "{kind}: {arguments}");
    }
}

/// A wrong value in one place makes no right key elsewhere unknown.
#[test]
fn what_is_right_is_not_called_unknown_beside_what_is_wrong() {
    let text = r##"
[ghl]
attempts = 0
[[broker.queues]]
bind = ["#"]
arguments = { "x-max-length" = 5 }
[[follow_ups]]
name = "contact"
on = ["ContactCreate"]
request = "GET /contacts/{entity_id}"
publish_as = "contact.snapshot"
"##;
    let (config, path) = file(text);
    let output = run_plain(&["check-config", "--config", &path], &config);
    assert_eq!(code(&output), Some(78));
    let said = stderr(&output);
    assert!(!said.contains("no such key"), "{said}");
    for wrong in ["ghl.attempts", "broker.queues[0].name"] {
        assert!(said.contains(wrong), "{wrong} is missing: {said}");
    }
}

#[test]
fn a_path_that_another_app_would_take_for_its_own_is_refused_and_one_below_it_is_not() {
    for (other, refused) in [("/hooks/second", true), ("/hooks/ghl/second", false)] {
        let text = format!(
            "[[apps]]\nid = \"65f0c0ffee65f0c0ffee65f0\"\npath = \"/hooks\"\n\
             [[apps]]\nid = \"65f0c0ffee65f0c0ffee65f1\"\npath = \"{other}\"\n"
        );
        let (config, path) = file(&text);
        let output = run_plain(&["check-config", "--config", &path], &config);
        let said = stderr(&output);
        assert_eq!(said.contains("collides with /hooks"), refused, "{said}");
    }
}
