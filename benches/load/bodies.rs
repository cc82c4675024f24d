//! Bodies made and signed before the clock starts, so that posting them costs little more than the
//! system calls.

use std::fmt::Write as _;
use std::thread;

use hookwell::clock;
use hookwell::event::samples::{self, SampleContext};
use hookwell::signature::{GHL_HEADER, SigningKey};

/// What an account in use sends most: contacts, opportunities, messages.
const TYPES: [&str; 6] = [
    "ContactCreate",
    "ContactUpdate",
    "ContactTagUpdate",
    "OpportunityCreate",
    "OpportunityStageUpdate",
    "InboundMessage",
];

/// Sub-accounts; they spread over the relay's channels.
const TENANTS: u64 = 50;

/// Body number `n`, with an id that nobody else has.
pub fn body(app_id: &str, n: u64) -> Vec<u8> {
    let mut time = clock::rfc3339(clock::system()());
    time.truncate("2026-01-31T12:00:00.000".len());
    time.push('Z');
    let context = SampleContext {
        webhook_id: uuid::Uuid::new_v4().to_string(),
        timestamp_rfc3339: time,
        app_id: app_id.to_owned(),
        company_id: "5DP4iH6HLkQsiKESj6rh".to_owned(),
        location_id: format!("BenchLocation{:07}", n / 7 % TENANTS),
        n,
    };
    let kind = TYPES[usize::try_from(n).unwrap_or(0) % TYPES.len()];
    samples::body(kind, &context).expect("there are samples of these types")
}

/// Whole signed requests, head and body, ready for the socket.
pub fn requests(app_id: &str, path: &str, key: &SigningKey, count: usize) -> Vec<Vec<u8>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let range = (part * share).min(count)..((part + 1) * share).min(count);
                scope.spawn(move || {
                    range
                        .map(|n| request(path, key, &body(app_id, n as u64)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("signing does not panic"))
            .collect()
    })
}

fn request(path: &str, key: &SigningKey, body: &[u8]) -> Vec<u8> {
    let mut head = String::with_capacity(256);
    write!(
        head,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: hookwell-load\r\naccept: */*\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{GHL_HEADER}: {}\r\n\r\n",
        body.len(),
        key.sign_base64(body)
    )
    .expect("a String takes every text");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    request
}
