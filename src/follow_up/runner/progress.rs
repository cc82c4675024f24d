//! How far a row has come: what it carries from claim to claim, page by page.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::POLL;
use super::reconcile::Looked;
use crate::ghl::pages::NoNext;
use crate::store::{Claimed, Ended, Next};

/// What a row carries from call to call.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    /// Whether a token was refreshed because of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) refreshed: bool,
    /// How often it waited for a token.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) waited: u32,
    /// Where the next page of a list begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<Json>,
    /// Pages that were read.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) page: u32,
    /// Of a backfill: records that changed in the time.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) found: u64,
    /// And those of them that the log lacked.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) lacking: u64,
    /// Records in all, as GHL says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) all: Option<u64>,
    /// Of a look at where the app is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) looked: Option<Looked>,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

impl Progress {
    /// That of a claimed row.
    pub(super) fn of(claimed: &Claimed) -> Self {
        serde_json::from_str(&claimed.progress).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is left for whoever retries a call that was parked: where it stood.
    pub(super) fn parked(&self) -> String {
        Self {
            refreshed: false,
            waited: 0,
            ..self.clone()
        }
        .text()
    }

    /// A page was read, and the next one begins there: the claim of that one, if there is one. That is a call of its
    /// own: what the one before it waited for, and that its token was refreshed, does not count.
    pub(super) fn page_read(&mut self, next: Option<Json>, wait: Duration) -> Option<Next> {
        self.page += 1;
        (self.refreshed, self.waited) = (false, 0);
        self.cursor = next;
        self.cursor.is_some().then(|| Next::Again {
            after: wait,
            attempt: 0,
            progress: self.text(),
        })
    }
}

/// An end without a call: what comes next, why in a word, and in more words.
pub(super) struct NoCall(
    pub(super) Next,
    pub(super) Option<&'static str>,
    pub(super) String,
);

/// The same call again, as it stood before: nothing that was read meanwhile counts.
pub(super) fn again(claimed: &Claimed) -> Next {
    Next::Again {
        after: POLL,
        attempt: claimed.attempt,
        progress: claimed.progress.clone(),
    }
}

/// A list that does not go on is left to a person, where it stood.
pub(super) fn no_next(why: NoNext, ended: &mut Ended) -> Next {
    (ended.reason, ended.detail) = (Some(why.reason()), why.to_string());
    Next::Park
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_may_meet_a_token_that_has_ended() {
        let mut progress = Progress {
            refreshed: true,
            waited: 7,
            ..Progress::default()
        };
        let next = progress.page_read(Some(Json::from("cursor")), Duration::ZERO);
        let after = next.map(|next| match next {
            Next::Again { progress, .. } => serde_json::from_str::<Progress>(&progress).ok(),
            _ => None,
        });
        let after = after.flatten().unwrap_or_default();
        assert_eq!((after.page, after.refreshed, after.waited), (1, false, 0));
        assert_eq!(after.cursor, Some(Json::from("cursor")));
    }
}
