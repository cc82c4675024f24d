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
/// All of them.
pub const ALL: &[&[&str]] = &[VECTORS, TWO_HEADERS];

/// Those of `tests`, given as modules and a function, that are not in the source.
pub fn missing<'a>(tests: &[&'a str]) -> Vec<&'a str> {
    let is_missing = |test: &&&str| !is_there(test);
    tests.iter().filter(is_missing).copied().collect()
}

fn is_there(test: &str) -> bool {
    let (modules, function) = test.rsplit_once("::").unwrap_or(("", test));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file: PathBuf = modules.split("::").collect();
    let source = std::fs::read_to_string(root.join(file).with_extension("rs"));
    source.is_ok_and(|source| {
        let head = format!("fn {function}() {{");
        let mut lines = source.lines().map(str::trim);
        let mut marked = false;
        lines.any(|line| {
            let found = marked && line == head;
            marked = line == "#[test]" || (marked && line.starts_with("#["));
            found
        })
    })
}
