//! Where GHL says that a workflow uses a trigger of the app, or does so no more: from a request to a durable row.
//!
//! These requests are not signed (its page on custom triggers documents nothing of the kind), so the app's owner has
//! GHL send a secret in a header of its own. An address at which no workflow of the API at `ghl.api_base` is started is
//! refused: the secret is no key to other calls of the API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{OauthApps, TriggersPath};
use crate::event::subscription::{Change, Error as Malformed, starts_a_workflow};
use crate::metrics::Metrics;
use crate::store::{SUBSCRIPTIONS, Store};
use crate::telemetry::Chain;

/// The header in which GHL sends the secret, as it is set up in the trigger's settings.
pub const SECRET_HEADER: &str = "x-hookwell-secret";
/// Bytes of a body at most.
const MOST: usize = 64 * 1024;
/// How long a body may take: GHL sends it with the head.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the routes share.
pub struct Triggers {
    /// The apps, by id.
    pub apps: OauthApps,
    /// Where workflows may be started: below this address.
    pub api_base: String,
    /// Where subscriptions are kept.
    pub store: Arc<dyn Store>,
    /// Work in the store, which no request owns.
    pub tasks: TaskTracker,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
}

/// What GHL is told.
#[derive(Debug)]
enum Answer {
    Kept,
    Deleted,
    WrongSecret,
    TooLarge,
    TooSlow,
    Malformed(Malformed),
    Elsewhere,
    TooMany,
    Unavailable,
    PostOnly,
}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Self::Kept | Self::Deleted => StatusCode::OK,
            Self::WrongSecret => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Elsewhere | Self::TooMany => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::PostOnly => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The `outcome` of `hookwell_trigger_requests_total`.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Deleted => "deleted",
            Self::WrongSecret => "secret",
            Self::TooLarge | Self::TooSlow | Self::Malformed(_) | Self::PostOnly => "malformed",
            Self::TooMany => "too_many",
            Self::Elsewhere => "elsewhere",
            Self::Unavailable => "unavailable",
        }
    }

    fn text(&self) -> String {
        let body = match self {
            Self::Kept | Self::Deleted => json!({"status": self.outcome()}),
            Self::WrongSecret => json!({"error": "the secret is missing or wrong"}),
            Self::TooLarge => json!({"error": "body too large"}),
            Self::TooSlow => json!({"error": "body too slow"}),
            Self::Malformed(why) => json!({"error": why.to_string()}),
            Self::Elsewhere => json!({"error": "targetUrl starts no workflow of the API"}),
            Self::TooMany => {
                json!({"error": format!("{SUBSCRIPTIONS} workflows of this location wait for triggers of the app already")})
            }
            Self::Unavailable => json!({"error": "come again later"}),
            Self::PostOnly => json!({"error": "post only"}),
        };
        body.to_string()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.text()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if matches!(self, Self::Unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }
}

/// `POST` on the path of each app.
pub fn router(triggers: Arc<Triggers>) -> Router {
    let mut router = Router::new();
    for (app_id, app) in triggers.apps.clone() {
        let Some(TriggersPath { path, secret }) = app.triggers else {
            continue;
        };
        let receive = move |State(triggers): State<Arc<Triggers>>, request: Request| async move {
            let answer = receive(&triggers, &app_id, &secret, request).await;
            let outcomes = &triggers.metrics.trigger_requests;
            outcomes.with_label_values(&[answer.outcome()]).inc();
            answer
        };
        // Not a message: nothing is counted as one.
        let refuse = || async { Answer::PostOnly };
        router = router.route(&path, post(receive).fallback(refuse));
    }
    router.with_state(triggers)
}

async fn receive(
    triggers: &Triggers,
    app_id: &str,
    secret: &SecretString,
    request: Request,
) -> Answer {
    let (head, body) = request.into_parts();
    if !knows_secret(&head.headers, secret) {
        return Answer::WrongSecret;
    }
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, MOST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Answer::TooLarge,
        Err(_) => return Answer::TooSlow,
    };
    let change = match Change::read(&body) {
        Ok(change) => change,
        Err(why) => {
            tracing::warn!(app_id = %app_id, %why, "a message about a workflow trigger is not usable");
            return Answer::Malformed(why);
        }
    };
    let answer = match &change {
        Change::Deleted { .. } => Answer::Deleted,
        Change::Kept(kept) => {
            if !starts_a_workflow(&kept.target_url, &triggers.api_base) {
                tracing::warn!(
                    app_id = %app_id, subscription = %kept.id,
                    "what is to be called for a trigger starts no workflow of the API at ghl.api_base; it is not kept"
                );
                return Answer::Elsewhere;
            }
            Answer::Kept
        }
    };
    let (store, now) = (Arc::clone(&triggers.store), (triggers.clock)());
    let of = app_id.to_owned();
    let kept = triggers
        .tasks
        .spawn(async move { store.change_subscription(&of, &change, now).await });
    match kept.await {
        Ok(Ok(true)) => answer,
        Ok(Ok(false)) => {
            tracing::warn!(app_id = %app_id, most = SUBSCRIPTIONS, "a location has more subscriptions to workflow triggers than are kept");
            Answer::TooMany
        }
        Ok(Err(error)) => {
            tracing::error!(app_id = %app_id, error = %Chain(&error), "a subscription to a workflow trigger is not kept");
            Answer::Unavailable
        }
        Err(_) => Answer::Unavailable,
    }
}

/// Compares hashes: how long that takes tells nothing of the secret.
fn knows_secret(headers: &HeaderMap, secret: &SecretString) -> bool {
    let digest = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    headers
        .get(SECRET_HEADER)
        .is_some_and(|given| digest(given.as_bytes()) == digest(secret.expose_secret().as_bytes()))
}
