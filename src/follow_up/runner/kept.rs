//! Answers of lookups that are kept for a while, over all tenants: bounded in number and in bytes, where the oldest
//! make room for the newest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value as Json;
use tokio::time::Instant;

/// Answers at most, and bytes of them as they came. A new one is kept whatever its size, which the client bounds:
/// the call that asked for it would ask again without end.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The answers.
#[derive(Default)]
pub(super) struct Kept(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    answers: HashMap<String, Answer>,
    /// Names by age, the oldest first.
    ages: BTreeMap<u64, String>,
    /// The age of the next one.
    next: u64,
    bytes: usize,
}

struct Answer {
    until: Instant,
    age: u64,
    bytes: usize,
    value: Arc<Json>,
}

impl Kept {
    /// The answer of a name, while it is good.
    pub(super) fn get(&self, name: &str, now: Instant) -> Option<Arc<Json>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = inner.answers.get(name)?;
        (now < answer.until).then(|| Arc::clone(&answer.value))
    }

    /// Keeps an answer until then, that came with so many bytes.
    pub(super) fn put(&self, name: String, until: Instant, value: Json, bytes: usize) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(&name);
        while MOST <= inner.answers.len() || MOST_BYTES < inner.bytes + bytes {
            let Some((_, oldest)) = inner.ages.pop_first() else {
                break;
            };
            inner.forget(&oldest);
        }
        let age = inner.next;
        inner.next += 1;
        inner.bytes += bytes;
        inner.ages.insert(age, name.clone());
        let answer = Answer {
            until,
            age,
            bytes,
            value: Arc::new(value),
        };
        inner.answers.insert(name, answer);
    }
}

impl Inner {
    fn forget(&mut self, name: &str) {
        if let Some(answer) = self.answers.remove(name) {
            self.ages.remove(&answer.age);
            self.bytes -= answer.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn count(kept: &Kept) -> (usize, usize, usize) {
        let inner = kept.0.lock().unwrap();
        (inner.answers.len(), inner.ages.len(), inner.bytes)
    }

    #[test]
    fn one_answer_more_than_there_is_room_for_is_kept_and_the_oldest_goes() {
        let (kept, now) = (Kept::default(), Instant::now());
        let put = |name: &str, value: Json, bytes: usize| {
            kept.put(name.to_owned(), now + HOUR, value, bytes);
        };
        for n in 0..=MOST {
            put(&n.to_string(), Json::from(n), 1);
        }
        let value = |name: &str| kept.get(name, now).map(|value| (*value).clone());
        assert_eq!(value(&MOST.to_string()), Some(Json::from(MOST)));
        assert_eq!(value("0"), None);
        assert_eq!(value("1"), Some(Json::from(1)));
        assert_eq!(count(&kept), (MOST, MOST, MOST));
        // What comes again is the newest, and is there once.
        put("1", Json::Null, 5);
        put("new", Json::Null, 1);
        assert_eq!((value("1"), value("2")), (Some(Json::Null), None));
        assert_eq!(count(&kept), (MOST, MOST, MOST + 4));
    }

    #[test]
    fn large_answers_make_room_by_their_bytes() {
        let (kept, now) = (Kept::default(), Instant::now());
        let is_there = |name: &str| kept.get(name, now).is_some();
        for name in ["a", "b", "c"] {
            kept.put(name.to_owned(), now + HOUR, Json::Null, MOST_BYTES / 2);
        }
        assert!(!is_there("a") && is_there("b") && is_there("c"));
        kept.put("all".to_owned(), now + HOUR, Json::Null, 2 * MOST_BYTES);
        assert!(is_there("all"));
        assert_eq!(count(&kept), (1, 1, 2 * MOST_BYTES));
    }

    #[test]
    fn an_answer_is_good_until_its_time() {
        let (kept, now) = (Kept::default(), Instant::now());
        kept.put("a".to_owned(), now + HOUR, Json::Null, 1);
        let before = now + HOUR - Duration::from_millis(1);
        assert!(kept.get("a", before).is_some());
        assert!(kept.get("a", now + HOUR).is_none());
    }
}
