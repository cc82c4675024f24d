//! A proxy in front of RabbitMQ that knows frames: it records messages and confirms, loses and delays confirms,
//! and speaks to the client in the broker's name. AMQP 0-9-1 without TLS.

mod conversation;
mod frames;
pub mod record;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Proxy;

use conversation::Conversation;
use record::Recorder;

/// What is to happen. Conversations look at it whenever they act.
#[derive(Default)]
struct Plan {
    acks_to_drop: u64,
    ack_delay: Option<Duration>,
    cut_body_after: Option<u32>,
    blocked: Option<String>,
    /// Counts the calls of [`Amqp::force_close`].
    closes: u64,
}

/// A running proxy in front of RabbitMQ.
pub struct Amqp {
    /// The network in front of it.
    pub line: Proxy,
    plan: Arc<Mutex<Plan>>,
    recorder: Arc<Recorder>,
    /// Counts connections, on whichever line.
    opened: Arc<AtomicU64>,
}

impl Amqp {
    /// Starts one in front of a port of this machine.
    pub async fn in_front_of(port: u16, recorder: Recorder) -> Self {
        let plan = Arc::<Mutex<Plan>>::default();
        let recorder = Arc::new(recorder);
        let opened = Arc::default();
        Self {
            line: line(port, &plan, &recorder, &opened).await,
            plan,
            recorder,
            opened,
        }
    }

    /// One more line, in front of another member of the cluster: a network of its own, with the same plan
    /// and in the same record.
    pub async fn beside(&self, port: u16) -> Proxy {
        line(port, &self.plan, &self.recorder, &self.opened).await
    }

    /// The records so far are written out.
    pub fn flush(&self) {
        self.recorder.flush();
    }

    /// Of the next `count` frames with `basic.ack`, none reaches the client. A later one that stands for
    /// several tags (`multiple`) still makes up for them.
    pub fn drop_acks(&self, count: u64) {
        self.plan.lock().unwrap().acks_to_drop = count;
    }

    /// No `basic.ack` reaches a client any more, until [`Self::drop_acks`] says otherwise.
    pub fn drop_all_acks(&self) {
        self.drop_acks(u64::MAX);
    }

    /// How many frames with `basic.ack` are still to be dropped.
    pub fn acks_to_drop(&self) -> u64 {
        self.plan.lock().unwrap().acks_to_drop
    }

    /// Confirms (`basic.ack` and `basic.nack`) reach the client so much later; everything else passes.
    /// What is held back when the delay goes is not hurried.
    pub fn delay_acks(&self, delay: Option<Duration>) {
        self.plan.lock().unwrap().ack_delay = delay;
    }

    /// Resets the connection behind the first `bytes` bytes of the next frame with a body, its seven bytes
    /// of front among them; in its midst when the frame is longer.
    pub fn cut_body_after(&self, bytes: u32) {
        self.plan.lock().unwrap().cut_body_after = Some(bytes);
    }

    /// Whether the cut of [`Self::cut_body_after`] is still to come.
    pub fn cut_is_due(&self) -> bool {
        self.plan.lock().unwrap().cut_body_after.is_some()
    }

    /// Tells clients (`connection.blocked`) that the broker takes nothing, and those that connect later
    /// too. What they publish all the same goes on to the broker.
    pub fn block(&self, reason: &str) {
        self.plan.lock().unwrap().blocked = Some(reason.to_owned());
        self.line.poke();
    }

    /// Tells those clients (`connection.unblocked`) that it takes messages again.
    pub fn unblock(&self) {
        self.plan.lock().unwrap().blocked = None;
        self.line.poke();
    }

    /// Closes every standing connection towards its client as an operator does: `connection.close` with
    /// 320, `CONNECTION_FORCED`. The broker sees the connection end.
    pub fn force_close(&self) {
        self.plan.lock().unwrap().closes += 1;
        self.line.poke();
    }
}

async fn line(
    port: u16,
    plan: &Arc<Mutex<Plan>>,
    recorder: &Arc<Recorder>,
    opened: &Arc<AtomicU64>,
) -> Proxy {
    let (plan, recorder, opened) = (Arc::clone(plan), Arc::clone(recorder), Arc::clone(opened));
    Proxy::with_filter(port, move || {
        let number = 1 + opened.fetch_add(1, Ordering::SeqCst);
        let (plan, recorder) = (Arc::clone(&plan), Arc::clone(&recorder));
        Some(Box::new(Conversation::new(number, plan, recorder)))
    })
    .await
}
