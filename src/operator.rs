//! What people do to the log and to what is kept beside it, each action with its entry in the audit trail: who, when,
//! what, to how many. The command line and the console both come through here.
//!
//! An action is done first and then noted: where the note fails, the log line that says the same is what is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::event::{Micros, Position};
use crate::ingest::{self, App, Judged, Refusal, Webhook};
use crate::signature::{SignatureHeaders, Verifier};
use crate::store::{
    Appended, Beside, Erased, Error, EventRange, Found, Quarantined, Selection, Store, Subject,
    WhichCalls,
};
use crate::telemetry::Chain;

/// The words of the audit trail for what is done here.
pub mod action {
    /// Dead letters are published again.
    pub const RETRY_DEAD_LETTERS: &str = "retry_dead_letters";
    /// Parked calls are made again.
    pub const RETRY_FOLLOW_UPS: &str = "retry_follow_ups";
    /// Calls that wait or are parked are not made any more.
    pub const CANCEL_FOLLOW_UPS: &str = "cancel_follow_ups";
    /// What changed in a time is read from the API.
    pub const BACKFILL: &str = "backfill";
    /// GHL is asked where an app is installed.
    pub const RECONCILE: &str = "reconcile";
    /// Tokens are sealed with another key.
    pub const ROTATE_KEYS: &str = "rotate_keys";
    /// Refused requests are judged again.
    pub const ADMIT: &str = "admit";
    /// Dead letters are given up on.
    pub const DISCARD_DEAD_LETTERS: &str = "discard_dead_letters";
    /// Everything about a contact or of a tenant is going to be removed.
    pub const BEGIN_ERASE: &str = "begin_erase";
    /// It is removed.
    pub const ERASE: &str = "erase";
    /// The log of a restored copy goes on behind what was given out since.
    pub const RESTORED: &str = "restored";
    /// The file of the log is rewritten without its free pages.
    pub const COMPACT: &str = "compact";
    /// Events are published again.
    pub const REPLAY: &str = "replay";
    /// No more of them are.
    pub const CANCEL_REPLAY: &str = "cancel_replay";
}

/// A person with a store.
pub struct Operator {
    /// Where they are done and noted.
    pub store: Arc<dyn Store>,
    /// A name for the trail.
    pub who: String,
    /// The clock.
    pub clock: Clock,
}

/// What a replay would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// How many of which type, by type.
    pub types: BTreeMap<String, i64>,
    /// Where counting ended before the end, as [`EventRange::after`].
    pub next: Option<Position>,
}

impl Matched {
    /// How many.
    pub fn events(&self) -> i64 {
        self.types.values().sum()
    }
}

/// What became of a refused request that was judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is in the log.
    Admitted(Appended),
    /// It stays where it is.
    Stays(Stays),
}

/// Why a refused request stays refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    /// Nobody posts there any more.
    #[error("no app has the path {0}")]
    NoSuchPath(String),
    /// The door would refuse it again.
    #[error("{}", .0.as_str())]
    Refused(Refusal),
}

/// Judges a refused request as the door would now. Pure.
///
/// # Errors
/// Why it would be refused again.
pub fn judge_again(
    verifier: &Verifier,
    apps: &[App],
    entry: &Quarantined,
    now: Micros,
) -> Result<Judged, Stays> {
    let path = entry.path.as_str();
    let Some(app) = apps.iter().find(|app| app.owns(path)) else {
        return Err(Stays::NoSuchPath(path.to_owned()));
    };
    let ghl: Vec<_> = entry.signature.iter().map(String::as_bytes).collect();
    let legacy: Vec<_> = entry
        .legacy_signature
        .iter()
        .map(String::as_bytes)
        .collect();
    let body = Bytes::from(entry.body.clone());
    let webhook = Webhook {
        app,
        event_name: app.event_name(path),
        signatures: SignatureHeaders {
            ghl: &ghl,
            legacy: &legacy,
        },
        body: &body,
    };
    // It was received when it first came: that is the time its consumers should see.
    ingest::judge(verifier, apps, &webhook, entry.first_seen_at.min(now)).map_err(Stays::Refused)
}

/// Which dead letters, in the trail's words.
pub(crate) fn subject_of(which: Selection) -> String {
    match which {
        Selection::One(position) => format!("position {position}"),
        Selection::All => "all".to_owned(),
    }
}

fn subject_of_calls(which: &WhichCalls) -> String {
    match which {
        WhichCalls::One(id) => format!("follow-up {id}"),
        WhichCalls::Rule(rule) => format!("rule {rule}"),
        WhichCalls::All => "all".to_owned(),
    }
}

impl Operator {
    /// Asks the relay to publish dead letters again; returns how many.
    pub async fn retry_dead_letters(&self, which: Selection) -> Result<u64, Error> {
        let count = self.store.retry_dead_letters(which).await?;
        let subject = subject_of(which);
        self.note(action::RETRY_DEAD_LETTERS, &subject, count).await;
        Ok(count)
    }

    /// Gives up on dead letters: they go, with their events. It may be broken off; what went until then is in the trail.
    pub async fn discard_dead_letters(&self, which: Selection) -> Result<Erased, Error> {
        let (mut erased, mut after) = (Erased::default(), Some(Position(0)));
        let mut outcome = Ok(());
        while let Some(from) = after.take() {
            match self.store.discard_dead_letters(which, from).await {
                Ok(part) => {
                    erased.add(&part);
                    after = part.next;
                }
                Err(error) => outcome = Err(error),
            }
        }
        let subject = subject_of(which);
        self.note(action::DISCARD_DEAD_LETTERS, &subject, erased.events)
            .await;
        outcome.map(|()| erased)
    }

    /// Counts what there is of a contact or a tenant, with what is beside the log. `seen` is told up to where.
    pub async fn find_subject(
        &self,
        subject: &Subject,
        mut seen: impl FnMut(Position),
    ) -> Result<(Found, Beside), Error> {
        let (mut found, mut after) = (Found::default(), Some(Position(0)));
        while let Some(from) = after {
            let part = self.store.find_subject(subject, from).await?;
            found.events += part.events;
            found.waiting += part.waiting;
            after = part.next;
            seen(after.unwrap_or(from));
        }
        Ok((found, self.store.find_beside(subject).await?))
    }

    /// Removes what there is of a contact or a tenant. It takes a while and may be broken off: that it began, with how much
    /// was found, is in the trail before anything goes.
    pub async fn erase(
        &self,
        subject: &Subject,
        found: u64,
        mut seen: impl FnMut(Position),
    ) -> Result<(Erased, Beside), Error> {
        let (who, found) = (self.who.as_str(), i64::try_from(found).unwrap_or(i64::MAX));
        let (named, now) = (subject.to_string(), (self.clock)());
        self.store
            .note_audit(who, action::BEGIN_ERASE, &named, found, now)
            .await?;
        let (mut erased, mut after) = (Erased::default(), Some(Position(0)));
        while let Some(from) = after {
            let part = self.store.erase_events(subject, from).await?;
            erased.add(&part);
            after = part.next;
            seen(after.unwrap_or(from));
        }
        let beside = self.store.erase_beside(subject).await?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let log = erased.events + erased.calls;
        let affected = log + count(beside.quarantined + beside.calls + beside.installations);
        self.note(action::ERASE, &named, affected).await;
        Ok((erased, beside))
    }

    /// Makes parked calls pending again; returns how many.
    pub async fn retry_follow_ups(&self, which: &WhichCalls) -> Result<u64, Error> {
        let now = (self.clock)();
        let count = self.store.retry_follow_ups(which, now).await?;
        self.note(action::RETRY_FOLLOW_UPS, &subject_of_calls(which), count)
            .await;
        Ok(count)
    }

    /// Ends calls that wait or are parked; returns how many. One that is being made is left to its end.
    pub async fn cancel_follow_ups(&self, which: &WhichCalls) -> Result<u64, Error> {
        let now = (self.clock)();
        let count = self.store.cancel_follow_ups(which, now).await?;
        self.note(action::CANCEL_FOLLOW_UPS, &subject_of_calls(which), count)
            .await;
        Ok(count)
    }

    /// Counts what a replay would take, in at most so many looks at a part of the log. `seen` is told up to where.
    pub async fn count_replay(
        &self,
        filter: &EventRange,
        looks: usize,
        mut seen: impl FnMut(Position),
    ) -> Result<Matched, Error> {
        let (mut matched, mut rest) = (Matched::default(), filter.clone());
        for _ in 0..looks {
            let count = self.store.count_replay(&rest).await?;
            for (event_type, events) in count.types {
                *matched.types.entry(event_type).or_default() += events;
            }
            matched.next = count.next;
            match count.next {
                Some(next) => rest.after = next,
                None => {
                    seen(filter.upto);
                    break;
                }
            }
            seen(rest.after);
        }
        Ok(matched)
    }

    /// Asks the relay to publish events again, so many a second; returns the replay's number.
    pub async fn replay(&self, filter: &EventRange, rate: i64, matched: i64) -> Result<i64, Error> {
        let now = (self.clock)();
        let asked = self.store.ask_replay(filter, &self.who, rate, matched, now);
        let id = asked.await?;
        let count = u64::try_from(matched).unwrap_or(0);
        self.note(action::REPLAY, &format!("replay {id}"), count)
            .await;
        Ok(id)
    }

    /// Ends a replay; false where it was not running.
    pub async fn cancel_replay(&self, id: i64) -> Result<bool, Error> {
        let is_done = self.store.cancel_replay(id, (self.clock)()).await?;
        let subject = format!("replay {id}");
        self.note(action::CANCEL_REPLAY, &subject, u64::from(is_done))
            .await;
        Ok(is_done)
    }

    /// Judges a refused request as the door would now, appends it to the log if it is good, and takes it out of
    /// the quarantine then. Nothing unverified ever enters the log.
    async fn admit(
        &self,
        verifier: &Verifier,
        apps: &[App],
        entry: &Quarantined,
    ) -> Result<Admission, Error> {
        let judged = match judge_again(verifier, apps, entry, (self.clock)()) {
            Ok(judged) => judged,
            Err(stays) => return Ok(Admission::Stays(stays)),
        };
        let appended = self.store.append(&[judged.event]).await?.remove(0);
        self.store.release_quarantined(entry.id).await?;
        // The entry is gone: what leads on is the place in the log.
        let subject = match appended.position() {
            Some(position) => format!("quarantine {}, position {position}", entry.id),
            None => format!("quarantine {}", entry.id),
        };
        self.note(action::ADMIT, &subject, 1).await;
        Ok(Admission::Admitted(appended))
    }

    /// Admits one, or where there is no id all of them, the oldest first, until `most` are in the log; `told` is called with
    /// what became of each. `None` is of one that is not there: room was made for newer ones, or another person was quicker.
    ///
    /// # Errors
    /// The store's; what was told until then stays as it is.
    pub async fn admit_each(
        &self,
        verifier: &Verifier,
        apps: &[App],
        id: Option<i64>,
        most: u64,
        mut told: impl FnMut(i64, Option<Admission>),
    ) -> Result<(), Error> {
        let ids = match id {
            Some(id) => vec![id],
            None => {
                let newest_first = self.store.quarantined(i64::from(i32::MAX)).await?;
                newest_first.iter().rev().map(|entry| entry.id).collect()
            }
        };
        let mut admitted = 0;
        for id in ids {
            if admitted == most {
                break;
            }
            let admission = match self.store.quarantined_one(id).await? {
                Some(entry) => Some(self.admit(verifier, apps, &entry).await?),
                None => None,
            };
            admitted += u64::from(matches!(admission, Some(Admission::Admitted(_))));
            told(id, admission);
        }
        Ok(())
    }

    /// Notes an action, where it changed anything.
    pub async fn note(&self, action: &str, subject: &str, count: u64) {
        if count == 0 {
            return;
        }
        let (who, affected) = (self.who.as_str(), i64::try_from(count).unwrap_or(i64::MAX));
        tracing::info!(%who, action, subject, affected, "done by a person");
        let noted = self
            .store
            .note_audit(who, action, subject, affected, (self.clock)())
            .await;
        if let Err(error) = noted {
            tracing::error!(%who, action, subject, affected, error = %Chain(&error), "an action is not in the audit trail");
        }
    }
}
