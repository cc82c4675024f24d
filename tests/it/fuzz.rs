//! The promises of `tests/fuzz/` over the kept corpus and a few thousand mutations of it.
//!
//! The same mutations every time: a run that fails here fails everywhere. The search for new ones is
//! libFuzzer's, see `tests/fuzz/Cargo.toml`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use hookwell::event::BodyHash;
use hookwell::event::identify::identify;

mod mutate;
#[path = "../fuzz/targets.rs"]
pub mod targets;

use mutate::Mutator;

/// Where slow machines stop, after a good part of the mutations.
const LONGEST: Duration = Duration::from_secs(2);

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "{} files of {target}", files.len());
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// Runs what is kept, and up to `most` mutations of it.
fn search(target: &str, run: fn(&[u8]) -> bool, most: usize) {
    let kept = corpus(target);
    let told = |input: &[u8]| {
        catch_unwind(AssertUnwindSafe(|| run(input))).unwrap_or_else(|panic| {
            eprintln!("{target} was given b\"{}\"", input.escape_ascii());
            resume_unwind(panic)
        })
    };
    let through = kept.iter().filter(|input| told(input)).count();
    assert!(
        0 < through && through < kept.len(),
        "{through} of {} kept inputs of {target} come through",
        kept.len()
    );
    let mut mutator = Mutator::new(&kept);
    let (mut runs, mut through, started) = (0, 0, Instant::now());
    while runs < most && started.elapsed() < LONGEST {
        through += usize::from(told(&mutator.mutation()));
        runs += 1;
    }
    println!("{target}: {runs} mutations, {through} come through");
    assert!(runs >= most / 10, "{runs} of {most} mutations of {target}");
    assert!(
        0 < through && through < runs,
        "{through} of {runs} mutations of {target} come through"
    );
}

#[test]
fn bytes_of_a_connection_break_no_promise() {
    search("head", targets::head::run, 1_500);
    targets::head::remove_files();
}

#[test]
fn signature_headers_break_no_promise() {
    search("signature", targets::signature::run, 4_000);
}

#[test]
fn bodies_break_no_promise() {
    search("body", targets::body::run, 8_000);
}

#[test]
fn configurations_break_no_promise() {
    search("config", targets::config::run, 2_000);
}

#[test]
fn names_and_bindings_break_no_promise() {
    search("routing", targets::routing::run, 8_000);
}

fn time_to_read(body: &[u8], times: usize) -> Duration {
    let hash = BodyHash::of(body);
    let started = Instant::now();
    for _ in 0..times {
        std::hint::black_box(identify(body, &hash, None));
    }
    started.elapsed()
}

#[test]
fn reading_a_body_takes_time_in_proportion_to_its_size() {
    const FACTOR: usize = 32;
    let object = |members: String| format!("{{{members}}}");
    type Shape = (&'static str, fn(usize) -> String);
    let shapes: [Shape; 8] = [
        ("names", |n| {
            (0..n).map(|n| format!("\"{n:x}\":0,")).collect()
        }),
        ("long names", |n| {
            let long = "n".repeat(200);
            (0..n / 25).map(|n| format!("\"{long}{n}\":0,")).collect()
        }),
        ("objects of few names", |n| {
            let few: String = (0..31).map(|n| format!("\"{n}\":0,")).collect();
            let few = few.trim_end_matches(',');
            (0..n / 31).map(|n| format!("\"{n}\":{{{few}}},")).collect()
        }),
        ("escapes", |n| format!("\"a\":\"{}\",", "\\u00e9".repeat(n))),
        ("one string", |n| {
            format!("\"a\":\"{}\",", "x".repeat(8 * n))
        }),
        ("digits", |n| format!("\"a\":0.{},", "7".repeat(8 * n))),
        ("arrays", |n| format!("\"a\":[{}0],", "[[]],".repeat(n))),
        ("no end", |n| format!("\"a\":[{}", "{\"b\":[".repeat(n))),
    ];
    for (shape, members) in shapes {
        let body = |n| object(members(n) + "\"type\":\"X\"").into_bytes();
        let (small, large) = (body(4_000), body(4_000 * FACTOR));
        // The same bytes either way. In proportion to the square, the large body would take FACTOR
        // times as long. Other work on the machine comes and goes, so one good attempt decides.
        let mut times = Vec::new();
        let in_proportion = (0..8).any(|_| {
            let (short, long) = (time_to_read(&small, FACTOR), time_to_read(&large, 1));
            times.push((short, long));
            long < 8 * short
        });
        assert!(in_proportion, "{shape}: {times:?}");
    }
}
