//! The console: pages for the person on call, and the same as JSON for programs (`Accept: application/json`).
//!
//! A page is a function from a visit to a value; the value is shown in a template, or as it is. No page owns a
//! statement of the store: it hands what it asks to a task and waits, two at a time, so that whoever looks never takes
//! the store from whoever works. Changes are asked for on a page of their own first, and noted in the audit trail.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, FromRequestParts, Query};
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::session::{self, Sessions};
use crate::chance::Chance;
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::disk::Room;
use crate::escape;
use crate::event::Micros;
use crate::follow_up::Repair;
use crate::ingest::App;
use crate::metrics::Metrics;
use crate::observe::History;
use crate::operator::Operator;
use crate::signature::Verifier;
use crate::store::{self, Store};
use crate::telemetry::Chain;

mod dead_letters;
mod entrance;
mod events;
mod facts;
mod follow_ups;
mod gaps;
mod installations;
mod overview;
mod quarantine;
mod replays;
mod templates;
mod trail;

/// How long a page waits for its turn at the store.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions to the store at once.
const AT_ONCE: usize = 2;
/// Bytes of a form.
const MOST_FORM: usize = 16 * 1024;

/// What the console works with.
pub struct Parts {
    /// The log and what is beside it.
    pub store: Arc<dyn Store>,
    /// What this daemon counts.
    pub metrics: Metrics,
    /// Whether the disk has room for more webhooks.
    pub room: Arc<Room>,
    /// The last hour.
    pub history: Arc<History>,
    /// Work in the store, which no request owns: whoever closes the store waits for them.
    pub tasks: TaskTracker,
    /// The clock.
    pub clock: Clock,
    /// For cookies.
    pub chance: Chance,
}

/// The console.
pub struct Console {
    parts: Parts,
    sessions: Sessions,
    permits: Arc<Semaphore>,
    templates: templates::Templates,
    verifier: Verifier,
    apps: Vec<App>,
    repair: Repair,
    has_calls: bool,
    daily_calls: u32,
    store_kind: &'static str,
    traced_percent: u8,
}

impl Console {
    /// The console of a daemon with this configuration; none where nobody has a token.
    pub fn new(config: &Config, parts: Parts) -> Option<Arc<Self>> {
        if config.admin.tokens.is_empty() {
            return None;
        }
        Some(Arc::new(Self {
            parts,
            sessions: Sessions::new(config.admin.tokens.clone()),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            templates: templates::Templates::new(),
            verifier: config.verifier.clone(),
            apps: config.apps.clone(),
            repair: config.repair.clone(),
            has_calls: config.calls.is_some(),
            daily_calls: config
                .calls
                .as_ref()
                .map_or(0, |calls| calls.follow_ups.limits.daily),
            traced_percent: config
                .trace
                .as_ref()
                .map_or(0, |trace| trace.sample_percent),
            store_kind: match config.store.url.starts_with("sqlite:") {
                true => "SQLite",
                false => "Postgres",
            },
        }))
    }

    fn now(&self) -> Micros {
        (self.parts.clock)()
    }

    /// Asks the store.
    async fn ask<T, F>(&self, work: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, Trouble>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, store::Error>> + Send + 'static,
    {
        let permit = timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Trouble::Busy);
        };
        let work = work(Arc::clone(&self.parts.store));
        let done = self.parts.tasks.spawn(async move {
            let _permit = permit;
            work.await
        });
        match done.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Trouble::Store(Chain(&error).to_string())),
            Err(_) => Err(Trouble::Busy),
        }
    }
}

/// Every route of the console.
pub(super) fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(overview::page))
        .route("/events", get(events::list))
        .route("/events/rows", get(events::rows))
        .route("/events/{position}", get(events::one))
        .route("/events/{position}/body", get(events::body))
        .route("/follow-ups", get(follow_ups::list))
        .route(
            "/follow-ups/retry",
            get(follow_ups::confirm).post(follow_ups::retry),
        )
        .route("/dead-letters", get(dead_letters::list))
        .route(
            "/dead-letters/retry",
            get(dead_letters::confirm).post(dead_letters::retry),
        )
        .route("/replays", get(replays::list).post(replays::start))
        .route("/replays/ask", get(replays::confirm))
        .route(
            "/replays/cancel",
            get(replays::confirm_cancel).post(replays::cancel),
        )
        .route("/quarantine", get(quarantine::list))
        .route(
            "/quarantine/admit",
            get(quarantine::confirm).post(quarantine::admit),
        )
        .route("/quarantine/{id}", get(quarantine::one))
        .route("/installations", get(installations::list))
        .route("/gaps", get(gaps::page))
        .route("/audit", get(trail::page))
        .route("/login", get(entrance::page).post(entrance::login))
        .route("/logout", post(entrance::logout))
        .route("/assets/console.css", get(templates::style))
        .route("/assets/console.js", get(templates::script))
        .layer(DefaultBodyLimit::max(MOST_FORM))
        .with_state(console)
}

/// Why there is no page, or nothing was done.
#[derive(Debug)]
enum Trouble {
    NotFound(String),
    BadRequest(String),
    Busy,
    Store(String),
}

impl Trouble {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::NotFound(text) | Self::BadRequest(text) => text.clone(),
            Self::Busy => {
                "The console waits for the store already; try again in a moment.".to_owned()
            }
            Self::Store(text) => format!("The store gave no answer: {text}"),
        }
    }
}

/// Somebody who may look, and how the answer is to be written.
struct Visit {
    console: Arc<Console>,
    who: String,
    json: bool,
    /// The session of a browser.
    session: Option<[u8; 32]>,
    /// Path and query.
    path: String,
}

impl FromRequestParts<Arc<Console>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut RequestParts,
        console: &Arc<Console>,
    ) -> Result<Self, Response> {
        let wants = parts
            .headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let html = wants.contains("text/html");
        let path = parts
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let visit = |who: String, session, json| Self {
            console: Arc::clone(console),
            who,
            json,
            session,
            path: path.clone(),
        };
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return match console.sessions.bearer(&parts.headers) {
                Some(who) => Ok(visit(who.to_owned(), None, !html)),
                None => Err(unknown(true, &path)),
            };
        }
        let Some((session, who)) = console.sessions.of_cookie(&parts.headers, console.now()) else {
            return Err(unknown(!html, &path));
        };
        let changes = !matches!(parts.method, Method::GET | Method::HEAD);
        if changes && !session::is_own(&parts.headers) {
            return Err((
                StatusCode::FORBIDDEN,
                "this request was made by a page of another origin\n",
            )
                .into_response());
        }
        Ok(visit(
            who,
            Some(session),
            !html && wants.contains("application/json"),
        ))
    }
}

/// The answer to somebody who is not known.
fn unknown(program: bool, path: &str) -> Response {
    if !program {
        return Redirect::to(&format!("/login?next={}", escape::path(path))).into_response();
    }
    let said = "show a token of admin.token_file: Authorization: Bearer <token>\n";
    let mut response = (StatusCode::UNAUTHORIZED, said).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

impl Visit {
    fn operator(&self) -> Operator {
        Operator {
            store: Arc::clone(&self.console.parts.store),
            who: self.who.clone(),
            clock: Arc::clone(&self.console.parts.clock),
        }
    }

    async fn ask<T, F>(&self, work: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, Trouble>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, store::Error>> + Send + 'static,
    {
        self.console.ask(work).await
    }

    /// A page, or what is wrong.
    fn show(&self, template: &str, found: Result<Value, Trouble>) -> Response {
        let (status, template, mut value) = match found {
            Ok(value) => (StatusCode::OK, template, value),
            Err(trouble) => (
                trouble.status(),
                "trouble.html",
                json!({ "trouble": trouble.sentence() }),
            ),
        };
        if self.json {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            return (status, headers, format!("{value}\n")).into_response();
        }
        value["visit"] = json!({
            "who": self.who,
            "path": self.path,
            "now": rfc3339(self.console.now()),
            "said": self.session.as_ref().and_then(|key| self.console.sessions.said(key)),
            "version": env!("CARGO_PKG_VERSION"),
            "store": self.console.store_kind,
        });
        self.console.templates.page(status, template, value)
    }

    /// After a change: back to a page that says so, or the number.
    fn done(&self, to: &str, found: Result<(u64, String), Trouble>) -> Response {
        match found {
            Err(trouble) => self.show("trouble.html", Err(trouble)),
            Ok((count, _)) if self.json => self.show("", Ok(json!({ "affected": count }))),
            Ok((_, sentence)) => {
                if let Some(key) = &self.session {
                    self.console.sessions.say(key, sentence);
                }
                Redirect::to(to).into_response()
            }
        }
    }
}

/// What a query asks for, or what is wrong with it.
fn query<T>(asked: Asked<T>) -> Result<T, Trouble> {
    let asked = asked.map(|Query(asked)| asked);
    asked.map_err(|rejection| Trouble::BadRequest(rejection.to_string()))
}

/// What a form sends, or what is wrong with it.
fn form<T>(sent: Sent<T>) -> Result<T, Trouble> {
    let sent = sent.map(|Form(sent)| sent);
    sent.map_err(|rejection| Trouble::BadRequest(rejection.to_string()))
}

type Asked<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;
type Sent<T> = Result<Form<T>, axum::extract::rejection::FormRejection>;

/// A field that is there and empty, as forms send them, is none.
fn given(field: Option<String>) -> Option<String> {
    field
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

/// `1 call`, `2 calls`.
fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}
