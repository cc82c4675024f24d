//! How many API calls may still be made for a tenant: a pure account of the calls of all daemons.
//!
//! GHL allows so many calls in an interval and so many a day, for each app and each location or company
//! (100 in 10 s and 200,000, its page on rate limits). Where its window begins is not known, and a request
//! takes its time to get there, so a call occupies its place from the moment it is allowed until one interval
//! after its answer: however GHL counts, there are never more than allowed in any interval.
//!
//! The store keeps one account a tenant as text and hands it from daemon to daemon under a lock; `now` is the
//! store's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Micros, micros};

/// Answers whose places come free within this time of each other are counted together.
const GRAIN: i64 = 20_000;
const DAY: i64 = 24 * 3600 * 1_000_000;
/// The longest interval of GHL's that is believed.
const LONGEST: Duration = Duration::from_secs(30);

/// What GHL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls in an interval.
    pub burst: u32,
    /// The interval.
    pub interval: Duration,
    /// Calls a day.
    pub daily: u32,
}

impl Limits {
    fn interval(&self) -> i64 {
        micros(self.interval)
    }
}

/// What an answer said of the limits, as far as it did (`X-RateLimit-…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Calls left in GHL's interval.
    pub remaining: Option<u32>,
    /// Calls left of the day.
    pub daily_remaining: Option<u32>,
    /// Until the day is over.
    pub daily_reset: Option<Duration>,
    /// GHL's interval.
    pub interval: Option<Duration>,
    /// Whether the call was refused for its rate (429).
    pub refused: bool,
}

/// The account of one app and tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// Calls whose answer is not known yet.
    #[serde(rename = "f", default)]
    under_way: u32,
    /// Places that come free: when, and how many.
    #[serde(rename = "p", default)]
    places: Vec<(i64, u32)>,
    /// When the day ends, and the calls made in it.
    #[serde(rename = "d", default)]
    day: (i64, u32),
    /// No call before this moment.
    #[serde(rename = "c", default)]
    closed_until: i64,
}

impl Budget {
    /// Reads an account as the store kept it; one that cannot be read is a fresh one.
    pub fn from_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The account as the store keeps it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// How many calls may be begun now.
    pub fn room(&mut self, limits: &Limits, now: Micros) -> u32 {
        self.places.retain(|(free_at, _)| now.0 < *free_at);
        if self.day.0 <= now.0 {
            self.day = (0, 0);
        }
        if now.0 < self.closed_until {
            return 0;
        }
        let resting: u32 = self.places.iter().map(|(_, count)| count).sum();
        let burst = limits.burst.saturating_sub(resting + self.under_way);
        burst.min(limits.daily.saturating_sub(self.day.1))
    }

    /// When there may be room again, where there is none now. While calls are under way their answers
    /// decide, and this is the earliest of what is known.
    pub fn room_at(&self, limits: &Limits, now: Micros) -> Micros {
        if now.0 < self.closed_until {
            return Micros(self.closed_until);
        }
        if limits.daily <= self.day.1 {
            return Micros(self.day.0);
        }
        let soon = now.0 + limits.interval();
        let first = self.places.iter().map(|(free_at, _)| *free_at).min();
        Micros(first.map_or(soon, |first| first.clamp(now.0 + 1, soon)))
    }

    /// So many calls are begun.
    pub fn begin(&mut self, calls: u32, now: Micros) {
        if self.day.0 <= now.0 {
            self.day = (now.0 + DAY, 0);
        }
        self.day.1 = self.day.1.saturating_add(calls);
        self.under_way = self.under_way.saturating_add(calls);
    }

    /// A call was not made after all.
    pub fn unmade(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.day.1 = self.day.1.saturating_sub(1);
    }

    /// One call is begun whose end may never be told, and that takes `longest` at most: the place that it has, which
    /// comes free by itself one interval after that.
    pub fn reserve(&mut self, limits: &Limits, longest: Duration, now: Micros) -> Micros {
        self.begin(1, now);
        self.under_way = self.under_way.saturating_sub(1);
        self.rest(limits, 1, Micros(now.0.saturating_add(micros(longest))))
    }

    /// A call that was begun with a place of its own was answered now; or it was not made, where nothing is told.
    pub fn settle(&mut self, limits: &Limits, place: Micros, told: Option<&Told>, now: Micros) {
        if let Some((_, count)) = self.places.iter_mut().find(|(at, _)| *at == place.0) {
            *count -= 1;
        }
        self.places.retain(|(_, count)| 0 < *count);
        match told {
            None => self.day.1 = self.day.1.saturating_sub(1),
            Some(told) => {
                self.rest(limits, 1, now);
                self.learn(limits, told, now);
            }
        }
    }

    /// A call was answered now, or will never be: its place comes free one interval from here.
    pub fn end(&mut self, limits: &Limits, told: Option<&Told>, now: Micros) {
        self.under_way = self.under_way.saturating_sub(1);
        self.rest(limits, 1, now);
        if let Some(told) = told {
            self.learn(limits, told, now);
        }
    }

    /// What an answer said of the limits.
    fn learn(&mut self, limits: &Limits, told: &Told, now: Micros) {
        if let Some(remaining) = told.remaining {
            // Somebody else spends from the same budget, or the limit is lower than configured.
            let resting: u32 = self.places.iter().map(|(_, count)| count).sum();
            let used = limits.burst.saturating_sub(remaining);
            let others = used.saturating_sub(resting + self.under_way);
            if 0 < others {
                self.rest(limits, others, now);
            }
        }
        if let Some(left) = told.daily_remaining {
            self.day.1 = self.day.1.max(limits.daily.saturating_sub(left));
            if let Some(reset) = told.daily_reset {
                let reset = micros(reset).min(DAY);
                self.day.0 = now.0.saturating_add(reset);
            }
        }
        if told.refused {
            let until = match told.daily_remaining {
                Some(0) if now.0 < self.day.0 => self.day.0,
                // GHL's own, where it is the longer one, and believed up to a bound.
                _ => {
                    let theirs = told.interval.unwrap_or_default().min(LONGEST);
                    now.0 + limits.interval().max(micros(theirs))
                }
            };
            self.closed_until = self.closed_until.max(until);
        }
    }

    /// Calls made in the running day.
    pub fn used_today(&self, now: Micros) -> u32 {
        match now.0 < self.day.0 {
            true => self.day.1,
            false => 0,
        }
    }

    /// So many calls rest for one interval from here; when their places come free.
    fn rest(&mut self, limits: &Limits, calls: u32, now: Micros) -> Micros {
        let free_at = now.0.saturating_add(limits.interval());
        // Rounded up: never early.
        let free_at = free_at.saturating_add(GRAIN - 1) / GRAIN * GRAIN;
        match self.places.iter_mut().find(|(at, _)| *at == free_at) {
            Some((_, count)) => *count += calls,
            None => self.places.push((free_at, calls)),
        }
        Micros(free_at)
    }
}

#[cfg(test)]
mod tests;
