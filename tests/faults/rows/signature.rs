//! Who may come in (rows B): signatures that are none, and keys that change.

use crate::generator::Retry;
use crate::harness::Ghl;
use crate::lab::{Crafted, Lab, Outcome, Run, WITHIN};
use crate::proved;
use crate::records::{Class, FaultKind};

const NAME: &str = "x-ghl-signature";
const TENANT: &str = "Signature00000000001";
const KEY: &str = "contact.create.Signature00000000001";

/// B-11: every way to have no signature, among good requests and a flood of bad ones.
pub async fn no_signature(lab: Lab) -> Outcome {
    let mut run = lab
        .setup()
        .load(|load| *load = load.clone().with_bad(15.0))
        .start()
        .await;
    run.more(200).await;
    let ghl = Ghl::new();
    for round in 0..lab.times(5, 50) {
        let body = ghl.body("ContactCreate", TENANT, round as u64);
        let good = ghl.key.sign_base64(&body);
        let bare = good.trim_end_matches('=');
        let other = Ghl::with_seed([13; 32]).key.sign_base64(&body);
        let of_another = ghl.key.sign_base64(b"other bytes");
        let swapped: String = good.chars().rev().collect();
        let flipped = {
            let first = if good.starts_with('A') { "B" } else { "A" };
            format!("{first}{}", &good[1..])
        };
        let hex: String = good.bytes().map(|byte| format!("{byte:02x}")).collect();
        let long = "A".repeat(8000);
        let values = [
            "",
            " ",
            "N/A",
            "null",
            "not base64!",
            "=",
            "====",
            &other,
            &of_another,
            &swapped,
            &flipped,
            &hex,
            &long,
            &format!("{bare}="),
            &format!("{bare}==="),
            &format!("{good}="),
            &format!("{good}AAAA"),
            &format!("AAAA{good}"),
            &bare[..bare.len() - 2],
            &bare[..40],
            &format!("{} {}", &good[..40], &good[40..]),
            &format!("{good},{good}"),
            &format!("{good}, {other}"),
            &format!("ed25519={good}"),
            &format!("\"{good}\""),
            &format!("Bearer {good}"),
            &"-_".repeat(43),
            &"A".repeat(88),
            &format!("{}==", "A".repeat(86)),
        ];
        for value in values {
            let crafted = Crafted::refused(Class::Malformed, &[(NAME, value)], body.clone());
            run.post_expecting(401, &format!("{value:.100?}"), &crafted)
                .await;
        }
        let several: [&[(&str, &str)]; 8] = [
            &[],
            &[(NAME, &good), (NAME, &good)],
            &[(NAME, &other), (NAME, &good)],
            &[(NAME, &good), (NAME, "")],
            &[("x-wh-signature", &good)],
            &[("x-signature", &good)],
            &[(NAME, &other), ("x-wh-signature", &good)],
            &[("authorization", &good)],
        ];
        for headers in several {
            let crafted = Crafted::refused(Class::Malformed, headers, body.clone());
            run.post_expecting(401, &format!("{headers:.100?}"), &crafted)
                .await;
        }
    }
    let id = lab.random().uuid();
    let body = ghl.body_with_id("ContactCreate", TENANT, 1, &id);
    let mut bare = Crafted::signed(body).with_id(&id).routed(TENANT, KEY);
    let (_, value) = bare.headers.pop().unwrap();
    let padless = value.trim_end_matches('=').to_owned();
    bare.headers.push((NAME.to_owned(), padless));
    run.post_expecting(200, "padding left out", &bare).await;
    run.judge().await
}

/// B-12: signatures of Wycheproof, and those on which verifiers differ.
pub async fn vectors(lab: Lab) -> Outcome {
    Outcome::proved(&lab, proved::VECTORS)
}

/// B-13: the new header decides alone where it is there, whatever the old one says.
pub async fn two_headers(lab: Lab) -> Outcome {
    Outcome::proved(&lab, proved::TWO_HEADERS)
}

fn signed_by(ghl: &Ghl, run: &Run, n: u64) -> Crafted {
    // Of this moment, so that each is an event of its own.
    let id = format!("rotation-{n}-{}", run.clock().micros());
    let body = ghl.body_with_id("ContactCreate", TENANT, n, &id);
    Crafted::signed_by(ghl, body)
        .with_id(&id)
        .routed(TENANT, KEY)
}

/// Posts so many events of a sender.
async fn all_are(status: u16, sender: &str, ghl: &Ghl, run: &mut Run) {
    for n in 0..20 {
        let mut crafted = signed_by(ghl, run, n);
        if status != 200 {
            crafted.class = Class::Forged;
        }
        run.post_expecting(status, &format!("an event by {sender}"), &crafted)
            .await;
    }
}

/// B-14: the signing key changes, with a time in which both are good. Keys are in the configuration, so
/// that a daemon with others is another process.
pub async fn rotated(lab: Lab) -> Outcome {
    let (old, new, stranger) = (
        Ghl::new(),
        Ghl::with_seed([21; 32]),
        Ghl::with_seed([22; 32]),
    );
    let keys = |senders: &[&Ghl]| -> Vec<String> {
        senders.iter().map(|ghl| ghl.key.public_key_pem()).collect()
    };
    let mut run = lab.setup().start().await;
    run.more(200).await;
    all_are(401, "the new key, too soon", &new, &mut run).await;
    for senders in [[&old, &new], [&new, &old]] {
        run.fault(
            FaultKind::DaemonStop,
            "a restart with both keys",
            async |run| {
                run.config().keys = keys(&senders);
                run.stop_daemon().await;
                run.start_daemon().await;
            },
        )
        .await;
        run.more(100).await;
        all_are(200, "the old key", &old, &mut run).await;
        all_are(200, "the new key", &new, &mut run).await;
        all_are(401, "a stranger", &stranger, &mut run).await;
    }
    // The load signs with the old key: it is over before that one is.
    run.load().set_rate(0.0);
    run.load().quiet(WITHIN).await;
    run.fault(
        FaultKind::DaemonStop,
        "a restart with the new key",
        async |run| {
            run.config().keys = keys(&[&new]);
            run.stop_daemon().await;
            run.start_daemon().await;
        },
    )
    .await;
    all_are(200, "the new key", &new, &mut run).await;
    all_are(401, "the old key, too late", &old, &mut run).await;
    let refused = run
        .load()
        .totals()
        .answers
        .keys()
        .any(|status| ![200, 429].contains(status));
    run.expect("no event of the load was refused", !refused);
    run.judge().await
}

/// B-15: other bytes that a verifier of `JSON.stringify(JSON.parse(body))` would take for the
/// signed ones.
pub async fn re_serialised(lab: Lab) -> Outcome {
    let mut run = lab
        .setup()
        .load(|load| (load.rate, load.retry) = (50.0, Retry::off()))
        .start()
        .await;
    let ghl = Ghl::new();
    let signed = r#"{"type":"ContactCreate","locationId":"Signature00000000001","n":1}"#;
    let signature = ghl.key.sign_base64(signed.as_bytes());
    let others = [
        r#"{"type":"InvoicePaid","type":"ContactCreate","locationId":"Signature00000000001","n":1}"#,
        r#"{ "type":"ContactCreate","locationId":"Signature00000000001","n":1}"#,
        "{\"type\":\"ContactCreate\",\"locationId\":\"Signature00000000001\",\"n\":1}\n",
        r#"{"type":"ContactCreate","locationId":"Signature00000000001","n":1.0}"#,
        r#"{"type":"ContactCreate","locationId":"Signature00000000001","n":1e0}"#,
        "{\"\\u0074ype\":\"ContactCreate\",\"locationId\":\"Signature00000000001\",\"n\":1}",
        "\u{feff}{\"type\":\"ContactCreate\",\"locationId\":\"Signature00000000001\",\"n\":1}",
        r#"{"locationId":"Signature00000000001","type":"ContactCreate","n":1}"#,
    ];
    for other in others {
        let crafted = Crafted::refused(Class::Forged, &[(NAME, &signature)], other);
        run.post_expecting(401, other, &crafted).await;
    }
    let genuine = Crafted::signed(signed).routed(TENANT, KEY);
    run.post_expecting(200, "what was signed", &genuine).await;
    run.more(50).await;
    run.judge().await
}
