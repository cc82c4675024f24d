//! GHL's rate limits: 100 requests in 10 seconds and 200,000 a day, per app and resource; each
//! sub-account and each agency is a resource of its own
//! (<https://marketplace.gohighlevel.com/docs/oauth/Authorization>).
//!
//! Whether GHL's windows slide is not documented. Here they are fixed and begin with a request, so a
//! client has to keep to the limit over any interval to be safe wherever a window begins; the journal's
//! figure of the most requests in any interval says whether it does.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::answer::Answer;
use super::settings::Settings;
use crate::event::Micros;
use crate::event::micros;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where one account stands.
#[derive(Debug)]
struct Usage {
    window: Window,
    day: Window,
    /// When the requests of the last interval came.
    recent: VecDeque<i64>,
    most: usize,
    requests: u64,
    over: u64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: i64,
    used: u32,
}

impl Window {
    /// Begins anew when it is over.
    fn turn(&mut self, now: i64, length: Duration) {
        // A clock that was set back begins one, too.
        if now < self.began || now - self.began >= micros(length) {
            *self = Self {
                began: now,
                used: 0,
            };
        }
    }
}

/// What the headers of an answer say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    daily: i64,
    daily_remaining: i64,
    interval_ms: i64,
    max: i64,
    remaining: i64,
    daily_reset_ms: i64,
    /// Whether the request was over a limit.
    pub(super) over: bool,
}

impl Rate {
    /// Adds the headers. The last is not documented but was seen (SDK 3.1, `dailyResetMs`).
    pub(super) fn tell(&self, answer: &mut Answer) {
        answer.number("x-ratelimit-limit-daily", self.daily);
        answer.number("x-ratelimit-daily-remaining", self.daily_remaining);
        answer.number("x-ratelimit-interval-milliseconds", self.interval_ms);
        answer.number("x-ratelimit-max", self.max);
        answer.number("x-ratelimit-remaining", self.remaining);
        answer.number("x-ratelimit-daily-reset", self.daily_reset_ms);
    }
}

/// Where everybody stands.
#[derive(Debug, Default)]
pub(super) struct Limits {
    accounts: BTreeMap<String, Usage>,
}

/// The figures of one account.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Used {
    /// Requests that cost budget, those over it included.
    pub requests: u64,
    /// Requests that were answered 429 because they were over a limit.
    pub over_budget: u64,
    /// The most requests in any interval, wherever it begins.
    pub most_in_an_interval: usize,
}

impl Limits {
    /// Counts a request of `account` and says whether it may pass.
    pub(super) fn take(&mut self, settings: &Settings, account: &str, now: Micros) -> Rate {
        let now = now.0;
        let fresh = Window {
            began: now,
            used: 0,
        };
        let usage = self
            .accounts
            .entry(account.to_owned())
            .or_insert_with(|| Usage {
                window: fresh,
                day: fresh,
                recent: VecDeque::new(),
                most: 0,
                requests: 0,
                over: 0,
            });
        usage.window.turn(now, settings.interval);
        usage.day.turn(now, DAY);
        usage.requests += 1;
        usage.recent.push_back(now);
        let since = now - micros(settings.interval);
        while usage.recent.front().is_some_and(|first| *first <= since) {
            usage.recent.pop_front();
        }
        usage.most = usage.most.max(usage.recent.len());
        let over = usage.window.used >= settings.burst || usage.day.used >= settings.daily;
        if over {
            usage.over += 1;
        } else {
            usage.window.used += 1;
            usage.day.used += 1;
        }
        Rate {
            daily: settings.daily.into(),
            daily_remaining: (settings.daily - usage.day.used).into(),
            interval_ms: micros(settings.interval) / 1000,
            max: settings.burst.into(),
            remaining: (settings.burst - usage.window.used).into(),
            daily_reset_ms: (usage.day.began + micros(DAY) - now) / 1000,
            over,
        }
    }

    /// The figures of all accounts.
    pub(super) fn used(&self) -> BTreeMap<String, Used> {
        let figures = |usage: &Usage| Used {
            requests: usage.requests,
            over_budget: usage.over,
            most_in_an_interval: usage.most,
        };
        self.accounts
            .iter()
            .map(|(account, usage)| (account.clone(), figures(usage)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_fixed_and_the_figure_is_of_any_interval() {
        let settings = Settings {
            burst: 3,
            interval: Duration::from_secs(10),
            daily: 8,
            ..Settings::default()
        };
        let second = |n: i64| Micros(n * 1_000_000);
        let mut limits = Limits::default();
        let rows = [
            (0, false, 2),
            (9, false, 1),
            (9, false, 0),
            (9, true, 0),
            (10, false, 2),
            (10, false, 1),
            (10, false, 0),
            (19, true, 0),
            (20, false, 2),
            (20, false, 1),
            // The day's eight are spent; the window still has one.
            (21, true, 1),
        ];
        for (at, over, remaining) in rows {
            let rate = limits.take(&settings, "a", second(at));
            assert_eq!((rate.over, rate.remaining), (over, remaining), "{at}");
        }
        assert!(!limits.take(&settings, "b", second(21)).over);
        let used = &limits.used()["a"];
        assert_eq!((used.requests, used.over_budget), (11, 3));
        // At 9 (three) and at 10 (three), and the one at 19 and what is refused counts as well.
        assert_eq!(used.most_in_an_interval, 6);
        let rate = limits.take(&settings, "a", second(86_400));
        assert_eq!((rate.over, rate.daily_remaining), (false, 7));
    }
}
