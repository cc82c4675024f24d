//! What is said of a rule that is wrong: its name, the field, and the nearest right one.

use hookwell::seal::{KEY_BYTES, Keyring};

use super::{code, stderr, stdout};
use crate::harness::DaemonConfig;
use crate::harness::daemon::run_plain;
use crate::harness::run_cli;

/// Keys of a rule with other values; an empty one leaves the key out.
type Changed = &'static [(&'static str, &'static str)];

/// An app with credentials, and whatever else is given for it.
fn checked(of_app: &str, rules: &str) -> (Option<i32>, String) {
    let config = DaemonConfig::new("sqlite://unused.db");
    let put = |name: &str, text: &str| {
        let path = config.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let keys = put("token-keys", &Keyring::line("k", &[1; KEY_BYTES]));
    let path = put(
        "rules.toml",
        &format!(
            "[store]\nurl = \"sqlite://unused.db\"\n[ghl]\ntoken_keys_file = {keys:?}\n\
             [[apps]]\nid = \"a\"\npath = \"/a\"\nclient_id = \"a-1\"\nclient_secret = \"s\"\n\
             redirect_uri = \"https://hooks.example.com/oauth/callback\"\n{of_app}\n{rules}"
        ),
    );
    let output = run_plain(&["check-config", "--config", &path], &config);
    (
        code(&output),
        format!("{}{}", stdout(&output), stderr(&output)),
    )
}

#[test]
fn a_rule_that_is_wrong_is_named_with_its_field_and_the_nearest_right_one() {
    let good = [
        ("name", "\"snap\""),
        ("on", "[\"ContactCreate\"]"),
        ("request", "\"GET /contacts/{entity_id}\""),
        ("publish_as", "\"contact.snapshot\""),
    ];
    let rule = |changed: &[(&str, &str)]| {
        let mut text = "[[follow_ups]]\n".to_owned();
        let kept = good
            .iter()
            .filter(|(key, _)| !changed.iter().any(|(other, _)| other == key));
        for (key, value) in kept.chain(changed).filter(|(_, value)| !value.is_empty()) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    };
    let (code, said) = checked("", &rule(&[]));
    assert_eq!(code, Some(0), "{said}");
    let cases: [(Changed, &[&str]); 15] = [
        (&[("name", "")], &["follow_ups[0].name", "is missing"]),
        (
            &[("name", "\"Snap!\"")],
            &["follow_ups[0].name", "a-z, 0-9"],
        ),
        (
            &[("on", "[\"ContactCraete\"]")],
            &["rule snap", "did you mean ContactCreate?"],
        ),
        (
            &[("on", "")],
            &["follow_ups[0].on", "rule snap", "is missing"],
        ),
        (
            &[("request", "\"GTE /contacts\"")],
            &["rule snap", "GTE is no method", "there are GET, POST, PUT"],
        ),
        (
            &[("request", "\"GET contacts\"")],
            &["rule snap", "a method and a path"],
        ),
        (
            &[("request", "\"GET /contacts/{entty_id}\"")],
            &["rule snap", "did you mean entity_id?"],
        ),
        (
            &[("when", "\"body.status = 'won'\"")],
            &["follow_ups[0].when", "rule snap"],
        ),
        (
            &[("reqeust", "\"GET /x\"")],
            &["follow_ups[0].reqeust", "did you mean request?"],
        ),
        (
            &[("token_of", "\"agency\"")],
            &["follow_ups[0].token_of", "\"tenant\" or \"company\""],
        ),
        (&[("attempts", "0")], &["follow_ups[0].attempts"]),
        (
            &[("trigger", "\"deal_won\"")],
            &["follow_ups[0].request", "has no place beside trigger"],
        ),
        (
            &[("request", ""), ("trigger", "\"deal won\"")],
            &["follow_ups[0].trigger", "rule snap"],
        ),
        (
            &[
                ("request", ""),
                ("trigger", "\"t\""),
                ("token_of", "\"company\""),
            ],
            &["follow_ups[0].token_of", "beside trigger"],
        ),
        (
            &[
                ("request", ""),
                ("trigger", "\"t\""),
                ("body", "{ a = \"{subscripton.id}\" }"),
            ],
            &["rule snap", "did you mean subscription?"],
        ),
    ];
    for (changed, parts) in cases {
        let (code, said) = checked("", &rule(changed));
        assert_eq!(code, Some(78), "{changed:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
        assert!(said.contains("rules.toml:"), "no place: {said}");
    }
    let (code, said) = checked("", &format!("{}{}", rule(&[]), rule(&[])));
    assert_eq!(code, Some(78));
    assert!(said.contains("snap is there twice"), "{said}");
}

#[test]
fn a_path_for_triggers_needs_a_secret_and_a_place_of_its_own() {
    let secret = "triggers_secret = \"sixteen-letters-\"";
    let cases = [
        ("triggers_path = \"/t\"", "x-hookwell-secret"),
        (secret, "triggers_path"),
        (
            "triggers_path = \"/t\"\ntriggers_secret = \"short\"",
            "16 or more",
        ),
        (
            &format!("triggers_path = \"t\"\n{secret}"),
            "must be a path such as \"/triggers/ghl\"",
        ),
        (
            &format!("triggers_path = \"/a/b\"\n{secret}"),
            "/a/b, is taken",
        ),
        (
            &format!("triggers_path = \"/oauth/callback\"\n{secret}"),
            "/oauth/callback, is taken",
        ),
        (
            &format!("triggers_path = \"/oauth/install\"\n{secret}"),
            "/oauth/install, is taken",
        ),
    ];
    for (of_app, part) in cases {
        let (code, said) = checked(of_app, "");
        assert_eq!(code, Some(78), "{of_app}: {said}");
        assert!(said.contains(part), "{part} is missing: {said}");
        assert!(!said.contains("sixteen-letters"), "{said}");
    }
    let (code, said) = checked(&format!("triggers_path = \"/t\"\n{secret}"), "");
    assert_eq!(code, Some(0), "{said}");
}

/// What would call for itself for ever is found before the first event does.
#[test]
fn rules_that_call_for_each_other_are_refused() {
    let rule = |name: &str, on: &str, publish_as: &str| {
        format!(
            "[[follow_ups]]\nname = {name:?}\non = [{on:?}]\nrequest = \"GET /contacts/{{entity_id}}\"\npublish_as = {publish_as:?}\n"
        )
    };
    let own = rule("own", "contact.snapshot", "contact.snapshot");
    let two = rule("first", "ContactCreate", "a.made") + &rule("second", "a.made", "b.made");
    let three = two.clone() + &rule("third", "b.made", "a.made");
    for (rules, circle) in [(&own, "own -> own"), (&three, "second -> third -> second")] {
        let (code, said) = checked("", rules);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(&format!("{circle}: every answer")), "{said}");
    }
    let (code, said) = checked("", &two);
    assert_eq!(code, Some(0), "{said}");
}

/// What was not sent would count as sent otherwise.
#[test]
fn a_call_has_longer_than_its_connection() {
    let config = DaemonConfig::new("sqlite://unused.db")
        .set("ghl", "timeout = \"5s\"\nconnect_timeout = \"5s\"");
    let output = run_cli(&["check-config"], &config);
    assert_eq!(code(&output), Some(78), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.contains("ghl.connect_timeout")
            && said.contains("must be shorter than ghl.timeout")
            && !said.contains("(default)"),
        "{said}"
    );
}
