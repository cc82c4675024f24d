//! What is taken for HighLevel's and what is not: headers, precedence of the two schemes, bodies.

#![allow(clippy::unwrap_used)]

use super::*;

mod keys;
mod legacy;
mod vectors;

const BODY: &[u8] = br#"{"type":"ContactCreate","locationId":"loc-1","id":"c-1"}"#;

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn verifier(seeds: &[u8]) -> Verifier {
    Verifier::new(
        seeds
            .iter()
            .map(|seed| signer(*seed).public_key())
            .collect(),
        None,
    )
    .unwrap()
}

fn outcome(
    verifier: &Verifier,
    body: &[u8],
    ghl: &[&[u8]],
    legacy: &[&[u8]],
) -> Result<(), Reject> {
    let verified = verifier.verify(body, &SignatureHeaders { ghl, legacy })?;
    assert_eq!(
        verified.body().as_ptr_range(),
        body.as_ptr_range(),
        "the very bytes, no copy"
    );
    Ok(())
}

/// A body whose signature has both characters in which base64 and base64url differ.
fn body_with_both_special_characters() -> (String, String) {
    (0..1000)
        .map(|n| format!(r#"{{"n":{n}}}"#))
        .map(|body| (signer(1).sign_base64(body.as_bytes()), body))
        .find(|(signature, _)| signature.contains('+') && signature.contains('/'))
        .unwrap()
}

#[test]
fn only_one_strict_base64_signature_of_64_bytes_is_taken() {
    let (good, body) = body_with_both_special_characters();
    let body = body.as_bytes();
    let bare = good.trim_end_matches('=');
    let raw = BASE64.decode(&good).unwrap();
    let b64 = |bytes: &[u8]| BASE64.encode(bytes);
    let mut flipped = raw.clone();
    flipped[0] ^= 1;
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    // The last of 86 characters carries four bits that must be zero: A, Q, g or w.
    let stray_bits: String = {
        let (head, last) = bare.split_at(85);
        format!("{head}{}==", char::from(last.as_bytes()[0] + 1))
    };
    let elsewhere = signer(1).sign_base64(b"another body");
    let unknown_key = signer(9).sign_base64(body);

    let rows: Vec<(&str, Vec<String>, Result<(), Reject>)> = vec![
        ("padded", vec![good.clone()], Ok(())),
        ("without padding", vec![bare.into()], Ok(())),
        ("no header", vec![], Err(Reject::Missing)),
        ("empty", vec!["".into()], Err(Reject::Missing)),
        (
            "the literal",
            vec!["N/A".into()],
            Err(Reject::NotApplicable),
        ),
        (
            "another case of it",
            vec!["n/a".into()],
            Err(Reject::Malformed),
        ),
        ("one bit changed", vec![b64(&flipped)], Err(Reject::Wrong)),
        ("of another body", vec![elsewhere], Err(Reject::Wrong)),
        ("by another key", vec![unknown_key], Err(Reject::Wrong)),
        ("64 zero bytes", vec![b64(&[0; 64])], Err(Reject::Wrong)),
        ("63 bytes", vec![b64(&raw[..63])], Err(Reject::Malformed)),
        (
            "65 bytes",
            vec![b64(&[&raw[..], &[0]].concat())],
            Err(Reject::Malformed),
        ),
        (
            "66 bytes",
            vec![b64(&[&raw[..], &[0, 0]].concat())],
            Err(Reject::Malformed),
        ),
        ("one byte", vec![b64(&[7])], Err(Reject::Malformed)),
        (
            "a megabyte",
            vec!["A".repeat(1 << 20)],
            Err(Reject::Malformed),
        ),
        ("hex", vec![hex], Err(Reject::Malformed)),
        ("not base64", vec!["!".repeat(88)], Err(Reject::Malformed)),
        (
            "base64url",
            vec![good.replace('+', "-").replace('/', "_")],
            Err(Reject::Malformed),
        ),
        (
            "half the padding",
            vec![format!("{bare}=")],
            Err(Reject::Malformed),
        ),
        (
            "too much padding",
            vec![format!("{bare}===")],
            Err(Reject::Malformed),
        ),
        (
            "padding in front",
            vec![format!("=={bare}")],
            Err(Reject::Malformed),
        ),
        (
            "stray trailing bits",
            vec![stray_bits],
            Err(Reject::Malformed),
        ),
        (
            "a space in front",
            vec![format!(" {good}")],
            Err(Reject::Malformed),
        ),
        (
            "a space behind",
            vec![format!("{good} ")],
            Err(Reject::Malformed),
        ),
        (
            "a space for padding",
            vec![format!("{bare}  ")],
            Err(Reject::Malformed),
        ),
        (
            "a space inside",
            vec![format!("{} {}", &bare[..40], &bare[40..])],
            Err(Reject::Malformed),
        ),
        (
            "a line break",
            vec![format!("{}\n{}", &bare[..64], &bare[64..])],
            Err(Reject::Malformed),
        ),
        ("only whitespace", vec![" ".into()], Err(Reject::Malformed)),
        (
            "with a scheme",
            vec![format!("ed25519={good}")],
            Err(Reject::Malformed),
        ),
        (
            "twice, equal",
            vec![good.clone(), good.clone()],
            Err(Reject::Repeated),
        ),
        (
            "twice, one wrong",
            vec![b64(&flipped), good.clone()],
            Err(Reject::Repeated),
        ),
        (
            "twice, one literal",
            vec!["N/A".into(), good.clone()],
            Err(Reject::Repeated),
        ),
        (
            "twice, one empty",
            vec![good.clone(), "".into()],
            Err(Reject::Repeated),
        ),
        (
            "two in one value",
            vec![format!("{good}, {good}")],
            Err(Reject::Malformed),
        ),
    ];
    for (name, values, expected) in rows {
        let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        assert_eq!(
            outcome(&verifier(&[1]), body, &values, &[]),
            expected,
            "{name}"
        );
    }
    assert_eq!(
        outcome(&verifier(&[1]), body, &[&[0xff; 88]], &[]),
        Err(Reject::Malformed)
    );
    assert_eq!(
        outcome(&verifier(&[1]), body, &[&[0; 88]], &[]),
        Err(Reject::Malformed)
    );
}

#[test]
fn a_body_that_only_re_serialises_to_the_signed_text_is_refused() {
    let signed = r#"{"a":1,"b":"é"}"#;
    let header = signer(1).sign_base64(signed.as_bytes());
    let header: &[&[u8]] = &[header.as_bytes()];
    assert_eq!(
        outcome(&verifier(&[1]), signed.as_bytes(), header, &[]),
        Ok(())
    );

    for body in [
        r#"{ "a": 1, "b": "é" }"#,
        "{\"a\":1,\"b\":\"é\"}\n",
        r#"{"a":1,"b":"\u00e9"}"#,
        r#"{"a":2,"b":"x","a":1,"b":"é"}"#,
        r#"{"b":"é","a":1}"#,
    ] {
        let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            parsed,
            serde_json::from_str::<serde_json::Value>(signed).unwrap(),
            "{body}"
        );
        let refused = outcome(&verifier(&[1]), body.as_bytes(), header, &[]);
        assert_eq!(refused, Err(Reject::Wrong), "{body}");
    }
    let with_mark = [b"\xef\xbb\xbf", signed.as_bytes()].concat();
    assert_eq!(
        outcome(&verifier(&[1]), &with_mark, header, &[]),
        Err(Reject::Wrong)
    );
    assert_eq!(
        outcome(&verifier(&[1]), b"", header, &[]),
        Err(Reject::Wrong)
    );
}

#[test]
fn any_configured_key_may_have_signed_and_no_other() {
    let rows: [(&[u8], u8, Result<(), Reject>); 6] = [
        (&[1], 1, Ok(())),
        (&[1, 2], 1, Ok(())),
        (&[1, 2], 2, Ok(())),
        (&[2], 1, Err(Reject::Wrong)),
        (&[1, 2], 3, Err(Reject::Wrong)),
        (&[1, 1], 1, Ok(())),
    ];
    for (keys, by, expected) in rows {
        let header = signer(by).sign_base64(BODY);
        let found = outcome(&verifier(keys), BODY, &[header.as_bytes()], &[]);
        assert_eq!(found, expected, "keys {keys:?}, signed by {by}");
    }
}

#[test]
fn an_empty_body_can_be_signed_like_any_other() {
    let header = signer(1).sign_base64(b"");
    assert_eq!(
        outcome(&verifier(&[1]), b"", &[header.as_bytes()], &[]),
        Ok(())
    );
}

#[test]
fn there_is_no_verifier_without_a_key() {
    assert_eq!(Verifier::new(vec![], None).unwrap_err(), NoKeys);
    let legacy = GHL_RSA_KEY.parse().unwrap();
    assert_eq!(Verifier::new(vec![], Some(legacy)).unwrap_err(), NoKeys);
}

#[test]
fn every_reason_has_its_own_words() {
    let words: std::collections::BTreeSet<_> =
        Reject::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), Reject::ALL.len());
}

#[test]
fn a_verified_body_does_not_show_itself_in_logs() {
    let header = signer(1).sign_base64(BODY);
    let headers = SignatureHeaders {
        ghl: &[header.as_bytes()],
        legacy: &[],
    };
    let verifier = verifier(&[1]);
    let verified = verifier.verify(BODY, &headers).unwrap();
    assert_eq!(
        format!("{verified:?}"),
        format!("Verified {{ body_bytes: {} }}", BODY.len())
    );
}
