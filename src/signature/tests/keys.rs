//! Keys as people paste them.

use super::*;

/// The 32 bytes of HighLevel's published key, from its guide.
const GHL_RAW: &str = "8b61d1d6cacbe28d7c3bc0516bb815258ec6edbba96cddc7f40c09ac708388e8";

fn raw(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn problem(text: &str) -> KeyProblem {
    text.parse::<PublicKey>().unwrap_err().problem().clone()
}

#[test]
fn the_published_keys_are_what_the_guide_says() {
    let key: PublicKey = GHL_ED25519_KEY.parse().unwrap();
    assert_eq!(key.0.as_bytes()[..], raw(GHL_RAW));
    assert_eq!(key.id(), "8b61d1d6cacbe28d");
    assert_eq!(format!("{key:?}"), "PublicKey(8b61d1d6cacbe28d)");
    let rsa: RsaPublicKey = GHL_RSA_KEY.parse().unwrap();
    assert_eq!(rsa.signature_bytes(), 512);
}

#[test]
fn each_spelling_of_a_key_is_the_same_key() {
    let key: PublicKey = GHL_ED25519_KEY.parse().unwrap();
    let der = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";
    let spellings = [
        GHL_RAW.to_owned(),
        GHL_RAW.to_uppercase(),
        format!("  {GHL_RAW}\n"),
        der.to_owned(),
        der.trim_end_matches('=').to_owned(),
        BASE64.encode(raw(GHL_RAW)),
        format!("{}\n", BASE64.encode(raw(GHL_RAW)).trim_end_matches('=')),
        GHL_ED25519_KEY.replace('\n', "\r\n"),
        GHL_ED25519_KEY.replace('\n', "\n    "),
        GHL_ED25519_KEY.replace('\n', " "),
    ];
    for text in spellings {
        assert_eq!(text.parse::<PublicKey>().unwrap(), key, "{text}");
    }
}

#[test]
fn what_is_no_ed25519_public_key_is_refused_with_the_reason() {
    let hex_63 = &GHL_RAW[1..];
    let cut = &GHL_ED25519_KEY[..GHL_ED25519_KEY.len() - 6];
    let twice = GHL_ED25519_KEY.repeat(2);
    let as_certificate = GHL_ED25519_KEY.replace("PUBLIC KEY", "CERTIFICATE");
    let der = BASE64
        .decode("MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg")
        .unwrap();
    let longer = BASE64.encode([&der[..], &[0]].concat());
    let x25519 = BASE64.encode([&der[..8], &[0x6e], &der[9..]].concat());
    let no_point = format!("02{}", "0".repeat(62));
    let url_safe = "i2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiO_";
    let rows = [
        ("", KeyProblem::Empty),
        (" \n", KeyProblem::Empty),
        (hex_63, KeyProblem::Form(47)),
        ("secret!", KeyProblem::Encoding),
        (url_safe, KeyProblem::Encoding),
        ("c2hvcnQ=", KeyProblem::Form(5)),
        (&*longer, KeyProblem::Form(45)),
        (&*x25519, KeyProblem::Algorithm("Ed25519")),
        (GHL_RSA_KEY, KeyProblem::Algorithm("Ed25519")),
        (cut, KeyProblem::Label("PUBLIC KEY")),
        (&*twice, KeyProblem::Encoding),
        (&*as_certificate, KeyProblem::Label("PUBLIC KEY")),
        (&*no_point, KeyProblem::NotAPoint),
    ];
    for (text, expected) in rows {
        assert_eq!(problem(text), expected, "{text}");
        let message = text.parse::<PublicKey>().unwrap_err().to_string();
        for form in [
            "PEM",
            "DER in base64",
            "32 bytes in base64",
            "64 hex digits",
        ] {
            assert!(message.contains(form), "{message}");
        }
    }
}

#[test]
fn a_private_key_in_the_place_of_a_public_one_is_refused_and_not_repeated() {
    let pem = signer(7).to_pkcs8_pem();
    let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let relabelled = pem.replace("PRIVATE", "PUBLIC");
    for text in [&pem, &bare, &relabelled] {
        for error in [
            text.parse::<PublicKey>().unwrap_err(),
            text.parse::<RsaPublicKey>().unwrap_err(),
        ] {
            assert_eq!(*error.problem(), KeyProblem::Private);
            let shown = format!("{error} {error:?}");
            assert!(
                !bare
                    .as_bytes()
                    .windows(8)
                    .any(|part| shown.contains(std::str::from_utf8(part).unwrap()))
            );
        }
    }
}

#[test]
fn a_key_of_small_order_or_in_a_second_spelling_is_refused() {
    for weak in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ] {
        assert_eq!(problem(weak), KeyProblem::Weak, "{weak}");
    }

    // The field's modulus is 0x7fff…ffed: a last byte of ed to ff spells 0 to 18 a second time.
    let mut of_large_order = 0;
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            let loose = ed25519_dalek::VerifyingKey::from_bytes(&bytes);
            of_large_order += usize::from(loose.is_ok_and(|key| !key.is_weak()));
            assert!(
                BASE64.encode(bytes).parse::<PublicKey>().is_err(),
                "{low:x} {high:x}"
            );
        }
    }
    assert!(
        of_large_order > 0,
        "otherwise the check of canonical spelling is never reached"
    );
}

#[test]
fn a_signing_key_survives_its_pem_and_keeps_its_secret() {
    let key = signer(7);
    let again = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
    assert_eq!(again.sign_base64(BODY), key.sign_base64(BODY));
    assert_eq!(
        key.public_key_pem().parse::<PublicKey>().unwrap(),
        key.public_key()
    );
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey(of {})", key.public_key().id())
    );

    let rows = [
        (key.public_key_pem(), KeyProblem::Label("PRIVATE KEY")),
        (String::new(), KeyProblem::Empty),
        (
            key.to_pkcs8_pem().replace("PRIVATE KEY", "RSA PRIVATE KEY"),
            KeyProblem::Label("PRIVATE KEY"),
        ),
    ];
    for (text, problem) in rows {
        assert_eq!(
            *SigningKey::from_pkcs8_pem(&text).unwrap_err().problem(),
            problem
        );
    }
}

#[test]
fn a_signing_key_with_its_public_half_enclosed_is_read_too() {
    use ed25519_dalek::pkcs8::EncodePrivateKey as _;

    let enclosed = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let pem = enclosed.to_pkcs8_pem(Default::default()).unwrap();
    let read = SigningKey::from_pkcs8_pem(&pem).unwrap();
    assert_eq!(read.public_key(), signer(7).public_key());
}

#[test]
fn the_first_vector_of_rfc_8032_is_signed_as_published() {
    let seed = raw("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let key = SigningKey::from_seed(seed.try_into().unwrap());
    let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555\
                     fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    assert_eq!(key.sign_base64(b""), BASE64.encode(raw(signature)));
}
