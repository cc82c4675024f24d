//! One claimed row: to one call of the API, and from its answer to what becomes of it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::super::INSTALLATION_TOKEN;
use super::super::rule::Rendered;
use super::super::tokens::{Access, NoToken};
use super::super::verdict::{self, Circumstances, Outcome, Verdict, verdict};
use super::outcome::{Purpose, detail_of, json_of, name_of, outcome_of};
use super::progress::{NoCall, Progress};
use super::shared::{Probe, Shared};
use super::{POLL, Runner};
use crate::budget::Told;
use crate::chance;
use crate::event::Micros;
use crate::event::lifecycle::Lifecycle;
use crate::failpoints;
use crate::ghl::{self, Answer, Body, Meaning, Method, Request};
use crate::retry::Attempts;
use crate::spans::{Kind as SpanKind, Span};
use crate::store::{Claimed, Ended, NO_TOKEN, Next};
use crate::telemetry::Chain;

/// How long a call waits for a token that nobody has authorised yet, first and at most: one that comes wakes it.
const TOKEN_WAIT: Attempts = Attempts {
    most: u32::MAX,
    first: Duration::from_secs(2),
    cap: Duration::from_secs(15 * 60),
};
/// How often it waits before it is parked: about three days.
const TOKEN_WAITS: u32 = 300;
/// How long a call waits where a token cannot be had at the moment, and nobody knows when.
const LATER: Duration = Duration::from_secs(5);
/// What is kept of an answer's message.
const DETAIL: usize = 300;

/// What a claimed call came to.
enum Came {
    /// To an end that is known without a call.
    NoCall(NoCall),
    /// To no token.
    NoToken(NoToken),
    /// To a token, which is all that was wanted; with whether GHL was asked for it.
    Token { is_new: bool },
    /// To a call of the API; false where GHL did not take its token and that could not be written down.
    Called(Result<Answer, ghl::Error>, Purpose, bool),
}

/// A call that was made.
struct Called {
    answer: Result<Answer, ghl::Error>,
    purpose: Purpose,
    outcome: Outcome,
    /// Whether the circuit breaker is closed, after it was told.
    closed: bool,
    /// Whether a token that GHL did not take is written down as such.
    marked: bool,
}

impl Runner {
    /// Makes one claimed call, if it can be sent by then; how it ended.
    pub(super) async fn make(
        &self,
        claimed: Claimed,
        send_by: Instant,
        shared: &Shared,
        probe: Option<Probe>,
    ) -> Ended {
        let mut progress = Progress::of(&claimed);
        let came = self.call(&claimed, send_by, &mut progress, shared).await;
        let mut ended = Ended {
            id: claimed.id,
            lease: claimed.lease,
            app_id: claimed.event.event.app_id.clone(),
            tenant: claimed.tenant.clone(),
            told: None,
            status: None,
            reason: None,
            detail: String::new(),
            progress: None,
            next: Next::Done,
        };
        match came {
            Came::NoCall(NoCall(next, reason, detail)) => {
                (ended.next, ended.reason, ended.detail) = (next, reason, detail);
            }
            Came::Token { is_new: true } => {
                // A success is told as every failure is.
                let (meaning, status) = (Meaning::Done, 200);
                self.tell_breaker(shared, Outcome::Answered { meaning, status }, probe);
            }
            Came::Token { is_new: false } => (),
            Came::NoToken(error) => {
                if let NoToken::Paused {
                    is_outage: true, ..
                } = error
                {
                    // Its token was asked of the same host.
                    self.tell_breaker(shared, Outcome::NotSent, probe);
                }
                let NoCall(next, reason, detail) =
                    without_token(error, claimed.attempt, &mut progress);
                (ended.next, ended.reason, ended.detail) = (next, reason, detail);
            }
            Came::Called(answer, purpose, marked) => {
                let (rule, _) = self.rules.of_call(&claimed.rule);
                let outcome = outcome_of(&answer, &purpose, rule);
                let closed = self.tell_breaker(shared, outcome, probe);
                let called = Called {
                    answer,
                    purpose,
                    outcome,
                    closed,
                    marked,
                };
                self.judge(&claimed, &mut progress, shared, called, &mut ended)
                    .await;
            }
        }
        if matches!(ended.next, Next::Park | Next::Done) {
            ended.progress = Some(progress.parked());
        }
        ended.detail.truncate(floor(&ended.detail, DETAIL));
        if ended.next == Next::Park {
            tracing::error!(
                follow_up = ended.id, rule = %claimed.rule, position = claimed.event.position.0,
                event_key = %claimed.event.event.key, reason = ended.reason.unwrap_or_default(), detail = %ended.detail,
                "a follow-up is parked; see `hookwell follow-ups list --state dead`"
            );
        }
        ended
    }

    /// Comes to one call of the API, or to an end without one.
    async fn call(
        &self,
        claimed: &Claimed,
        send_by: Instant,
        progress: &mut Progress,
        shared: &Shared,
    ) -> Came {
        let event = &claimed.event.event;
        let park = |reason, detail: String| Came::NoCall(NoCall(Next::Park, Some(reason), detail));
        if claimed.rule == INSTALLATION_TOKEN {
            let Some(life) = Lifecycle::of(event) else {
                return park(verdict::NO_TENANT, String::new());
            };
            let company = life.company_id.as_deref();
            let tokens = &self.tokens;
            let access = tokens.access(&event.app_id, &life.tenant, company, send_by);
            return match access.await {
                Ok(access) => Came::Token {
                    is_new: access.is_new,
                },
                Err(error) => Came::NoToken(error),
            };
        }
        let (rendered, purpose) = match self.prepare(claimed, progress, shared).await {
            Ok(prepared) => prepared,
            Err(no_call) => return Came::NoCall(no_call),
        };
        let company = event.tenant.company_id.as_deref();
        let tokens = &self.tokens;
        let access = tokens.access(&event.app_id, &claimed.tenant, company, send_by);
        let access = match access.await {
            Ok(access) => access,
            Err(error) => return Came::NoToken(error),
        };
        failpoints::crash("call.before");
        let (method, began) = (rendered.method, (self.clock)());
        let answer = self.client.call(request(rendered, &access)).await;
        self.trace(claimed, method, began, &answer);
        if let Err(error @ (ghl::Error::Elsewhere(_) | ghl::Error::Client(_))) = &answer {
            return park(verdict::TEMPLATE, Chain(error).to_string());
        }
        failpoints::crash("call.answered");
        let mut marked = true;
        if let Ok(answer) = &answer
            && answer.meaning() == Meaning::TokenExpired
            && let Err(error) = self
                .tokens
                .not_taken(&event.app_id, &claimed.tenant, &access)
                .await
        {
            tracing::warn!(error = %Chain(&error), "a token that GHL does not take is not marked yet");
            marked = false;
        }
        Came::Called(answer, purpose, marked)
    }

    /// Tells which call was made when.
    fn trace(
        &self,
        claimed: &Claimed,
        method: Method,
        began: Micros,
        answer: &Result<Answer, ghl::Error>,
    ) {
        let event = &claimed.event.event;
        let Some(context) = self.spans.of(&event.app_id, event.key.as_str()) else {
            return;
        };
        let words = ["call", &claimed.rule, &began.0.to_string()];
        self.spans.record(Span {
            context,
            id: context.span(&words),
            name: format!("{} {}", method.as_str(), claimed.rule),
            kind: SpanKind::Client,
            began,
            ended: (self.clock)(),
            attributes: vec![
                ("http.request.method", json!(method.as_str())),
                (
                    "http.response.status_code",
                    json!(answer.as_ref().ok().map(|answer| answer.status)),
                ),
                ("hookwell.follow_up", json!(claimed.id)),
                ("hookwell.rule", json!(claimed.rule)),
                ("hookwell.tenant", json!(claimed.tenant)),
                ("hookwell.attempt", json!(claimed.attempt)),
            ],
            error: match answer {
                Ok(answer) if answer.status < 400 => None,
                Ok(answer) => Some(answer.status.to_string()),
                Err(error) => Some(error.to_string()),
            },
        });
    }

    /// What becomes of a call, from its answer.
    async fn judge(
        &self,
        claimed: &Claimed,
        progress: &mut Progress,
        shared: &Shared,
        called: Called,
        ended: &mut Ended,
    ) {
        let Called {
            answer,
            purpose,
            outcome,
            closed,
            marked,
        } = called;
        let (rule, _) = self.rules.of_call(&claimed.rule);
        ended.detail = detail_of(outcome, &answer);
        ended.status = answer.as_ref().ok().map(|answer| answer.status);
        // Without an answer it may have reached GHL all the same, and then it was counted there.
        let told = answer.as_ref().map(|answer| answer.told);
        ended.told = Some(told.unwrap_or_else(|_| Told::default()));
        self.metrics
            .api_calls
            .with_label_values(&[name_of(outcome)])
            .inc();
        // What is built in only reads.
        let mut policy = rule.map_or(self.settings.policy, |rule| rule.policy);
        if matches!(purpose, Purpose::Lookup(..)) {
            (policy.idempotent, policy.tombstone) = (true, false);
        }
        let now = Circumstances {
            attempt: claimed.attempt + 1,
            closed,
            refreshed: progress.refreshed,
        };
        let judged = verdict(&policy, now, outcome, chance::fraction(&self.chance));
        ended.reason = match judged {
            Verdict::Complete => None,
            Verdict::Tombstone => Some(Meaning::Gone.as_str()),
            Verdict::Park(reason) => Some(reason),
            Verdict::Refresh | Verdict::Retry(_) | Verdict::Wait => Some(name_of(outcome)),
        };
        let again = |after, counts, progress: &Progress| Next::Again {
            after,
            attempt: claimed.attempt + u32::from(counts),
            progress: progress.text(),
        };
        if let Outcome::Answered {
            meaning: Meaning::NoAccess,
            ..
        } = outcome
        {
            self.ask_where_installed(claimed).await;
        }
        ended.next = match (judged, purpose, &answer) {
            (Verdict::Complete, Purpose::Lookup(name, keep), Ok(answer)) => {
                let (bytes, answer) = (answer.body.len(), json_of(answer));
                let until = Instant::now() + keep;
                shared.kept.put(name, until, answer, bytes);
                again(Duration::ZERO, false, progress)
            }
            (Verdict::Complete, Purpose::Rule(looked_up), Ok(answer)) => {
                self.take_answer(rule, claimed, progress, looked_up, answer, ended)
                    .await
            }
            (Verdict::Complete, Purpose::Backfill(kind, ask), Ok(answer)) => {
                self.take_page((kind, &ask), claimed, progress, answer, ended)
                    .await
            }
            (Verdict::Complete, Purpose::Reconcile, Ok(answer)) => {
                self.take_installed(claimed, progress, answer, ended).await
            }
            (Verdict::Tombstone, _, Ok(answer)) => match rule {
                Some(rule) => self.publish_tombstone(rule, claimed, answer, ended).await,
                None => Next::Park,
            },
            (Verdict::Refresh, ..) if marked => {
                progress.refreshed = true;
                again(Duration::ZERO, false, progress)
            }
            // The same token would be found, and not taken, again.
            (Verdict::Refresh, ..) => again(LATER, false, progress),
            (Verdict::Retry(after), ..) => again(after, true, progress),
            // The budget or the breaker decides when; this only keeps it from spinning.
            (Verdict::Wait, ..) => again(Duration::from_millis(200), false, progress),
            (Verdict::Park(_), ..) | (Verdict::Complete | Verdict::Tombstone, _, Err(_)) => {
                Next::Park
            }
        };
    }

    /// Whether the breaker is closed, after it was told.
    fn tell_breaker(&self, shared: &Shared, outcome: Outcome, probe: Option<Probe>) -> bool {
        let is_probe = probe.is_some();
        if let Some(probe) = probe {
            probe.made();
        }
        let mut breaker = shared.breaker();
        if outcome.is_outage() {
            let spread = chance::fraction(&self.chance);
            if breaker.failed(is_probe, (self.clock)(), spread) {
                tracing::warn!(
                    api = self.client.base(),
                    "the API does not answer; follow-ups wait"
                );
            }
        } else if breaker.answered() {
            tracing::info!(api = self.client.base(), "the API answers again");
        }
        self.metrics
            .api_breaker_open
            .set(i64::from(!breaker.is_closed()));
        breaker.is_closed()
    }
}

/// Where no token can be had.
pub(super) fn without_token(error: NoToken, attempt: u32, progress: &mut Progress) -> NoCall {
    let detail = Chain(&error).to_string();
    let (after, reason) = match error {
        NoToken::Uninstalled => {
            return NoCall(Next::Cancelled, Some("uninstalled"), detail);
        }
        NoToken::NoCredentials => {
            return NoCall(Next::Park, Some(verdict::NO_CREDENTIALS), detail);
        }
        NoToken::Reauthorise => {
            return NoCall(Next::Park, Some(verdict::REAUTHORISE), detail);
        }
        NoToken::Refused { .. } => {
            return NoCall(Next::Park, Some(verdict::TOKEN_REFUSED), detail);
        }
        NoToken::NotYet if TOKEN_WAITS <= progress.waited => {
            return NoCall(Next::Park, Some(NO_TOKEN), detail);
        }
        NoToken::NotYet => {
            progress.waited += 1;
            let after = TOKEN_WAIT.after(progress.waited, 1.0);
            (after.unwrap_or(TOKEN_WAIT.cap), NO_TOKEN)
        }
        NoToken::Sealed(_) => {
            if progress.waited == 0 {
                tracing::error!(error = %detail, "a call waits for a token that does not open");
            }
            progress.waited += 1;
            (LATER, "token_sealed")
        }
        NoToken::Paused { after, .. } => (after.max(POLL), "token_later"),
        NoToken::Later(_) | NoToken::NotGiven(_) | NoToken::Store(_) => (LATER, "token_later"),
    };
    let next = Next::Again {
        after,
        attempt,
        progress: progress.text(),
    };
    NoCall(next, Some(reason), detail)
}

fn request(rendered: Rendered, access: &Access) -> Request {
    Request {
        within: None,
        method: rendered.method,
        target: rendered.target,
        version: rendered.version,
        bearer: Some(access.token.clone()),
        body: match rendered.body {
            None => Body::None,
            Some(body) => Body::Json(Bytes::from(body.to_string())),
        },
    }
}

/// The longest beginning of at most so many bytes that ends between characters.
fn floor(text: &str, most: usize) -> usize {
    (0..=most.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_never_comes_is_waited_for_longer_each_time_and_then_left_to_a_person() {
        let mut progress = Progress::default();
        let mut waited = Duration::ZERO;
        for _ in 0..TOKEN_WAITS {
            let came = without_token(NoToken::NotYet, 0, &mut progress);
            let NoCall(Next::Again { after, .. }, Some(NO_TOKEN), _) = came else {
                panic!("it does not wait: {progress:?}");
            };
            assert!(after <= TOKEN_WAIT.cap);
            waited += after;
        }
        let days = waited.as_secs_f64() / 86_400.0;
        assert!((2.5..3.5).contains(&days), "{days} days");
        let parked = without_token(NoToken::NotYet, 0, &mut progress);
        assert!(matches!(parked, NoCall(Next::Park, Some(NO_TOKEN), _)));
    }
}
