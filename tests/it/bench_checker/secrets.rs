//! Canaries: found wherever they must not be, and only there.

use super::check;
use super::log::Log;
use crate::bench::checker::Finding;
use crate::bench::checker::Invariant::*;

const CANARIES: &str = r#"[{"name":"the client secret","text":"canary-4711","stored_sealed":true},
    {"name":"an e-mail","text":"canary@bench.example","stored_sealed":false}]"#;

/// A run that looked everywhere.
fn looked(log: &mut Log) {
    log.files = vec![
        ("canaries.json", CANARIES),
        ("hookwell.0.log", "{\"message\":\"listening\"}\n"),
        ("said/status", "accepted 8\n"),
        ("dump/store", "insert into tokens values ('\\x00ff');\n"),
    ];
}

fn says(log: &mut Log, place: &'static str, text: &'static str) {
    looked(log);
    log.files.retain(|(name, _)| *name != place);
    log.files.push((place, text));
}

#[test]
fn a_canary_is_found_where_it_must_not_be() {
    check(&[
        ("nowhere", looked, &[]),
        (
            "the secret in a log",
            |log| says(log, "hookwell.1.log", "sent canary-4711\n"),
            &[NoSecretLeaves],
        ),
        (
            "the e-mail in a log",
            |log| says(log, "hookwell.0.log", "of canary@bench.example\n"),
            &[NoSecretLeaves],
        ),
        (
            "in what a command says",
            |log| says(log, "said/status", "canary-4711"),
            &[NoSecretLeaves],
        ),
        (
            "in a metric",
            |log| {
                says(
                    log,
                    "scrapes.jsonl",
                    "{\"life\":0,\"t\":1,\"metrics\":{\"a{b=\\\"canary-4711\\\"}\":1.0}}\n",
                )
            },
            &[NoSecretLeaves],
        ),
        (
            "the secret in the store",
            |log| says(log, "dump/store", "('canary-4711')"),
            &[NoSecretLeaves],
        ),
        (
            "the same in hex digits",
            |log| says(log, "dump/store", "('\\x0063616e6172792d34373131')"),
            &[NoSecretLeaves],
        ),
        (
            "the e-mail in the store, where bodies are",
            |log| says(log, "dump/store", "canary@bench.example"),
            &[],
        ),
        (
            "in a log that is not a daemon's",
            |log| says(log, "postgres.log", "canary-4711"),
            &[],
        ),
    ]);
}

#[test]
fn where_nobody_looked_nothing_is_decided() {
    let undecided = |without: &str| {
        let mut log = Log::good();
        looked(&mut log);
        log.files.retain(|(name, _)| *name != without);
        let mut verdict = log.judge();
        assert!(verdict.holds(), "{}", verdict.line());
        verdict.findings.remove(&NoSecretLeaves).unwrap()
    };
    for (without, reason) in [
        ("canaries.json", "no canaries"),
        ("hookwell.0.log", "no log of a daemon"),
        ("dump/store", "no dump of the store"),
    ] {
        assert_eq!(
            undecided(without),
            Finding::NotApplicable(reason.to_owned())
        );
    }
}

#[test]
fn a_verdict_does_not_say_what_it_found() {
    let mut log = Log::good();
    says(&mut log, "said/status", "canary-4711");
    let line = log.judge().line();
    assert!(
        line.contains("the client secret is in said/status"),
        "{line}"
    );
    assert!(!line.contains("canary-4711"), "{line}");
}
