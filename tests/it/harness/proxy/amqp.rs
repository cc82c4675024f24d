//! A proxy in front of RabbitMQ that knows frames: it records messages and confirms, loses and delays confirms,
//! and speaks to the client in the broker's name. AMQP 0-9-1 without TLS.

mod conversation;
mod frames;
pub mod record;

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
}

impl Amqp {
    /// Starts one in front of a port of this machine.
    pub async fn in_front_of(port: u16, recorder: Recorder) -> Self {
        let plan = Arc::<Mutex<Plan>>::default();
        let recorder = Arc::new(recorder);
        let (each, noting) = (Arc::clone(&plan), Arc::clone(&recorder));
        let line = Proxy::with_filter(port, move |number| {
            let (plan, recorder) = (Arc::clone(&each), Arc::clone(&noting));
            Some(Box::new(Conversation::new(number, plan, recorder)))
        });
        Self {
            line: line.await,
            plan,
            recorder,
        }
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
