//! What becomes of an API call: a pure function of the rule's policy, the attempt and the outcome.
//!
//! One level of retries, and it is durable: a verdict is written to the call's row. An outage eats no attempts:
//! while the circuit breaker of the host is not closed, a failure only waits. What may not be made twice and
//! may have been made is left to a person.

use std::time::Duration;

use crate::ghl::Meaning;
use crate::retry::Attempts;

/// Why a call is parked, beside the names of [`Meaning`].
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";
/// The answer is larger than may be read.
pub const ANSWER_TOO_LARGE: &str = "answer_too_large";
/// The rule is not in the configuration any more.
pub const NO_RULE: &str = "no_such_rule";
/// The request or the message could not be made from the event.
pub const TEMPLATE: &str = "template";
/// The tenant has to authorise the app again.
pub const REAUTHORISE: &str = "reauthorise";
/// GHL refuses to mint a token for the tenant.
pub const TOKEN_REFUSED: &str = "token_refused";
/// The event's app has no credentials in the configuration.
pub const NO_CREDENTIALS: &str = "no_credentials";
/// The event is of no tenant.
pub const NO_TENANT: &str = "no_tenant";
/// Why a call is made again: the store did not take what came of it.
pub const STORE_UNAVAILABLE: &str = "store_unavailable";

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Answered {
        /// What it means.
        meaning: Meaning,
        /// Its status.
        status: u16,
    },
    /// Nothing was sent.
    NotSent,
    /// Something was sent, and no whole answer came.
    Unanswered,
    /// The answer was too large to be read.
    TooLarge,
    /// GHL says that it is done, and what it says cannot be read: cut off, or the page of something between.
    Unreadable,
}

impl Outcome {
    /// Whether the host is to blame: what the circuit breaker counts.
    pub fn is_outage(self) -> bool {
        match self {
            Self::NotSent | Self::Unanswered => true,
            Self::Answered { meaning, .. } => meaning == Meaning::Unavailable,
            Self::TooLarge | Self::Unreadable => false,
        }
    }

    /// Whether the call may have had its effect without anybody knowing.
    fn is_unknown(self) -> bool {
        match self {
            Self::Unanswered | Self::Unreadable => true,
            // Nothing of 5xx is documented, and a proxy says 503, too, when the API was cut off under it. A contact was
            // made by a call that was answered 422 (GoHighLevel/highlevel-api-docs issue 64).
            Self::Answered { meaning, status } => meaning == Meaning::Unavailable || status == 422,
            Self::NotSent | Self::TooLarge => false,
        }
    }
}

/// What a rule says of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How often it is tried.
    pub attempts: Attempts,
    /// Whether making it twice is the same as making it once.
    pub idempotent: bool,
    /// Whether a record that is gone is said to consumers.
    pub tombstone: bool,
}

/// What is known beside the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// Calls made so far, this one included, without those that did not count.
    pub attempt: u32,
    /// Whether the circuit breaker is closed, after it was told of this outcome.
    pub closed: bool,
    /// Whether this call was made with a token that had just been refreshed because of it.
    pub refreshed: bool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Complete,
    /// It is done: the record is gone.
    Tombstone,
    /// Another token, then again; the attempt does not count.
    Refresh,
    /// Again after this time.
    Retry(Duration),
    /// When there is room, or the host is back; the attempt does not count.
    Wait,
    /// A person decides.
    Park(&'static str),
}

/// Judges. `chance` in `0.0..1.0` spreads the delays.
pub fn verdict(policy: &Policy, now: Circumstances, outcome: Outcome, chance: f64) -> Verdict {
    if outcome.is_unknown() && !policy.idempotent {
        return Verdict::Park(OUTCOME_UNKNOWN);
    }
    if let Outcome::Answered { meaning, .. } = outcome {
        match meaning {
            Meaning::Done => return Verdict::Complete,
            Meaning::Gone if policy.tombstone => return Verdict::Tombstone,
            Meaning::TokenExpired if !now.refreshed => return Verdict::Refresh,
            Meaning::RateLimited => return Verdict::Wait,
            Meaning::Unavailable => (),
            other => return Verdict::Park(other.as_str()),
        }
    }
    if outcome == Outcome::TooLarge {
        return Verdict::Park(ANSWER_TOO_LARGE);
    }
    if !now.closed {
        return Verdict::Wait;
    }
    match policy.attempts.after(now.attempt, chance) {
        Some(after) => Verdict::Retry(after),
        None => Verdict::Park(match outcome {
            Outcome::Answered { meaning, .. } => meaning.as_str(),
            Outcome::Unreadable => Meaning::Unexpected.as_str(),
            _ => "unreachable",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const READS: Policy = Policy {
        attempts: Attempts {
            most: 3,
            first: SECOND,
            cap: Duration::from_secs(5),
        },
        idempotent: true,
        tombstone: true,
    };
    const WRITES: Policy = Policy {
        idempotent: false,
        tombstone: false,
        ..READS
    };
    const FIRST: Circumstances = Circumstances {
        attempt: 1,
        closed: true,
        refreshed: false,
    };

    fn answered(meaning: Meaning, status: u16) -> Outcome {
        Outcome::Answered { meaning, status }
    }

    #[test]
    fn every_meaning_has_its_verdict() {
        for meaning in Meaning::ALL {
            let outcome = answered(meaning, 0);
            let expected = match meaning {
                Meaning::Done => Verdict::Complete,
                Meaning::Gone => Verdict::Tombstone,
                Meaning::TokenExpired => Verdict::Refresh,
                Meaning::RateLimited => Verdict::Wait,
                Meaning::Unavailable => Verdict::Retry(SECOND),
                other => Verdict::Park(other.as_str()),
            };
            assert_eq!(
                verdict(&READS, FIRST, outcome, 1.0),
                expected,
                "{meaning:?}"
            );
        }
    }

    #[test]
    fn a_token_is_refreshed_once_for_a_call() {
        let again = Circumstances {
            refreshed: true,
            ..FIRST
        };
        let expired = answered(Meaning::TokenExpired, 401);
        assert_eq!(
            verdict(&READS, again, expired, 0.5),
            Verdict::Park("token_expired")
        );
    }

    #[test]
    fn what_may_not_repeat_and_may_have_been_done_waits_for_a_person() {
        let unavailable = |status| answered(Meaning::Unavailable, status);
        for outcome in [
            Outcome::Unanswered,
            Outcome::Unreadable,
            unavailable(500),
            unavailable(502),
            unavailable(503),
            unavailable(504),
        ] {
            let parked = Verdict::Park(OUTCOME_UNKNOWN);
            assert_eq!(verdict(&WRITES, FIRST, outcome, 0.5), parked, "{outcome:?}");
            let open = Circumstances {
                closed: false,
                ..FIRST
            };
            assert_eq!(verdict(&WRITES, open, outcome, 0.5), parked, "{outcome:?}");
            assert!(matches!(
                verdict(&READS, FIRST, outcome, 0.5),
                Verdict::Retry(_)
            ));
        }
        assert!(matches!(
            verdict(&WRITES, FIRST, Outcome::NotSent, 0.5),
            Verdict::Retry(_)
        ));
        let refused = |status| answered(Meaning::Invalid, status);
        for (policy, status, reason) in [
            (&WRITES, 422, OUTCOME_UNKNOWN),
            (&WRITES, 400, "invalid"),
            (&READS, 422, "invalid"),
        ] {
            let parked = verdict(policy, FIRST, refused(status), 0.5);
            assert_eq!(parked, Verdict::Park(reason), "{status}");
        }
    }

    #[test]
    fn attempts_end_and_an_outage_eats_none() {
        let third = Circumstances {
            attempt: 3,
            ..FIRST
        };
        let unavailable = answered(Meaning::Unavailable, 503);
        assert_eq!(
            verdict(&READS, third, Outcome::NotSent, 0.5),
            Verdict::Park("unreachable")
        );
        assert_eq!(
            verdict(&READS, third, unavailable, 0.5),
            Verdict::Park("unavailable")
        );
        assert_eq!(
            verdict(&READS, third, Outcome::Unreadable, 0.5),
            Verdict::Park("unexpected")
        );
        let open = Circumstances {
            closed: false,
            ..third
        };
        assert_eq!(verdict(&READS, open, Outcome::NotSent, 0.5), Verdict::Wait);
        assert_eq!(verdict(&READS, open, unavailable, 0.5), Verdict::Wait);
        assert_eq!(
            verdict(&READS, FIRST, Outcome::TooLarge, 0.5),
            Verdict::Park(ANSWER_TOO_LARGE)
        );
    }

    proptest! {
        /// Whatever happens, a call that may not repeat is tried again only if nothing was done.
        #[test]
        fn a_call_that_may_not_repeat_is_repeated_only_when_nothing_was_done(
            attempt in 1_u32..10, closed: bool, refreshed: bool, status in 500_u16..600, kind in 0..4, chance in 0.0..1.0_f64,
        ) {
            let outcome = match kind {
                0 => Outcome::NotSent,
                1 => Outcome::Unanswered,
                2 => Outcome::Unreadable,
                _ => answered(Meaning::Unavailable, status),
            };
            let now = Circumstances { attempt, closed, refreshed };
            let verdict = verdict(&WRITES, now, outcome, chance);
            let repeats = matches!(verdict, Verdict::Retry(_) | Verdict::Wait | Verdict::Refresh);
            if repeats {
                prop_assert_eq!(outcome, Outcome::NotSent);
            }
            if let Verdict::Retry(after) = verdict {
                prop_assert!(attempt < 3 && after <= Duration::from_secs(5));
            }
        }
    }
}
