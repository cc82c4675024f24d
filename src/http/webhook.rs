//! The webhook routes: from a request's head and bytes to an answer.
//!
//! The one 2xx means "committed" and nothing else, and there is no redirect. What is refused for its content goes to
//! the quarantine.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::disk::Room;
use crate::ingest::{App, Ingest, Receipt, Refusal, Webhook};
use crate::metrics::Metrics;
use crate::quarantine::{self, fingerprint};
use crate::signature::{GHL_HEADER, LEGACY_HEADER, SignatureHeaders};
use crate::store::Refused;

mod problem;
mod request;

use problem::Problem;
use request::{check_media_type, drain_unasked, is_ambiguous, read_body};

/// Bounds of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of all bodies in memory, from the first byte read to the commit.
    pub memory_bytes: usize,
    /// From the head to the last byte of the body.
    pub body_timeout: Duration,
    /// What a refused sender is told to wait, in whole seconds.
    pub retry_after: Duration,
}

/// What the routes share.
pub struct Webhooks {
    ingest: Arc<Ingest>,
    quarantine: quarantine::Handle,
    limits: Limits,
    memory: Arc<Semaphore>,
    room: Arc<Room>,
    clock: Clock,
    metrics: Metrics,
}

fn json(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

impl IntoResponse for Receipt {
    fn into_response(self) -> Response {
        let status = if self.duplicate {
            "duplicate"
        } else {
            "accepted"
        };
        // A key is graphic ASCII; serde_json still has the last word on quoting it.
        let key = serde_json::Value::String(self.event_key);
        let body = format!(r#"{{"event_key":{key},"status":"{status}"}}"#);
        json(StatusCode::OK, body)
    }
}

impl Webhooks {
    /// Whether one more webhook may come in. Nothing of it has to be read to know that.
    fn has_room(&self) -> Result<(), Problem> {
        if !self.room.is_left() {
            return Err(Problem::DiskReserve);
        }
        if !self.ingest.has_room() {
            return Err(Problem::Refused(Refusal::Overloaded));
        }
        Ok(())
    }

    /// Counts an answer as GHL does.
    fn count(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        let outcomes = &self.metrics.webhook_outcomes;
        outcomes.with_label_values(&[outcome]).inc();
    }

    fn answer(&self, result: Result<Receipt, Problem>) -> Response {
        let problem = match result {
            Ok(receipt) => return receipt.into_response(),
            Err(problem) => problem,
        };
        self.metrics
            .refused
            .with_label_values(&[problem.reason()])
            .inc();
        let status = problem.status();
        let mut response = json(status, problem.text());
        let headers = response.headers_mut();
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(
                header::RETRY_AFTER,
                self.limits.retry_after.as_secs().into(),
            );
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if problem.ends_the_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The public routes: `POST <path>` and `POST <path>/<EventName>` for each app, those of `beside`, and nothing
/// else.
pub fn router(
    ingest: Arc<Ingest>,
    beside: Option<Router>,
    quarantine: quarantine::Handle,
    limits: Limits,
    room: Arc<Room>,
    clock: Clock,
    metrics: Metrics,
) -> Router {
    for problem in Problem::all() {
        metrics.refused.with_label_values(&[problem.reason()]);
    }
    let memory = Arc::new(Semaphore::new(limits.memory_bytes));
    let apps = ingest.apps().to_vec();
    let webhooks = Arc::new(Webhooks {
        ingest,
        quarantine,
        limits,
        memory,
        room,
        clock,
        metrics,
    });
    let mut router = Router::new();
    for app in apps {
        let paths = [app.path.clone(), format!("{}/{{event_name}}", app.path)];
        for path in paths {
            let app = app.clone();
            let accept = move |State(webhooks): State<Arc<Webhooks>>, request: Request| async move {
                // GHL signs everything: what has no signature is not GHL's, and no failure in its eyes.
                let headers = request.headers();
                let signed =
                    headers.contains_key(GHL_HEADER) || headers.contains_key(LEGACY_HEADER);
                let result = receive(&webhooks, &app, request).await;
                if signed {
                    webhooks.count(result.is_ok());
                }
                webhooks.answer(result)
            };
            router = router.route(&path, post(accept).fallback(refuse_method));
        }
    }
    router = beside
        .into_iter()
        .fold(router, |router, beside| router.merge(beside.with_state(())));
    router
        .fallback(|State(webhooks): State<Arc<Webhooks>>| async move {
            webhooks.answer(Err(Problem::NotFound))
        })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&webhooks),
            check_and_count,
        ))
        .with_state(webhooks)
}

async fn refuse_method(State(webhooks): State<Arc<Webhooks>>) -> Response {
    webhooks.answer(Err(Problem::MethodNotAllowed))
}

/// Refuses an ambiguous head, ends a connection on which it is not known what comes next, and counts every answer.
async fn check_and_count(
    State(webhooks): State<Arc<Webhooks>>,
    request: Request,
    next: Next,
) -> Response {
    let asks_first = request.headers().contains_key(header::EXPECT);
    let mut response = match is_ambiguous(&request) {
        true => webhooks.answer(Err(Problem::BadRequest)),
        false => next.run(request).await,
    };
    if asks_first && !response.status().is_success() {
        // What comes behind a no could be the body all the same, or the next request.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    webhooks
        .metrics
        .http_responses
        .with_label_values(&[response.status().as_str()])
        .inc();
    response
}

async fn receive(webhooks: &Webhooks, app: &App, request: Request) -> Result<Receipt, Problem> {
    let (head, mut body) = request.into_parts();
    check_media_type(&head.headers)?;
    if let Err(problem) = webhooks.has_room() {
        drain_unasked(&head.headers, &mut body, webhooks.limits.body_bytes).await;
        return Err(problem);
    }
    let path = head.uri.path();
    let ghl = values(&head.headers, GHL_HEADER);
    let legacy = values(&head.headers, LEGACY_HEADER);
    let quarantine = |reason: &'static str, body: Bytes| {
        let text = |values: &[&[u8]]| {
            let first = values.first()?;
            std::str::from_utf8(first)
                .ok()
                .filter(|text| !text.contains('\0'))
                .map(str::to_owned)
        };
        let (signature, legacy_signature) = (text(&ghl), text(&legacy));
        webhooks.quarantine.offer(Refused {
            fingerprint: fingerprint(
                path,
                signature.as_deref(),
                legacy_signature.as_deref(),
                &body,
            ),
            reason,
            path: path.to_owned(),
            signature,
            legacy_signature,
            seen_at: (webhooks.clock)(),
            body,
        });
    };

    let (body, memory) = match read_body(webhooks, &head.headers, body).await {
        Ok(read) => read,
        Err((Problem::BodyTruncated, read)) => {
            quarantine(Problem::BodyTruncated.reason(), read);
            return Err(Problem::BodyTruncated);
        }
        Err((problem, _)) => return Err(problem),
    };
    let _timer = webhooks.metrics.accept_seconds.start_timer();
    let webhook = Webhook {
        app,
        event_name: app.event_name(path),
        signatures: SignatureHeaders {
            ghl: &ghl,
            legacy: &legacy,
        },
        body: &body,
    };
    let accepted = webhooks.ingest.accept(&webhook, memory).await;
    if let Err(refusal @ (Refusal::Signature(_) | Refusal::UnknownApp)) = accepted {
        quarantine(refusal.as_str(), body.clone());
    }
    accepted.map_err(Problem::Refused)
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes())
        .collect()
}
