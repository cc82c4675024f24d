//! What became of each message that was handed to RabbitMQ, told to the metrics and the traces.

use serde_json::json;

use super::Relay;
use super::message::ORIGIN;
use crate::broker::{self, Header, Outcome};
use crate::event::{Micros, Origin, Recorded};
use crate::spans::{Kind, Span};

impl Relay {
    /// Tells what was published when.
    pub(super) fn trace(&self, batch: &[broker::Message], outcomes: &[Outcome], began: Micros) {
        if self.spans.percent() == 0 {
            return;
        }
        let ended = (self.clock)();
        for (message, outcome) in batch.iter().zip(outcomes) {
            let header = |wanted| {
                let mut headers = message.headers.iter();
                headers.find_map(|(name, value)| match value {
                    Header::Text(text) if *name == wanted => Some(text.as_str()),
                    _ => None,
                })
            };
            let app_id = header("ghl-app-id").unwrap_or_default();
            let Some(context) = self.spans.of(app_id, &message.id) else {
                continue;
            };
            let origin = header(ORIGIN).and_then(Origin::parse);
            // What did not arrive as a request arrives here.
            let id = match origin {
                Some(Origin::FollowUp | Origin::Backfill) => context.span_id,
                _ => context.span(&["publish", &began.0.to_string()]),
            };
            self.spans.record(Span {
                context,
                id,
                name: format!("publish {}", message.kind),
                kind: Kind::Producer,
                began,
                ended,
                attributes: vec![
                    ("messaging.system", json!("rabbitmq")),
                    (
                        "messaging.rabbitmq.destination.routing_key",
                        json!(message.routing_key),
                    ),
                    ("messaging.message.id", json!(message.id)),
                    ("hookwell.origin", json!(header(ORIGIN))),
                ],
                error: match outcome {
                    Outcome::Confirmed => None,
                    Outcome::Returned(reason) => Some(reason.clone()),
                    Outcome::Nacked => Some("rejected".to_owned()),
                },
            });
        }
    }

    /// Counts the outcomes of a batch, and how long each event took that is out.
    pub(super) fn count<'a>(&self, round: impl Iterator<Item = (&'a Recorded, &'a Outcome)>) {
        let now = (self.clock)();
        let (mut confirmed, mut returned, mut nacked) = (0, 0, 0);
        for (recorded, outcome) in round {
            match outcome {
                Outcome::Confirmed => {
                    confirmed += 1;
                    let event = &recorded.event;
                    let micros = now.0.saturating_sub(event.received_at.0).max(0);
                    self.metrics
                        .end_to_end_seconds
                        .with_label_values(&[event.origin.as_str()])
                        .observe(micros as f64 / 1e6);
                }
                Outcome::Returned(_) => returned += 1,
                Outcome::Nacked => nacked += 1,
            }
        }
        let outcomes = &self.metrics.publish_outcomes;
        outcomes.with_label_values(&["confirmed"]).inc_by(confirmed);
        outcomes.with_label_values(&["returned"]).inc_by(returned);
        outcomes.with_label_values(&["nacked"]).inc_by(nacked);
    }

    /// Counts messages of which nobody knows what became of them.
    pub(super) fn count_unknown(&self, count: usize) {
        self.metrics
            .publish_outcomes
            .with_label_values(&["unknown"])
            .inc_by(count as u64);
    }
}
