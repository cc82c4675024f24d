//! The fault bench's judge: it sees what is broken, and does not cry at what is not.

mod broken;
mod chains;
mod edges;
mod follow_ups;
mod levels;
mod log;
mod secrets;
mod sound;
mod sums;
mod turns;
mod wire;

use crate::bench::checker::Invariant;
use log::Log;

/// What is done to a good log, and what has to be found broken after it.
type Case = (&'static str, fn(&mut Log), &'static [Invariant]);

fn check(cases: &[Case]) {
    for (name, change, expected) in cases {
        let mut log = Log::good();
        change(&mut log);
        let verdict = log.judge();
        assert_eq!(verdict.violated(), *expected, "{name}: {}", verdict.line());
        assert_eq!(verdict.holds(), expected.is_empty(), "{name}");
        let ending = if expected.is_empty() { " ok" } else { ";" };
        assert!(
            verdict.line().ends_with(ending),
            "{name}: {}",
            verdict.line()
        );
        assert!(!verdict.line().contains('\n'), "{name}");
    }
}

#[test]
fn the_tests_that_rows_name_as_their_proof_are_there() {
    use crate::bench::proved::{ALL, missing};
    for tests in ALL {
        assert_eq!(missing(tests), Vec::<&str>::new());
    }
    let gone = "signature::tests::there_never_was_such_a_test";
    assert_eq!(missing(&[gone]), [gone]);
}
