//! Rows of follow-ups -> calls -> what became of them.
//!
//! Every daemon runs one. It claims as many calls as it may make at once, makes each in a task of its own, and
//! writes the ends down, many in one transaction. Each claim is at most one call of the API: a lookup that is
//! missing, or a token that was not taken, is a claim of its own, so that budgets are exact. An answer that is
//! published is in the log before its row is done; a crash between the two makes the call again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::rule::{self, ANSWER, Lookup, Rendered, Rule, Rules};
use super::tokens::{Access, NoToken, Tokens};
use super::verdict::{self, Circumstances, Outcome, Verdict, verdict};
use super::{INSTALLATION_TOKEN, NO_TOKEN, Settings};
use crate::budget::Told;
use crate::chance::{self, Chance};
use crate::clock::Clock;
use crate::event::lifecycle::Lifecycle;
use crate::event::{BodyHash, Event, EventKey, Origin, Recorded};
use crate::failpoints;
use crate::ghl::{self, Answer, Body, Client, Meaning, Request, meaning};
use crate::ingest::Handle;
use crate::metrics::Metrics;
use crate::store::{Claimed, Ended, Next, Store};
use crate::telemetry::Chain;

/// How often due calls are looked for when nothing wakes the runner.
const POLL: Duration = Duration::from_millis(500);
/// How long a call waits for a token that nobody has authorised yet, first and at most.
const TOKEN_WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How long a call waits where a token cannot be had at the moment.
const LATER: Duration = Duration::from_secs(5);
/// Answers of lookups kept at most, over all tenants.
const KEPT_ANSWERS: usize = 10_000;
/// What is kept of an answer's message.
const DETAIL: usize = 300;

/// Told when there is something to make, or something to make it with.
pub type Wake = Arc<Notify>;

/// The runner; run it as a task of its own.
pub struct Runner {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// What is called for.
    pub rules: Arc<Rules>,
    /// The way to the API.
    pub client: Client,
    /// Tokens for it.
    pub tokens: Arc<Tokens>,
    /// Where answers go.
    pub writer: Handle,
    /// How calls are made.
    pub settings: Settings,
    /// Told by the planner.
    pub wake: Wake,
    /// The clock.
    pub clock: Clock,
    /// The spread of delays.
    pub chance: Chance,
    /// The metrics.
    pub metrics: Metrics,
}

/// What a row carries from call to call.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Progress {
    /// Whether a token was refreshed because of it.
    #[serde(default)]
    refreshed: bool,
    /// How often it waited for a token.
    #[serde(default)]
    waited: u32,
}

/// What a claimed call came to.
enum Came {
    /// To an end that is known without a call.
    NoCall(Next, Option<&'static str>, String),
    /// To a call of the API, and its verdict.
    Called(Result<Answer, ghl::Error>, Purpose),
}

/// What a call was for.
enum Purpose {
    /// For the rule.
    Rule,
    /// For a lookup, whose name in the kept answers this is.
    Lookup(String),
}

/// Answers of lookups, for a while.
#[derive(Default)]
struct Kept(std::sync::Mutex<HashMap<String, (Instant, Arc<Json>)>>);

impl Kept {
    fn get(&self, name: &str) -> Option<Arc<Json>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, answer) = kept.get(name)?;
        (Instant::now() < *until).then(|| Arc::clone(answer))
    }

    fn put(&self, name: String, keep: Duration, answer: Json) {
        let now = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if KEPT_ANSWERS <= kept.len() {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() < KEPT_ANSWERS {
            kept.insert(name, (now + keep, Arc::new(answer)));
        }
    }
}

impl Runner {
    /// Makes calls until shutdown, then lets those under way end.
    pub async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let mut calls: JoinSet<Ended> = JoinSet::new();
        let shared = Arc::new(Shared::default());
        let mut look_at = Instant::now();
        loop {
            let ended = this.collect(&mut calls).await;
            if !ended.is_empty() {
                this.write_down(&ended).await;
                look_at = Instant::now();
            }
            if shutdown.is_cancelled() {
                if calls.is_empty() {
                    return;
                }
                continue;
            }
            let mut woken = std::pin::pin!(this.wake.notified());
            // Registered before looking, so that no wake-up is lost.
            woken.as_mut().enable();
            if look_at <= Instant::now() {
                let next = this.claim(&mut calls, &shared).await;
                look_at = Instant::now() + next;
                if next.is_zero() {
                    continue;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = woken => look_at = Instant::now(),
                () = tokio::time::sleep_until(look_at) => (),
                Some(done) = calls.join_next(), if !calls.is_empty() => {
                    let mut ended = Vec::new();
                    this.take(done, &mut ended);
                    while let Some(done) = calls.try_join_next() {
                        this.take(done, &mut ended);
                    }
                    this.write_down(&ended).await;
                    look_at = Instant::now();
                }
            }
        }
    }

    /// What has ended by now; in a shutdown, what ends next.
    async fn collect(&self, calls: &mut JoinSet<Ended>) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(done) = calls.try_join_next() {
            self.take(done, &mut ended);
        }
        ended
    }

    fn take(&self, done: Result<Ended, tokio::task::JoinError>, ended: &mut Vec<Ended>) {
        match done {
            Ok(one) => ended.push(one),
            // Its claim ends by itself, and the call is made again.
            Err(error) => tracing::error!(%error, "a follow-up ended badly"),
        }
    }

    /// Claims what there is room for; when to look again.
    async fn claim(self: &Arc<Self>, calls: &mut JoinSet<Ended>, shared: &Arc<Shared>) -> Duration {
        failpoints::panic("runner.panic");
        let busy = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let now = (self.clock)();
        let free = self.settings.concurrency.saturating_sub(busy);
        let (allowed, opens_at) = {
            let mut breaker = shared.breaker();
            (breaker.allowed(free, now), breaker.opens_at())
        };
        if allowed == 0 {
            let opens =
                opens_at.map(|at| Duration::from_micros(u64::try_from(at.0 - now.0).unwrap_or(0)));
            return opens.unwrap_or(POLL).clamp(Duration::from_millis(1), POLL);
        }
        let settings = &self.settings;
        let claims = self
            .store
            .claim_calls(allowed, &settings.limits, settings.lease, now)
            .await;
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) => {
                shared.breaker().unused();
                tracing::warn!(error = %Chain(&error), "follow-ups cannot be claimed");
                return POLL;
            }
        };
        if claims.calls.is_empty() {
            shared.breaker().unused();
        }
        failpoints::crash("call.claimed");
        let taken = claims.calls.len();
        for claimed in claims.calls {
            let (this, shared) = (Arc::clone(self), Arc::clone(shared));
            calls.spawn(async move { this.make(claimed, &shared).await });
        }
        if taken as u32 == allowed {
            return Duration::ZERO;
        }
        claims.next_in.map_or(POLL, |next| next.min(POLL))
    }

    /// Writes ends down, however often it takes: until then the claims stand, and after that somebody makes
    /// the calls again.
    async fn write_down(&self, ended: &[Ended]) {
        let give_up = Instant::now() + self.settings.lease;
        loop {
            failpoints::crash("call.ended");
            let done = self
                .store
                .end_calls(ended, &self.settings.limits, (self.clock)())
                .await;
            match done {
                Ok(held) => {
                    for (one, held) in ended.iter().zip(held) {
                        let state = match (&one.next, held) {
                            (_, false) => "lost",
                            (Next::Done, _) => "done",
                            (Next::Cancelled, _) => "cancelled",
                            (Next::Park, _) => "parked",
                            (Next::Again { .. }, _) => "again",
                        };
                        self.metrics
                            .follow_ups_ended
                            .with_label_values(&[state])
                            .inc();
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), calls = ended.len(), "ends of follow-ups are not written down yet");
                    if give_up <= Instant::now() {
                        return;
                    }
                    sleep(POLL).await;
                }
            }
        }
    }

    /// Makes one claimed call; how it ended.
    async fn make(&self, claimed: Claimed, shared: &Shared) -> Ended {
        let mut progress: Progress = serde_json::from_str(&claimed.progress).unwrap_or_default();
        let came = self.call(&claimed, &mut progress, shared).await;
        let mut ended = Ended {
            id: claimed.id,
            lease: claimed.lease,
            app_id: claimed.event.event.app_id.clone(),
            tenant: claimed.tenant.clone(),
            told: None,
            status: None,
            reason: None,
            detail: String::new(),
            next: Next::Done,
        };
        match came {
            Came::NoCall(next, reason, detail) => {
                (ended.next, ended.reason, ended.detail) = (next, reason, detail);
                // A probe that was no call says nothing of the host.
                shared.breaker().unused();
            }
            Came::Called(answer, purpose) => {
                self.judge(&claimed, &mut progress, shared, answer, purpose, &mut ended)
                    .await;
            }
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
    async fn call(&self, claimed: &Claimed, progress: &mut Progress, shared: &Shared) -> Came {
        let event = &claimed.event.event;
        let park = |reason, detail: String| Came::NoCall(Next::Park, Some(reason), detail);
        if claimed.rule == INSTALLATION_TOKEN {
            let Some(life) = Lifecycle::of(event) else {
                return park(verdict::NO_TENANT, String::new());
            };
            let company = life.company_id.as_deref();
            let access = self.tokens.access(&event.app_id, &life.tenant, company);
            return match access.await {
                Ok(_) => Came::NoCall(Next::Done, None, String::new()),
                Err(error) => without_token(error, progress),
            };
        }
        let Some(rule) = self.rules.find(&claimed.rule) else {
            return park(
                verdict::NO_RULE,
                format!("no rule is called {}", claimed.rule),
            );
        };
        if claimed.tenant.is_empty() {
            return park(verdict::NO_TENANT, "the event is of no tenant".to_owned());
        }
        let (answers, missing) = self.lookups(rule, claimed, shared);
        let (rendered, purpose) = match missing {
            None => {
                let context = rule::context(&claimed.event, &answers);
                match rule.render(&context) {
                    Ok(rendered) => (rendered, Purpose::Rule),
                    Err(error) => return park(verdict::TEMPLATE, error.to_string()),
                }
            }
            Some((lookup, name)) => {
                let context = rule::context(&claimed.event, &BTreeMap::new());
                match lookup.path.address(&context) {
                    Ok(target) => (get(target, &lookup.version), Purpose::Lookup(name)),
                    Err(error) => return park(verdict::TEMPLATE, error.to_string()),
                }
            }
        };
        let company = event.tenant.company_id.as_deref();
        let access = self.tokens.access(&event.app_id, &claimed.tenant, company);
        let access = match access.await {
            Ok(access) => access,
            Err(error) => return without_token(error, progress),
        };
        failpoints::crash("call.before");
        let answer = self.client.call(request(rendered, &access)).await;
        failpoints::crash("call.answered");
        if let Ok(answer) = &answer
            && answer.meaning() == Meaning::TokenExpired
            && let Err(error) = self
                .tokens
                .not_taken(&event.app_id, &claimed.tenant, &access)
                .await
        {
            tracing::warn!(error = %Chain(&error), "a token that GHL does not take is not marked yet");
        }
        Came::Called(answer, purpose)
    }

    /// The answers of a rule's lookups that are kept, and the first one that is not.
    fn lookups<'a>(
        &self,
        rule: &'a Rule,
        claimed: &Claimed,
        shared: &Shared,
    ) -> (BTreeMap<String, Json>, Option<(&'a Lookup, String)>) {
        let mut answers = BTreeMap::new();
        for lookup in &rule.lookups {
            let event = &claimed.event.event;
            let name = format!(
                "{}/{}/{}/{}",
                rule.name, lookup.name, event.app_id, claimed.tenant
            );
            match shared.kept.get(&name) {
                Some(answer) => {
                    answers.insert(lookup.name.clone(), (*answer).clone());
                }
                None => return (answers, Some((lookup, name))),
            }
        }
        (answers, None)
    }

    /// What becomes of a call, from its answer.
    async fn judge(
        &self,
        claimed: &Claimed,
        progress: &mut Progress,
        shared: &Shared,
        answer: Result<Answer, ghl::Error>,
        purpose: Purpose,
        ended: &mut Ended,
    ) {
        let Some(rule) = self.rules.find(&claimed.rule) else {
            return;
        };
        let (outcome, detail) = match &answer {
            Ok(answer) => {
                ended.status = Some(answer.status);
                ended.told = Some(answer.told);
                let said = match answer.meaning() {
                    Meaning::Done => String::new(),
                    _ => said(&answer.body),
                };
                let (meaning, status) = (answer.meaning(), answer.status);
                (Outcome::Answered { meaning, status }, said)
            }
            Err(error) => {
                // It may have reached GHL, and then it was counted there.
                ended.told = Some(Told::default());
                let outcome = match error {
                    ghl::Error::TooLarge(_) => Outcome::TooLarge,
                    ghl::Error::Unanswered(_) => Outcome::Unanswered,
                    _ => Outcome::NotSent,
                };
                (outcome, Chain(error).to_string())
            }
        };
        let closed = self.tell_breaker(shared, outcome);
        self.metrics
            .api_calls
            .with_label_values(&[outcome_name(outcome)])
            .inc();
        let mut policy = rule.policy;
        if matches!(purpose, Purpose::Lookup(_)) {
            (policy.idempotent, policy.tombstone) = (true, false);
        }
        let now = Circumstances {
            attempt: claimed.attempt + 1,
            closed,
            refreshed: progress.refreshed,
        };
        let judged = verdict(&policy, now, outcome, chance::fraction(&self.chance));
        ended.detail = detail;
        ended.reason = match judged {
            Verdict::Complete => None,
            Verdict::Tombstone => Some(Meaning::Gone.as_str()),
            Verdict::Park(reason) => Some(reason),
            Verdict::Refresh | Verdict::Retry(_) | Verdict::Wait => Some(outcome_name(outcome)),
        };
        let again = |after, counts, progress: &Progress| Next::Again {
            after,
            counts,
            progress: serde_json::to_string(progress).unwrap_or_default(),
        };
        ended.next = match (judged, purpose, &answer) {
            (Verdict::Complete, Purpose::Lookup(name), Ok(answer)) => {
                self.keep_lookup(rule, name, answer, shared);
                again(Duration::ZERO, false, progress)
            }
            (Verdict::Complete, Purpose::Rule, Ok(answer)) => {
                let (answers, _) = self.lookups(rule, claimed, shared);
                self.publish(rule, claimed, answer, answers, ended).await
            }
            (Verdict::Tombstone, _, Ok(answer)) => {
                self.publish_tombstone(rule, claimed, answer, ended).await
            }
            (Verdict::Refresh, ..) => {
                progress.refreshed = true;
                again(Duration::ZERO, false, progress)
            }
            (Verdict::Retry(after), ..) => again(after, true, progress),
            // The budget or the breaker decides when; this only keeps it from spinning.
            (Verdict::Wait, ..) => again(Duration::from_millis(200), false, progress),
            (Verdict::Park(_), ..) | (Verdict::Complete | Verdict::Tombstone, _, Err(_)) => {
                Next::Park
            }
        };
    }

    /// Whether the breaker is closed, after it was told.
    fn tell_breaker(&self, shared: &Shared, outcome: Outcome) -> bool {
        let mut breaker = shared.breaker();
        if outcome.is_outage() {
            let spread = chance::fraction(&self.chance);
            if breaker.failed((self.clock)(), spread) {
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

    fn keep_lookup(&self, rule: &Rule, name: String, answer: &Answer, shared: &Shared) {
        let keep = rule
            .lookups
            .iter()
            .find(|lookup| name.starts_with(&format!("{}/{}/", rule.name, lookup.name)))
            .map_or(Duration::ZERO, |lookup| lookup.keep);
        let answer = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
        shared.kept.put(name, keep, answer);
    }

    /// Appends the answer to the log, where the rule publishes it.
    async fn publish(
        &self,
        rule: &Rule,
        claimed: &Claimed,
        answer: &Answer,
        mut answers: BTreeMap<String, Json>,
        ended: &mut Ended,
    ) -> Next {
        let Some(publish_as) = &rule.publish_as else {
            return Next::Done;
        };
        let body = match &rule.publish {
            None => answer.body.clone(),
            Some(_) => {
                let value = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
                answers.insert(ANSWER.to_owned(), value);
                match rule.message(&rule::context(&claimed.event, &answers)) {
                    Ok(message) => Bytes::from(message.unwrap_or(Json::Null).to_string()),
                    Err(error) => {
                        (ended.reason, ended.detail) = (Some(verdict::TEMPLATE), error.to_string());
                        return Next::Park;
                    }
                }
            }
        };
        self.append(claimed, publish_as, body, ended).await
    }

    /// Says to consumers that a record is gone.
    async fn publish_tombstone(
        &self,
        rule: &Rule,
        claimed: &Claimed,
        answer: &Answer,
        ended: &mut Ended,
    ) -> Next {
        let Some(tombstone_as) = &rule.tombstone_as else {
            return Next::Park;
        };
        let event = &claimed.event.event;
        let body = json!({
            "id": event.entity_id, "locationId": event.tenant.location_id, "gone": true,
            "status": answer.status, "message": said(&answer.body),
            "eventKey": event.key.as_str(), "eventType": event.event_type,
        });
        self.append(claimed, tombstone_as, Bytes::from(body.to_string()), ended)
            .await
    }

    /// Appends an event of our own; its key is that of the call, so that one made twice is one event where
    /// the answer is the same.
    async fn append(
        &self,
        claimed: &Claimed,
        event_type: &str,
        body: Bytes,
        ended: &mut Ended,
    ) -> Next {
        let of = &claimed.event;
        let key = format!("{}-{}", claimed.rule, of.position);
        let event = Event {
            key: EventKey::from_id(&key)
                .unwrap_or_else(|| EventKey::from_body(&BodyHash::of(&body))),
            app_id: of.event.app_id.clone(),
            event_type: event_type.to_owned(),
            tenant: of.event.tenant.clone(),
            entity_id: of.event.entity_id.clone(),
            origin: Origin::FollowUp,
            signature: None,
            received_at: (self.clock)(),
            body_hash: BodyHash::of(&body),
            body,
        };
        if self.writer.append(event).await.is_some() {
            failpoints::crash("call.appended");
            return Next::Done;
        }
        // The call was made, its answer is not in the log: it is made again, whatever it counts.
        ended.reason = Some("store_unavailable");
        Next::Again {
            after: POLL,
            counts: false,
            progress: claimed.progress.clone(),
        }
    }
}

/// What the calls of one daemon share.
#[derive(Default)]
struct Shared {
    breaker: std::sync::Mutex<Breaker>,
    kept: Kept,
}

impl Shared {
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where no token can be had.
fn without_token(error: NoToken, progress: &mut Progress) -> Came {
    let detail = Chain(&error).to_string();
    let (after, reason) = match error {
        NoToken::Uninstalled => {
            return Came::NoCall(Next::Cancelled, Some("uninstalled"), detail);
        }
        NoToken::NoCredentials => {
            return Came::NoCall(Next::Park, Some(verdict::NO_CREDENTIALS), detail);
        }
        NoToken::Reauthorise => {
            return Came::NoCall(Next::Park, Some(verdict::REAUTHORISE), detail);
        }
        NoToken::Refused { .. } => {
            return Came::NoCall(Next::Park, Some(verdict::TOKEN_REFUSED), detail);
        }
        NoToken::NotYet => {
            let (first, most) = TOKEN_WAIT;
            let doubled = 1_u32
                .checked_shl(progress.waited.min(16))
                .unwrap_or(u32::MAX);
            progress.waited += 1;
            (first.saturating_mul(doubled).min(most), NO_TOKEN)
        }
        NoToken::Later(_) | NoToken::Store(_) | NoToken::Sealed(_) => (LATER, "token_later"),
    };
    let next = Next::Again {
        after,
        counts: false,
        progress: serde_json::to_string(progress).unwrap_or_default(),
    };
    Came::NoCall(next, Some(reason), detail)
}

fn get(target: String, version: &str) -> Rendered {
    Rendered {
        method: ghl::Method::Get,
        target,
        version: version.to_owned(),
        body: None,
    }
}

fn request(rendered: Rendered, access: &Access) -> Request {
    Request {
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

/// What an error body says, with GHL's id for the call, which its support asks for.
fn said(body: &[u8]) -> String {
    let message = meaning::message_of(body);
    match meaning::trace_id_of(body) {
        Some(trace) => format!("{message} (traceId {trace})"),
        None => message,
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { meaning, .. } => meaning.as_str(),
        Outcome::NotSent => "not_sent",
        Outcome::Unanswered => "unanswered",
        Outcome::TooLarge => verdict::ANSWER_TOO_LARGE,
    }
}

/// The longest beginning of at most so many bytes that ends between characters.
fn floor(text: &str, most: usize) -> usize {
    (0..=most.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// What `hookwell follow-ups try` shows: the call that a rule would make for an event, without its token.
///
/// # Errors
/// What cannot be evaluated for this event.
pub fn rehearse(rule: &Rule, event: &Recorded) -> Result<Rendered, super::template::Error> {
    rule.render(&rule::context(event, &BTreeMap::new()))
}
