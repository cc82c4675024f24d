//! Signature headers: of all values there are, exactly the right signature is taken, in two spellings.

use std::sync::LazyLock;

use hookwell::signature::{Reject, RsaPublicKey, SignatureHeaders, SigningKey, Verifier};

/// A body with its signature by each scheme, and who checks them.
struct Known {
    body: String,
    ghl: String,
    legacy: String,
    verifier: Verifier,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let file = include_str!("../data/legacy_rsa.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let body = text(&file["body"]);
    let key = SigningKey::from_seed([7; 32]);
    let rsa: RsaPublicKey = text(&file["keys"]["2048"]).parse().unwrap();
    Known {
        ghl: key.sign_base64(body.as_bytes()),
        legacy: text(&file["signatures"]["2048"]),
        verifier: Verifier::new(vec![key.public_key()], Some(rsa)).unwrap(),
        body,
    }
});

/// Takes a line as a value of `X-GHL-Signature`, or of `X-WH-Signature` after a `:`; whether they were
/// taken for a signature.
pub fn run(data: &[u8]) -> bool {
    let known = &*KNOWN;
    let (mut ghl, mut legacy) = (Vec::new(), Vec::new());
    for line in data.split(|byte| *byte == b'\n') {
        match line.strip_prefix(b":") {
            Some(value) => legacy.push(value),
            None => ghl.push(line),
        }
    }
    // A file cannot have no line.
    if ghl == [b"-"] {
        ghl.clear();
    }
    let found = verdict(known, &ghl, &legacy);
    assert_eq!(
        found,
        verdict(known, &ghl, &legacy),
        "the same answer twice"
    );

    let is = |value: &[u8], good: &str| {
        value == good.as_bytes() || value == good.trim_end_matches('=').as_bytes()
    };
    let absent = |values: &[&[u8]]| matches!(values, [] | [b""] | [b"N/A"]);
    let good = match (&*ghl, &*legacy) {
        ([value], _) if !absent(&ghl) => is(value, &known.ghl),
        (_, [value]) if absent(&ghl) => is(value, &known.legacy),
        _ => false,
    };
    assert_eq!(found.is_ok(), good, "{found:?}");
    match found {
        Err(Reject::Missing | Reject::NotApplicable) => assert!(absent(&ghl) && absent(&legacy)),
        Err(Reject::Repeated) => assert!(ghl.len() > 1 || legacy.len() > 1),
        Err(Reject::LegacyOff) => panic!("legacy checking is on"),
        Err(Reject::Malformed | Reject::Wrong) | Ok(()) => (),
    }
    found.is_ok()
}

fn verdict(known: &Known, ghl: &[&[u8]], legacy: &[&[u8]]) -> Result<(), Reject> {
    let headers = SignatureHeaders { ghl, legacy };
    let verified = known.verifier.verify(known.body.as_bytes(), &headers)?;
    assert_eq!(verified.body(), known.body.as_bytes());
    Ok(())
}
