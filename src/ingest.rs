//! The way in: verify, identify, hand over to the writer, wait for its answer.
//!
//! Invariants: nothing unverified reaches the store; "accepted" means committed; a request never owns a
//! database future, so a hang-up or a deadline cancels nothing. This room knows no HTTP and no SQL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::event::identify::{Identity, Unreadable, identify};
use crate::event::{BodyHash, Event, Micros, Origin};
use crate::failpoints;
use crate::metrics::Metrics;
use crate::signature::{Reject, SignatureHeaders, Verifier};
use crate::spans::{Kind, Span, Spans};
use crate::store::Appended;

mod pace;
mod writer;

pub use writer::{Handle, Writer};

/// An app whose events are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id, as bodies carry it in `appId`.
    pub id: String,
    /// Where GHL posts its events.
    pub path: String,
}

impl App {
    /// The event name in a path of this app, `<path>/<EventName>`. As it is on the wire: GHL's names
    /// need no escapes, and what has some is no name.
    pub fn event_name<'a>(&self, path: &'a str) -> Option<&'a str> {
        let name = path.strip_prefix(&self.path)?.strip_prefix('/')?;
        // What has another segment is a path of somebody else.
        (!name.contains('/')).then_some(name)
    }

    /// Whether it is a path of this app, with an event name or without.
    pub fn owns(&self, path: &str) -> bool {
        path == self.path || self.event_name(path).is_some()
    }
}

/// A request as it came, with its whole body.
#[derive(Clone, Copy)]
pub struct Webhook<'a> {
    /// The app whose path it was posted to.
    pub app: &'a App,
    /// The event name at the end of the path.
    pub event_name: Option<&'a str>,
    /// All signature headers.
    pub signatures: SignatureHeaders<'a>,
    /// The raw body.
    pub body: &'a Bytes,
}

/// What a verified request is, before it is in the log.
#[derive(Debug)]
pub struct Judged {
    /// Ready to be appended.
    pub event: Event,
    /// Why nothing could be read of its body, if so.
    pub unreadable: Option<Unreadable>,
    /// Whether its key is the body's hash because there is no usable `webhookId`.
    pub key_is_fallback: bool,
    /// Whether GHL left data out (`payloadTooLarge`).
    pub too_large: bool,
}

/// Why a request was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its signature is missing or wrong.
    Signature(Reject),
    /// It is signed, but for an app that is not configured. One key of GHL's signs for all apps, so a
    /// signature proves the sender and not the addressee (GHL's webhook guide, on its public keys).
    UnknownApp,
    /// More is waiting for the store than may wait.
    Overloaded,
    /// The store did not commit it, or not in time. Whether it is in the log is not known.
    Unavailable,
}

impl Refusal {
    /// Every reason, for metrics that are there from the start.
    pub fn all() -> impl Iterator<Item = Self> {
        Reject::ALL.into_iter().map(Self::Signature).chain([
            Self::UnknownApp,
            Self::Overloaded,
            Self::Unavailable,
        ])
    }

    /// The name used in metrics, logs and the quarantine.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signature(Reject::Missing) => "signature_missing",
            Self::Signature(Reject::NotApplicable) => "signature_not_applicable",
            Self::Signature(Reject::Repeated) => "signature_repeated",
            Self::Signature(Reject::Malformed) => "signature_malformed",
            Self::Signature(Reject::Wrong) => "signature_wrong",
            Self::Signature(Reject::LegacyOff) => "signature_legacy_disabled",
            Self::UnknownApp => "unknown_app",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "store_unavailable",
        }
    }
}

/// An event that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its key. A repeat of altered bytes is there under the other event's.
    pub event_key: String,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// Verifies and identifies a request. Pure: the same request has the same verdict everywhere, at the
/// door and when an operator admits it from the quarantine.
pub fn judge(
    verifier: &Verifier,
    apps: &[App],
    webhook: &Webhook<'_>,
    received_at: Micros,
) -> Result<Judged, Refusal> {
    let verified = verifier.verify(webhook.body, &webhook.signatures);
    let body = verified.map_err(Refusal::Signature)?.body();
    let body_hash = BodyHash::of(body);
    let Identity {
        event_type,
        key,
        key_is_fallback,
        app_id,
        tenant,
        entity_id,
        too_large,
        unreadable,
    } = identify(body, &body_hash, webhook.event_name);
    let app_id = app_id.unwrap_or_else(|| webhook.app.id.clone());
    if apps.iter().all(|app| app.id != app_id) {
        return Err(Refusal::UnknownApp);
    }
    let signature = webhook
        .signatures
        .ghl
        .first()
        .or(webhook.signatures.legacy.first());
    let event = Event {
        key,
        app_id,
        event_type,
        tenant,
        entity_id,
        origin: Origin::Webhook,
        signature: signature
            .and_then(|value| std::str::from_utf8(value).ok())
            .map(str::to_owned),
        received_at,
        body_hash,
        body: webhook.body.clone(),
    };
    Ok(Judged {
        event,
        unreadable,
        key_is_fallback,
        too_large,
    })
}

/// What a span tells of an event that came.
struct Arrival {
    app_id: String,
    event_type: String,
    tenant: Option<String>,
    received_at: Micros,
}

impl Arrival {
    /// Nothing where no trace is kept.
    fn of(event: &Event, percent: u8) -> Option<Self> {
        (0 < percent).then(|| Self {
            app_id: event.app_id.clone(),
            event_type: event.event_type.clone(),
            tenant: event.tenant.id().map(str::to_owned),
            received_at: event.received_at,
        })
    }
}

/// The way in, shared by all requests.
pub struct Ingest {
    verifier: Verifier,
    apps: Vec<App>,
    writer: Handle,
    commit_deadline: Duration,
    clock: Clock,
    metrics: Metrics,
    spans: Spans,
}

impl Ingest {
    /// Puts the parts together.
    pub fn new(
        verifier: Verifier,
        apps: Vec<App>,
        writer: Handle,
        commit_deadline: Duration,
        clock: Clock,
        metrics: Metrics,
        spans: Spans,
    ) -> Arc<Self> {
        for reason in Unreadable::ALL {
            // Shown as 0 from the start, so that a rate is never undefined.
            metrics.unreadable.with_label_values(&[reason.as_str()]);
        }
        Arc::new(Self {
            verifier,
            apps,
            writer,
            commit_deadline,
            clock,
            metrics,
            spans,
        })
    }

    /// The configured apps.
    pub fn apps(&self) -> &[App] {
        &self.apps
    }

    /// Whether an event that came now would be committed in time. Whoever asks before anything else refuses what
    /// is too much for next to nothing.
    pub fn has_room(&self) -> bool {
        self.writer.has_room()
    }

    /// Accepts a request: on return it is committed, or it was before.
    ///
    /// `memory` is the body's share of the memory for bodies; it is given back when the event is
    /// committed. Cancel-safe in the sense that matters: an event once handed over is committed whether
    /// or not anybody still waits.
    ///
    /// # Errors
    /// A [`Refusal`]; after [`Refusal::Unavailable`] the event may still become durable, and a retry of
    /// the same bytes finds it.
    pub async fn accept(
        &self,
        webhook: &Webhook<'_>,
        memory: OwnedSemaphorePermit,
    ) -> Result<Receipt, Refusal> {
        // Many may have been let in while their bodies came. From here to the queue nothing is waited for.
        if !self.has_room() {
            return Err(Refusal::Overloaded);
        }
        let judged = judge(&self.verifier, &self.apps, webhook, (self.clock)())?;
        if let Some(reason) = judged.unreadable {
            self.metrics
                .unreadable
                .with_label_values(&[reason.as_str()])
                .inc();
        }
        if judged.key_is_fallback {
            self.metrics.without_id.inc();
        }
        if judged.too_large {
            self.metrics.too_large.inc();
        }
        let event = judged.event;
        let key = event.key.to_string();
        let arrival = Arrival::of(&event, self.spans.percent());
        #[cfg(feature = "failpoints")]
        if failpoints::mutant("mutant.M5") {
            let appended = self.writer.store.append(&[event]).await;
            let duplicate = match appended.as_deref() {
                Ok([appended]) => *appended == Appended::Duplicate,
                _ => return Err(Refusal::Unavailable),
            };
            return Ok(Receipt {
                event_key: key,
                duplicate,
            });
        }
        let answer = self
            .writer
            .hand_over(event, memory)
            .ok_or(Refusal::Overloaded)?;
        if failpoints::mutant("mutant.M1") {
            return Ok(Receipt {
                event_key: key,
                duplicate: false,
            });
        }
        let appended = match timeout(self.commit_deadline, answer).await {
            Ok(Ok(Some(appended))) => appended,
            Ok(Ok(None) | Err(_)) | Err(_) => return Err(Refusal::Unavailable),
        };
        let (outcome, receipt) = match appended {
            Appended::New(_) => (
                "new",
                Receipt {
                    event_key: key,
                    duplicate: false,
                },
            ),
            Appended::Duplicate => (
                "duplicate",
                Receipt {
                    event_key: key,
                    duplicate: true,
                },
            ),
            Appended::Altered(position, altered) => {
                tracing::warn!(
                    event_key = %altered, position = position.0,
                    "a known webhookId came with other bytes; both are kept"
                );
                (
                    "altered",
                    Receipt {
                        event_key: altered.to_string(),
                        duplicate: false,
                    },
                )
            }
        };
        self.metrics.events.with_label_values(&[outcome]).inc();
        if failpoints::mutant("mutant.M20") {
            std::mem::forget(vec![1_u8; 1024]);
        }
        if failpoints::mutant("mutant.M21") {
            failpoints::leave_a_task();
        }
        if let Some(arrival) = arrival {
            self.trace(arrival, &receipt, outcome);
        }
        Ok(receipt)
    }

    /// Tells when an event came, and when it was committed.
    fn trace(&self, arrival: Arrival, receipt: &Receipt, outcome: &'static str) {
        let Some(context) = self.spans.of(&arrival.app_id, &receipt.event_key) else {
            return;
        };
        // The event arrives once; a repeat is a span of its own.
        let id = match receipt.duplicate {
            false => context.span_id,
            true => context.span(&["repeat", &arrival.received_at.0.to_string()]),
        };
        self.spans.record(Span {
            context,
            id,
            name: format!("webhook {}", arrival.event_type),
            kind: Kind::Server,
            began: arrival.received_at,
            ended: (self.clock)(),
            attributes: vec![
                ("hookwell.event_key", json!(receipt.event_key)),
                ("hookwell.event_type", json!(arrival.event_type)),
                ("hookwell.tenant", json!(arrival.tenant)),
                ("hookwell.outcome", json!(outcome)),
            ],
            error: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::App;

    #[test]
    fn an_event_name_is_one_segment_below_the_path() {
        let app = App {
            id: String::new(),
            path: "/hooks".to_owned(),
        };
        for (path, name) in [
            ("/hooks/ContactCreate", Some("ContactCreate")),
            // Of the app at /hooks/ghl, say.
            ("/hooks/ghl/ContactCreate", None),
            ("/hooks", None),
            ("/hooksContactCreate", None),
        ] {
            assert_eq!(app.event_name(path), name, "{path}");
        }
    }
}
