//! Reading a request: a head that means one thing, and a body within its bounds.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Webhooks;
use super::problem::Problem;

/// Whether two servers could read this head differently.
///
/// The rest is refused before it comes here: lengths that differ or are no number, a coding that does
/// not end in `chunked`, white space around names. Of a length beside a coding, or of two lengths that
/// agree, the parser leaves one (RFC 9112, 6.3), and after the former it closes; neither can be two
/// requests.
pub(super) fn is_ambiguous(request: &Request) -> bool {
    let all = |name| request.headers().get_all(name).iter();
    // "gzip, chunked" is no body that GHL signed, and a proxy may count its chunks in another way.
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let hosts = all(header::HOST).count();
    all(header::TRANSFER_ENCODING).count() > 1
        || !all(header::TRANSFER_ENCODING).all(plain)
        || hosts > 1
        || (hosts == 0 && request.version() == Version::HTTP_11)
}

/// GHL sends `application/json`; a request without a type is taken at its word.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
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
pub(super) async fn drain_unasked(headers: &HeaderMap, body: &mut Body, most: usize) {
    if !headers.contains_key(header::EXPECT) {
        drain(body, most).await;
    }
}

/// Room made for a body before its first byte; most are smaller.
const TYPICAL_BODY: usize = 4096;

/// Reads the body within its limit, its deadline, and the memory for all bodies. With a truncated body
/// comes what was read of it.
pub(super) async fn read_body(
    webhooks: &Webhooks,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), (Problem, Bytes)> {
    let nothing = |problem| (problem, Bytes::new());
    let reserve = |bytes: usize| {
        let bytes = u32::try_from(bytes).map_err(|_| nothing(Problem::BodyTooLarge))?;
        Arc::clone(&webhooks.memory)
            .try_acquire_many_owned(bytes)
            .map_err(|_| nothing(Problem::Full))
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if webhooks.limits.body_bytes < announced {
        drain_unasked(headers, &mut body, webhooks.limits.body_bytes).await;
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
            if webhooks.limits.body_bytes < length {
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
    let outcome = timeout(webhooks.limits.body_timeout, reading).await;
    if let Ok(Err(Problem::BodyTooLarge | Problem::Full)) = outcome {
        drain(&mut body, webhooks.limits.body_bytes).await;
    }
    match outcome {
        Ok(Ok(())) => Ok((read.freeze(), memory)),
        Ok(Err(problem)) => Err((problem, read.freeze())),
        Err(_) => Err(nothing(Problem::BodyTooSlow)),
    }
}
