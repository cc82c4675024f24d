//! The webhook routes: from a request's head and bytes to an answer. The only place of status codes.
//!
//! GHL counts every status outside 2xx as a failure and retries it for about three days, so the one 2xx
//! means "committed" and nothing else, and there is no redirect. What is refused for its content goes to
//! the quarantine; what cannot be committed now is answered 429, which GHL has retried under every rule
//! it ever had.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::disk::Room;
use crate::ingest::{App, Ingest, Receipt, Refusal, Webhook};
use crate::metrics::Metrics;
use crate::quarantine::{self, fingerprint};
use crate::signature::{GHL_HEADER, LEGACY_HEADER, SignatureHeaders};
use crate::store::Refused;

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
pub struct Door {
    ingest: Arc<Ingest>,
    quarantine: quarantine::Handle,
    limits: Limits,
    memory: Arc<Semaphore>,
    room: Arc<Room>,
    clock: Clock,
    metrics: Metrics,
}

/// Why a request was answered with something else than 200.
#[derive(Debug)]
enum Problem {
    Refused(Refusal),
    BadRequest,
    NotFound,
    MethodNotAllowed,
    BodyTooSlow,
    BodyTooLarge,
    BodyTruncated,
    UnsupportedMediaType,
    /// No memory for one more body.
    Full,
    /// No room on the disk but for what is in the log already.
    DiskReserve,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Refusal::Signature(_)) => StatusCode::UNAUTHORIZED,
            Self::Refused(Refusal::UnknownApp) => StatusCode::FORBIDDEN,
            Self::Refused(Refusal::Overloaded | Refusal::Unavailable)
            | Self::Full
            | Self::DiskReserve => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest | Self::BodyTruncated => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// The `reason` label of `hookwell_refused_total`.
    fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::BadRequest => "bad_request",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTruncated => "truncated",
            Self::UnsupportedMediaType => "media_type",
            Self::Full => "memory_full",
            Self::DiskReserve => "disk_reserve",
        }
    }

    /// Short, constant, and the same for every signature: an attacker learns nothing.
    fn text(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::Signature(_)) => r#"{"error":"signature"}"#,
            Self::Refused(Refusal::UnknownApp) => r#"{"error":"unknown app"}"#,
            Self::Refused(Refusal::Overloaded | Refusal::Unavailable)
            | Self::Full
            | Self::DiskReserve => r#"{"error":"come again later"}"#,
            Self::BadRequest | Self::BodyTruncated => r#"{"error":"bad request"}"#,
            Self::NotFound => r#"{"error":"not found"}"#,
            Self::MethodNotAllowed => r#"{"error":"post only"}"#,
            Self::BodyTooSlow => r#"{"error":"too slow"}"#,
            Self::BodyTooLarge => r#"{"error":"body too large"}"#,
            Self::UnsupportedMediaType => r#"{"error":"application/json only"}"#,
        }
    }

    /// Whether the rest of the request may still be on the wire.
    fn ends_the_connection(&self) -> bool {
        matches!(
            self,
            Self::BodyTooSlow
                | Self::BodyTooLarge
                | Self::BodyTruncated
                | Self::BadRequest
                | Self::Full
        )
    }
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

impl Door {
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
    for problem in [
        Problem::BadRequest,
        Problem::NotFound,
        Problem::MethodNotAllowed,
        Problem::BodyTooSlow,
        Problem::BodyTooLarge,
        Problem::BodyTruncated,
        Problem::UnsupportedMediaType,
        Problem::Full,
        Problem::DiskReserve,
    ]
    .into_iter()
    .chain(Refusal::all().map(Problem::Refused))
    {
        metrics.refused.with_label_values(&[problem.reason()]);
    }
    let memory = Arc::new(Semaphore::new(limits.memory_bytes));
    let apps = ingest.apps().to_vec();
    let door = Arc::new(Door {
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
            let accept = move |State(door): State<Arc<Door>>, request: Request| async move {
                // GHL signs everything: what has no signature is not GHL's, and no failure in its eyes.
                let headers = request.headers();
                let signed =
                    headers.contains_key(GHL_HEADER) || headers.contains_key(LEGACY_HEADER);
                let result = receive(&door, &app, request).await;
                if signed {
                    door.count(result.is_ok());
                }
                door.answer(result)
            };
            router = router.route(&path, post(accept).fallback(refuse_method));
        }
    }
    router = beside
        .into_iter()
        .fold(router, |router, beside| router.merge(beside.with_state(())));
    router
        .fallback(
            |State(door): State<Arc<Door>>| async move { door.answer(Err(Problem::NotFound)) },
        )
        .layer(middleware::from_fn_with_state(
            Arc::clone(&door),
            check_and_count,
        ))
        .with_state(door)
}

async fn refuse_method(State(door): State<Arc<Door>>) -> Response {
    door.answer(Err(Problem::MethodNotAllowed))
}

/// Whether two servers could read this head differently.
///
/// The rest is refused before it comes here: lengths that differ or are no number, a coding that does
/// not end in `chunked`, white space around names. Of a length beside a coding, or of two lengths that
/// agree, the parser leaves one (RFC 9112, 6.3), and after the former it closes; neither can be two
/// requests.
fn is_ambiguous(request: &Request) -> bool {
    let all = |name| request.headers().get_all(name).iter();
    // "gzip, chunked" is no body that GHL signed, and a proxy may count its chunks in another way.
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let hosts = all(header::HOST).count();
    all(header::TRANSFER_ENCODING).count() > 1
        || !all(header::TRANSFER_ENCODING).all(plain)
        || hosts > 1
        || (hosts == 0 && request.version() == Version::HTTP_11)
}

/// Refuses an ambiguous head, ends a connection on which it is not known what comes next, and counts every answer.
async fn check_and_count(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let asks_first = request.headers().contains_key(header::EXPECT);
    let mut response = match is_ambiguous(&request) {
        true => door.answer(Err(Problem::BadRequest)),
        false => next.run(request).await,
    };
    if asks_first && !response.status().is_success() {
        // What comes behind a no could be the body all the same, or the next request.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    door.metrics
        .http_responses
        .with_label_values(&[response.status().as_str()])
        .inc();
    response
}

async fn receive(door: &Door, app: &App, request: Request) -> Result<Receipt, Problem> {
    let (head, mut body) = request.into_parts();
    check_media_type(&head.headers)?;
    if let Err(problem) = door.has_room() {
        drain_unasked(&head.headers, &mut body, door.limits.body_bytes).await;
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
        door.quarantine.offer(Refused {
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
            seen_at: (door.clock)(),
            body,
        });
    };

    let (body, memory) = match read_body(door, &head.headers, body).await {
        Ok(read) => read,
        Err((Problem::BodyTruncated, read)) => {
            quarantine(Problem::BodyTruncated.reason(), read);
            return Err(Problem::BodyTruncated);
        }
        Err((problem, _)) => return Err(problem),
    };
    let _timer = door.metrics.accept_seconds.start_timer();
    let webhook = Webhook {
        app,
        event_name: app.event_name(path),
        signatures: SignatureHeaders {
            ghl: &ghl,
            legacy: &legacy,
        },
        body: &body,
    };
    let accepted = door.ingest.accept(&webhook, memory).await;
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

/// GHL sends `application/json`; a request without a type is taken at its word.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        // Nothing is ever inflated: the signature covers the bytes as sent.
        return Err(Problem::UnsupportedMediaType);
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let media_type = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    match media_type.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(Problem::UnsupportedMediaType),
    }
}

/// Throws away what still comes of a body that is not taken, within bounds: a connection that is closed
/// on a sender in the middle of its body is reset, and the sender (or the proxy) never sees the answer.
async fn drain(body: &mut Body, most: usize) {
    const LONGEST: Duration = Duration::from_secs(1);
    let reading = async {
        let mut thrown_away = 0;
        while let Some(Ok(frame)) = body.frame().await {
            thrown_away += frame.data_ref().map_or(0, Bytes::len);
            if most <= thrown_away {
                break;
            }
        }
    };
    // Whether it ended or not, the answer goes out now.
    let _ = timeout(LONGEST, reading).await;
}

/// The same of a sender that does not ask before it sends (`Expect`). One that asks is told no; a look at its body would
/// say yes.
async fn drain_unasked(headers: &HeaderMap, body: &mut Body, most: usize) {
    if !headers.contains_key(header::EXPECT) {
        drain(body, most).await;
    }
}

/// Room made for a body before its first byte; most are smaller.
const TYPICAL_BODY: usize = 4096;

/// Reads the body within its limit, its deadline, and the memory for all bodies. With a truncated body
/// comes what was read of it.
async fn read_body(
    door: &Door,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), (Problem, Bytes)> {
    let nothing = |problem| (problem, Bytes::new());
    let reserve = |bytes: usize| {
        let bytes = u32::try_from(bytes).map_err(|_| nothing(Problem::BodyTooLarge))?;
        Arc::clone(&door.memory)
            .try_acquire_many_owned(bytes)
            .map_err(|_| nothing(Problem::Full))
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if door.limits.body_bytes < announced {
        drain_unasked(headers, &mut body, door.limits.body_bytes).await;
        return Err(nothing(Problem::BodyTooLarge));
    }
    // Memory is reserved as bytes come: who only announces a large body takes nothing from others.
    let mut memory = reserve(0)?;
    let mut read = BytesMut::with_capacity(announced.min(TYPICAL_BODY));
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Err(Problem::BodyTruncated);
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = read.len() + data.len();
            if door.limits.body_bytes < length {
                return Err(Problem::BodyTooLarge);
            }
            if memory.num_permits() < length {
                memory
                    .merge(reserve(length - memory.num_permits()).map_err(|(problem, _)| problem)?);
            }
            read.extend_from_slice(&data);
        }
        Ok(())
    };
    let outcome = timeout(door.limits.body_timeout, reading).await;
    if let Ok(Err(Problem::BodyTooLarge | Problem::Full)) = outcome {
        drain(&mut body, door.limits.body_bytes).await;
    }
    match outcome {
        Ok(Ok(())) => Ok((read.freeze(), memory)),
        Ok(Err(problem)) => Err((problem, read.freeze())),
        Err(_) => Err(nothing(Problem::BodyTooSlow)),
    }
}
