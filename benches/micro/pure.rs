//! Steps that only compute: verifying, hashing, identifying, routing, building the message.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use hookwell::clock;
use hookwell::event::identify::identify;
use hookwell::event::{BodyHash, Position, Recorded};
use hookwell::relay::message;
use hookwell::routing::routing_key;
use hookwell::signature::{SignatureHeaders, SigningKey, Verifier};
use serde_json::{Map, Value, json};

use crate::events::event;
use crate::{APP_ID, bodies};

pub fn all(c: &mut Criterion) {
    let small = grown_to(1200);
    let large = grown_to(60_000);
    sized(
        c,
        "verify",
        &[("1.2 KB", &small), ("60 KB", &large)],
        verify,
    );
    sized(
        c,
        "body hash",
        &[("1.2 KB", &small), ("60 KB", &large)],
        hash,
    );
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("small", small),
        ("large", large),
        ("hostile: names", many_names(60_000)),
        ("hostile: escapes", escapes(60_000)),
        ("hostile: depth", deep()),
        ("hostile: numbers", numbers(60_000)),
    ];
    let bodies: Vec<_> = bodies
        .iter()
        .map(|(name, body)| (*name, body.as_slice()))
        .collect();
    sized(c, "identify", &bodies, read);

    let recorded = Recorded {
        position: Position(1),
        event: event(APP_ID, 0, &clock::system()),
    };
    c.bench_function("routing key/known type", |b| {
        b.iter(|| routing_key(black_box("ContactCreate"), &recorded.event.tenant))
    });
    c.bench_function("routing key/other type", |b| {
        b.iter(|| routing_key(black_box("SomethingNobodyKnows"), &recorded.event.tenant))
    });
    c.bench_function("message", |b| b.iter(|| message(black_box(&recorded), 0)));
}

/// One bench a body, with its length for the throughput.
fn sized<B: AsRef<[u8]>>(
    c: &mut Criterion,
    step: &str,
    bodies: &[(&str, B)],
    work: impl Fn(&[u8]) -> Box<dyn FnMut()>,
) {
    let mut group = c.benchmark_group(step);
    for (name, body) in bodies {
        let body = body.as_ref();
        group.throughput(Throughput::Bytes(body.len() as u64));
        let mut step = work(body);
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(&mut step));
    }
    group.finish();
}

fn verify(body: &[u8]) -> Box<dyn FnMut()> {
    let key = SigningKey::from_seed([7; 32]);
    let verifier = Verifier::new(vec![key.public_key()], None).expect("there is a key");
    let (signature, body) = (key.sign_base64(body), body.to_vec());
    Box::new(move || {
        let headers = SignatureHeaders {
            ghl: &[signature.as_bytes()],
            legacy: &[],
        };
        let verified = verifier.verify(black_box(&body), &headers);
        assert!(verified.is_ok(), "the signature is right");
    })
}

fn hash(body: &[u8]) -> Box<dyn FnMut()> {
    let body = body.to_vec();
    Box::new(move || {
        black_box(BodyHash::of(black_box(&body)));
    })
}

fn read(body: &[u8]) -> Box<dyn FnMut()> {
    let (hash, body) = (BodyHash::of(body), body.to_vec());
    Box::new(move || {
        black_box(identify(black_box(&body), &hash, None));
    })
}

/// A contact with as many custom fields as it takes, and a note that fills up the rest.
fn grown_to(bytes: usize) -> Vec<u8> {
    let body = bodies::body(APP_ID, 0);
    let mut fields: Map<String, Value> =
        serde_json::from_slice(&body).expect("samples are objects");
    let written = |fields: &Map<String, Value>| {
        serde_json::to_vec(fields).expect("a tree of JSON can be written")
    };
    let field = |n: usize| json!({"id": format!("field{n:015}"), "value": "some words"});
    let room = bytes.saturating_sub(body.len() + 100);
    let count = room / (field(0).to_string().len() + 1);
    fields.insert("customFields".to_owned(), (0..count).map(field).collect());
    fields.insert("note".to_owned(), Value::from(""));
    let rest = bytes.saturating_sub(written(&fields).len());
    fields.insert("note".to_owned(), Value::from("x".repeat(rest)));
    written(&fields)
}

/// An object with nothing but different names: each has to be compared with those before it.
fn many_names(bytes: usize) -> Vec<u8> {
    object(bytes, |n| format!("\"{n:05}\":0"))
}

/// Every character of every string has to be decoded.
fn escapes(bytes: usize) -> Vec<u8> {
    object(bytes, |n| {
        let escaped: String = format!("{n:05}")
            .bytes()
            .map(|byte| format!("\\u{byte:04x}"))
            .collect();
        format!("\"{escaped}\":\"{escaped}\"")
    })
}

fn numbers(bytes: usize) -> Vec<u8> {
    object(bytes, |n| format!("\"{n}\":-1.7976931348623157e+308"))
}

fn object(bytes: usize, member: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = String::from("{\"type\":\"ContactCreate\"");
    for n in 0.. {
        if bytes <= text.len() {
            break;
        }
        text.push(',');
        text.push_str(&member(n));
    }
    text.push('}');
    text.into_bytes()
}

/// One level deeper than is read, behind a member that is.
fn deep() -> Vec<u8> {
    let levels = hookwell::event::identify::MAX_DEPTH + 1;
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    format!("{{\"type\":\"ContactCreate\",\"deep\":{open}{close}}}").into_bytes()
}
