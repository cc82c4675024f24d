//! The legacy RSA header: when it counts, and which keys and signatures do.

use super::*;

fn data(path: &[&str]) -> String {
    let file = include_str!("../../../tests/data/legacy_rsa.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    path.iter()
        .fold(&file, |value, field| &value[*field])
        .as_str()
        .unwrap()
        .to_owned()
}

fn with_legacy(bits: &str) -> Verifier {
    let key = data(&["keys", bits]).parse().unwrap();
    Verifier::new(vec![signer(1).public_key()], Some(key)).unwrap()
}

#[test]
fn the_legacy_header_counts_only_without_the_new_one_and_only_when_switched_on() {
    use Reject::{LegacyOff, Missing, NotApplicable, Repeated, Wrong};

    let body = data(&["body"]);
    let body = body.as_bytes();
    let ghl = [signer(1).sign_base64(body), signer(2).sign_base64(body)];
    let rsa = [
        data(&["signatures", "2048"]),
        data(&["by_2048_with_another_scheme", "pss-sha256"]),
    ];
    let [ghl_good, ghl_bad] = [&[ghl[0].as_bytes()][..], &[ghl[1].as_bytes()][..]];
    let [rsa_good, rsa_bad] = [&[rsa[0].as_bytes()][..], &[rsa[1].as_bytes()][..]];
    let rsa_twice = &[rsa[0].as_bytes(), rsa[0].as_bytes()][..];
    let ghl_twice = &[ghl[0].as_bytes(), ghl[0].as_bytes()][..];
    let none: &[&[u8]] = &[];
    let (literal, empty) = (&[NOT_APPLICABLE][..], &[&b""[..]][..]);

    type Row<'a> = (
        &'a [&'a [u8]],
        &'a [&'a [u8]],
        Result<(), Reject>,
        Result<(), Reject>,
    );
    // X-GHL-Signature, X-WH-Signature, verdict with legacy off, verdict with legacy on.
    let rows: &[Row<'_>] = &[
        (none, none, Err(Missing), Err(Missing)),
        (none, rsa_good, Err(LegacyOff), Ok(())),
        (none, rsa_bad, Err(LegacyOff), Err(Wrong)),
        (ghl_good, none, Ok(()), Ok(())),
        (ghl_good, rsa_good, Ok(()), Ok(())),
        (ghl_good, rsa_bad, Ok(()), Ok(())),
        (ghl_bad, none, Err(Wrong), Err(Wrong)),
        (ghl_bad, rsa_good, Err(Wrong), Err(Wrong)),
        (ghl_bad, rsa_bad, Err(Wrong), Err(Wrong)),
        // What counts as no signature, and what does not.
        (literal, none, Err(NotApplicable), Err(NotApplicable)),
        (literal, rsa_good, Err(LegacyOff), Ok(())),
        (empty, rsa_good, Err(LegacyOff), Ok(())),
        (none, literal, Err(NotApplicable), Err(NotApplicable)),
        (none, empty, Err(Missing), Err(Missing)),
        (literal, literal, Err(NotApplicable), Err(NotApplicable)),
        (ghl_good, literal, Ok(()), Ok(())),
        (none, rsa_twice, Err(LegacyOff), Err(Repeated)),
        (ghl_twice, rsa_good, Err(Repeated), Err(Repeated)),
        (ghl_good, rsa_twice, Ok(()), Ok(())),
        // A signature in the other one's header.
        (
            rsa_good,
            none,
            Err(Reject::Malformed),
            Err(Reject::Malformed),
        ),
        (none, ghl_good, Err(LegacyOff), Err(Reject::Malformed)),
    ];
    for (row, (ghl, legacy, off, on)) in rows.iter().enumerate() {
        assert_eq!(
            outcome(&verifier(&[1]), body, ghl, legacy),
            *off,
            "row {row}, legacy off"
        );
        assert_eq!(
            outcome(&with_legacy("2048"), body, ghl, legacy),
            *on,
            "row {row}, legacy on"
        );
    }
}

#[test]
fn a_legacy_signature_is_pkcs1_v1_5_with_sha_256_of_these_bytes_by_this_key() {
    let body = data(&["body"]);
    let body = body.as_bytes();
    for bits in ["2048", "4096"] {
        let good = data(&["signatures", bits]);
        let verifier = with_legacy(bits);
        let check = |body, header: &str| outcome(&verifier, body, &[], &[header.as_bytes()]);
        assert_eq!(check(body, &good), Ok(()), "{bits}");
        assert_eq!(
            check(body, good.trim_end_matches('=')),
            Ok(()),
            "{bits} without padding"
        );
        assert_eq!(check(b"another body", &good), Err(Reject::Wrong), "{bits}");

        let raw = BASE64.decode(&good).unwrap();
        for bytes in [
            &raw[1..],
            &[&[0], &raw[..]].concat(),
            &[],
            &raw[..raw.len() - 1],
        ] {
            let found = check(body, &BASE64.encode(bytes));
            assert!(
                found.is_err() && found != Err(Reject::Wrong),
                "{bits}: {found:?}"
            );
        }
    }
    for scheme in ["pkcs1-v1_5-sha1", "pkcs1-v1_5-sha512", "pss-sha256"] {
        let header = data(&["by_2048_with_another_scheme", scheme]);
        let found = outcome(&with_legacy("2048"), body, &[], &[header.as_bytes()]);
        assert_eq!(found, Err(Reject::Wrong), "{scheme}");
    }
    let header = data(&["signatures", "2048"]);
    let found = outcome(&with_legacy("4096"), body, &[], &[header.as_bytes()]);
    assert_eq!(found, Err(Reject::Malformed), "by a key of another length");
}

#[test]
fn an_rsa_key_below_2048_bits_is_refused() {
    let error = data(&["keys", "1024"]).parse::<RsaPublicKey>().unwrap_err();
    assert_eq!(*error.problem(), KeyProblem::ModulusBits(1024));
    assert!(error.to_string().contains("2048"), "{error}");
}

#[test]
fn what_is_no_rsa_public_key_is_refused() {
    let rsa: RsaPublicKey = GHL_RSA_KEY.parse().unwrap();
    assert_eq!(format!("{rsa:?}"), "RsaPublicKey(4096 bits)");
    let trailing = GHL_RSA_KEY.to_owned() + "x";
    let rows = [
        ("", KeyProblem::Empty),
        (GHL_ED25519_KEY, KeyProblem::Algorithm("RSA")),
        (&*trailing, KeyProblem::Label("PUBLIC KEY")),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
            KeyProblem::Private,
        ),
        ("AAAA", KeyProblem::Form(3)),
    ];
    for (text, problem) in rows {
        assert_eq!(
            *text.parse::<RsaPublicKey>().unwrap_err().problem(),
            problem,
            "{text}"
        );
    }
}

#[test]
fn an_rsa_key_that_could_never_verify_is_refused_when_it_is_read() {
    let der = BASE64.decode(data(&["keys", "2048"])).unwrap();
    // The exponent 65537 is the last integer of the document.
    assert_eq!(der[der.len() - 5..], [2, 3, 1, 0, 1]);
    for exponent in [[1, 0, 0], [0, 0, 1]] {
        let mut der = der.clone();
        let at = der.len() - 3;
        der[at..].copy_from_slice(&exponent);
        assert!(
            BASE64.encode(der).parse::<RsaPublicKey>().is_err(),
            "{exponent:?}"
        );
    }
}
