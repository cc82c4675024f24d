//! What bodies may hold (rows B): whatever GHL signed is stored and arrives as the bytes that were signed,
//! and what two parsers could read differently is read by nobody.

use std::time::Duration;

use crate::harness::daemon::ALL;
use crate::harness::ghl::APP_ID;
use crate::lab::{Crafted, Lab, Outcome, Run, Setup};
use crate::random::Random;
use crate::records::{Class, Wanted};

/// For what nobody can read, and for what could be read as a contact's.
const UNKNOWN: (&str, &str) = ("bench.unknown", "other.unknown.#");
const CONTACTS: (&str, &str) = ("bench.contacts", "contact.#");
const TENANT: &str = "Payload0000000000001";
const KEY: &str = "contact.create.Payload0000000000001";

/// With queues that show where an event was routed.
fn with_routes(lab: &Lab) -> Setup<'_> {
    let queues = [UNKNOWN, CONTACTS];
    lab.setup()
        .daemon(move |config| {
            let add =
                |config: crate::harness::DaemonConfig, (name, bind)| config.queue(name, &[bind]);
            queues.into_iter().fold(config, add)
        })
        .plan(|plan| {
            plan.wanted.extend(queues.map(|(name, bind)| Wanted {
                queues: vec![name.to_owned()],
                bind: vec![bind.to_owned()],
            }));
        })
        .sink_of(&[ALL, UNKNOWN.0, CONTACTS.0])
        // Every body takes its way while others are on theirs.
        .load(|load| load.rate = 50.0)
}

/// Posts each as GHL and as a stranger: signed it comes in, unsigned it does not.
async fn signed_and_unsigned(run: &mut Run, reason: &str, bodies: &[Vec<u8>]) {
    let name = format!("hookwell_events_unreadable_total{{reason=\"{reason}\"}}");
    let before = run.daemon().metric(&name).await.unwrap_or(0.0);
    for (n, body) in bodies.iter().enumerate() {
        let what = format!("{reason} {n}");
        let mut unsigned = body.clone();
        // Other bytes, so that what came in can be told from what must not.
        unsigned.push(b'\n');
        let unsigned = Crafted::refused(Class::Unsigned, &[], unsigned);
        run.post_expecting(401, &format!("{what} unsigned"), &unsigned)
            .await;
        let signed = Crafted::signed(body.clone());
        run.post_expecting(200, &what, &signed).await;
    }
    let after = run.daemon().metric(&name).await.unwrap_or(0.0);
    let counted = after - before;
    let all = bodies.len() as f64;
    run.expect(
        &format!("{reason} counts {all}, not {counted}"),
        counted == all,
    );
}

async fn unreadable(lab: Lab, table: &[(&str, Vec<Vec<u8>>)]) -> Outcome {
    let mut run = with_routes(&lab).start().await;
    run.more(20).await;
    for (reason, bodies) in table {
        signed_and_unsigned(&mut run, reason, bodies).await;
    }
    run.more(20).await;
    run.judge().await
}

fn bytes(bodies: &[&str]) -> Vec<Vec<u8>> {
    bodies.iter().map(|body| body.as_bytes().to_vec()).collect()
}

/// B-01: white space, orders of members, escapes, ends of lines, marks, and bytes of no meaning at all.
pub async fn any_bytes(lab: Lab) -> Outcome {
    let mut run = with_routes(&lab).start().await;
    let mut chance = lab.random();
    for _ in 0..lab.times(150, 2000) {
        let id = chance.uuid();
        let crafted = spelled(&mut chance, &id);
        run.post_expecting(200, "a contact in another spelling", &crafted)
            .await;
    }
    for _ in 0..lab.times(50, 500) {
        let length = chance.below(5000) as usize;
        // Beginning as no JSON text can, so that it is sure what becomes of it.
        let mut body = vec![0xff];
        body.extend((0..length).map(|_| chance.number() as u8));
        run.post_expecting(200, "bytes of no meaning", &Crafted::signed(body))
            .await;
    }
    run.judge().await
}

/// The same contact's event in one of many spellings.
fn spelled(chance: &mut Random, id: &str) -> Crafted {
    const BLANKS: [&str; 5] = ["", " ", "\t", "\r\n", "\n    "];
    let mut members = [
        ("type".to_owned(), "\"ContactCreate\"".to_owned()),
        ("locationId".to_owned(), format!("\"{TENANT}\"")),
        ("appId".to_owned(), format!("\"{APP_ID}\"")),
        ("webhookId".to_owned(), format!("\"{id}\"")),
        (
            "name".to_owned(),
            "\"Z\\u00fcrich \\/ Gen\u{e8}ve \\ud83d\\ude00\"".to_owned(),
        ),
        (
            "n".to_owned(),
            ["1", "1.0e+0", "-0", "12345678901234567890123", "0.1"][chance.below(5) as usize]
                .to_owned(),
        ),
        ("nothing".to_owned(), "[ { } , null,true ]".to_owned()),
    ];
    for last in (1..members.len()).rev() {
        members.swap(last, chance.below(last as u64 + 1) as usize);
    }
    let mut blank = || BLANKS[chance.below(5) as usize];
    let mut text = format!("{}{{", blank());
    for (n, (name, value)) in members.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        // Any letter may be written as its number.
        let name = match blank().is_empty() {
            true => format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]),
            false => name.clone(),
        };
        text += &format!(
            "{comma}{}\"{name}\"{}:{}{value}{}",
            blank(),
            blank(),
            blank(),
            blank()
        );
    }
    text += &format!("}}{}", blank());
    Crafted::signed(text).with_id(id).routed(TENANT, KEY)
}

/// B-02: two members of one name. Parsers differ on which one counts.
pub async fn duplicate_names(lab: Lab) -> Outcome {
    let bodies = bytes(&[
        r#"{"type":"ContactCreate","type":"InvoicePaid"}"#,
        r#"{"type":"ContactCreate","locationId":"a","locationId":"b"}"#,
        r#"{"type":"ContactCreate","webhookId":"one","locationId":"a","webhookId":"two"}"#,
        r#"{"type":"ContactCreate","appId":"0123456789abcdef01234567","appId":"other"}"#,
        "{\"type\":\"ContactCreate\",\"\\u0074ype\":\"ContactDelete\"}",
        r#"{"type":"ContactCreate","deep":[{"a":1,"b":2,"a":3}]}"#,
        r#"{"type":"ContactCreate","":1,"":1}"#,
    ]);
    unreadable(lab, &[("duplicate_name", bodies)]).await
}

/// B-03: a NUL, which databases and C programs cannot hold in a string, wherever a string may stand.
pub async fn nul(lab: Lab) -> Outcome {
    let bodies = bytes(&[
        r#"{"type":"ContactCreate","name":"a\u0000b"}"#,
        r#"{"type":"ContactCreate","webhookId":"id\u0000"}"#,
        r#"{"type":"ContactCreate","webhookId":"\u0000"}"#,
        r#"{"type":"ContactCreate","id":"contact\u0000"}"#,
        r#"{"type":"ContactCreate","locationId":"tenant\u0000"}"#,
        r#"{"type":"Contact\u0000Create"}"#,
        r#"{"type":"ContactCreate","na\u0000me":1}"#,
        "{\"type\":\"ContactCreate\",\"name\":\"a\0b\"}",
    ]);
    unreadable(lab, &[("nul", bodies)]).await
}

/// B-04: halves of surrogate pairs, which JavaScript sends and others refuse.
pub async fn lone_surrogates(lab: Lab) -> Outcome {
    let bodies = bytes(&[
        r#"{"type":"ContactCreate","name":"\ud800"}"#,
        r#"{"type":"ContactCreate","name":"\udc00"}"#,
        r#"{"type":"ContactCreate","name":"\ud83d!"}"#,
        r#"{"type":"ContactCreate","name":"\ude00\ud83d"}"#,
        r#"{"type":"ContactCreate","webhookId":"\ud800"}"#,
        r#"{"type":"ContactCreate","\ud800":1}"#,
    ]);
    unreadable(lab, &[("lone_surrogate", bodies)]).await
}

/// B-05: no UTF-8, no JSON, no object.
pub async fn not_an_object(lab: Lab) -> Outcome {
    let not_json = bytes(&[
        "hello",
        "{\"type\":\"ContactCreate\"",
        "{\"type\":\"ContactCreate\"}}",
        "{'type':'ContactCreate'}",
        "{\"type\":\"ContactCreate\",}",
        "type=ContactCreate&locationId=a",
        "<type>ContactCreate</type>",
    ]);
    let no_object = bytes(&["", "null", "[]", "\r\n", "true", "\"ContactCreate\"", "42"]);
    let table = [
        ("not_json", not_json),
        ("no_object", no_object),
        (
            "not_utf8",
            vec![b"{\"type\":\"\xff\xfe\"}".to_vec(), b"\xc0\x80".to_vec()],
        ),
        (
            "byte_order_mark",
            vec![b"\xef\xbb\xbf{\"type\":\"ContactCreate\"}".to_vec()],
        ),
        ("number_out_of_range", bytes(&["{\"n\":1e400}"])),
    ];
    unreadable(lab, &table).await
}

/// B-06: nesting up to and beyond what is read, very many members, very long strings.
pub async fn extremes(lab: Lab) -> Outcome {
    let nested = |depth: usize| {
        let inner = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        format!("{{\"type\":\"ContactCreate\",\"locationId\":\"{TENANT}\",\"a\":{inner}}}")
    };
    let open = |depth: usize| vec![b'['; depth];
    let too_deep = vec![
        nested(128).into_bytes(),
        nested(129).into_bytes(),
        nested(100_000).into_bytes(),
        open(1_000_000),
    ];
    let members: Vec<_> = (0..80_000).map(|n| format!("\"k{n}\":0")).collect();
    let head = format!("\"type\":\"ContactCreate\",\"locationId\":\"{TENANT}\"");
    let readable = [
        nested(127),
        format!("{{{head},{}}}", members.join(",")),
        format!("{{{head},\"text\":\"{}\"}}", "\u{fc}".repeat(128 * 1024)),
        format!("{{{head},\"text\":\"{}\"}}", "\\u00fc".repeat(150 * 1024)),
    ];
    let mut run = with_routes(&lab).start().await;
    run.more(100).await;
    let before = run.held().rss_bytes;
    for _ in 0..lab.times(5, 50) {
        let from = run.clock().micros();
        signed_and_unsigned(&mut run, "too_deep", &too_deep).await;
        for (n, body) in readable.iter().enumerate() {
            let crafted = Crafted::signed(body.as_str()).routed(TENANT, KEY);
            run.post_expecting(200, &format!("large body {n}"), &crafted)
                .await;
        }
        let slowest = run.answered(from, run.clock().micros()).p99();
        // A parser that is not linear takes minutes for these.
        run.expect("none takes long", slowest < Duration::from_secs(3));
    }
    let more = run.peak().rss_bytes.saturating_sub(before);
    run.figure(format!("at most {} MiB more", more >> 20));
    // A window of bodies, the next one, and the newest of the log may be held, 16 MiB each; on SQLite pages.
    run.expect("memory stays", more < 96 << 20);
    run.judge().await
}
