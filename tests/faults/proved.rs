//! Rows that a test of its own proves completely: pure functions over tables, which load and servers
//! would add nothing to.

use std::path::{Path, PathBuf};

/// B-12: published vectors, Wycheproof's and the cases on which verifiers differ.
pub const VECTORS: &[&str] = &[
    "signature::tests::vectors::every_wycheproof_verdict_is_ours",
    "signature::tests::vectors::of_the_cases_on_which_verifiers_differ_only_the_sound_one_is_accepted",
    "signature::tests::vectors::the_weak_keys_among_those_cases_cannot_be_configured",
    "signature::tests::vectors::every_wycheproof_verdict_on_rsa_with_sha_256_is_ours",
];
/// B-13: which of the two headers decides.
pub const TWO_HEADERS: &[&str] = &[
    "signature::tests::legacy::the_legacy_header_counts_only_without_the_new_one_and_only_when_switched_on",
    "signature::tests::legacy::a_legacy_signature_is_pkcs1_v1_5_with_sha_256_of_these_bytes_by_this_key",
];
/// O-05: tokens at rest, keys that are rotated, and what was moved, changed or cut.
pub const SEALED: &[&str] = &[
    "seal::tests::what_is_sealed_opens_at_its_place_and_nowhere_else",
    "seal::tests::no_single_changed_byte_and_no_cut_opens",
    "seal::tests::the_first_key_seals_and_every_key_opens",
    "it::follow_ups::tokens::keys_are_rotated_while_the_daemon_runs",
];
/// O-06: callbacks with a wrong, missing, spent or foreign state, an error, or a made-up code.
pub const CALLBACK: &[&str] = &[
    "it::follow_ups::oauth::a_callback_that_did_not_begin_here_brings_nothing",
    "it::follow_ups::oauth::an_agency_installs_the_app_and_has_a_token",
];
/// P-17: pgbouncer in each of its modes.
pub const POOLER: &[&str] = &[
    "it::store_suite::pooler::a_pooler_that_lends_sessions_is_refused_with_the_way_out",
    "it::store_suite::pooler::a_pooler_that_keeps_sessions_is_as_good_as_postgres",
];
/// All of them.
pub const ALL: &[&[&str]] = &[VECTORS, TWO_HEADERS, SEALED, CALLBACK, POOLER];

/// Those of `tests`, given as modules and a function, that are not in the source.
pub fn missing<'a>(tests: &[&'a str]) -> Vec<&'a str> {
    let is_missing = |test: &&&str| !is_there(test);
    tests.iter().filter(is_missing).copied().collect()
}

fn is_there(test: &str) -> bool {
    let (modules, function) = test.rsplit_once("::").unwrap_or(("", test));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = match modules.starts_with("it::") {
        true => root.join("tests"),
        false => root.join("src"),
    };
    let file: PathBuf = modules.split("::").collect();
    let file = root.join(file).with_extension("rs");
    // In a file of its own, or at the end of what it tests.
    let inside = modules.strip_suffix("::tests").map(|modules| {
        let file: PathBuf = modules.split("::").collect();
        root.join(file).with_extension("rs")
    });
    let source = std::fs::read_to_string(file)
        .or_else(|_| std::fs::read_to_string(inside.unwrap_or_default()));
    source.is_ok_and(|source| {
        // One for both stores stands in a list, and its function below it.
        let both = format!("async fn {function}(backend: Backend) {{");
        let listed = source.lines().any(|line| line.trim() == function);
        if listed && source.lines().any(|line| line.trim() == both) {
            return true;
        }
        let heads = ["fn", "async fn"].map(|kind| format!("{kind} {function}() {{"));
        let mut lines = source.lines().map(str::trim);
        let mut marked = false;
        lines.any(|line| {
            let found = marked && heads.iter().any(|head| line == head);
            let marks = line == "#[test]" || line.starts_with("#[tokio::test");
            marked = marks || (marked && line.starts_with("#["));
            found
        })
    })
}
