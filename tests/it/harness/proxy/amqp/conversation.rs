//! One client's conversation with RabbitMQ: what is seen of it, and what the plan makes of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::super::line::{Filter, Out};
use super::super::{Ending, Side};
use super::Plan;
use super::frames::{
    BODY, Frame, Frames, HEADER, Header, Method, Part, blocked, connection_close, unblocked,
};
use super::record::{Record, Recorder, What};

/// Confirms held back at once; beyond that the oldest goes on early.
const MOST_HELD: usize = 100_000;
/// How long a client may take to answer `connection.close`.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A channel, as far as it matters here.
#[derive(Default)]
struct Channel {
    /// The tag of the next publish; none without confirms.
    next_tag: Option<u64>,
    /// What each side is sending: a record to be noted when its body is complete.
    contents: [Option<Content>; 2],
}

struct Content {
    record: Option<Record>,
    /// Bytes of body to come; none before the header.
    left: Option<u64>,
}

/// A confirm that is held back.
struct Held {
    due: Instant,
    frame: Frame,
    record: Record,
}

pub(super) struct Conversation {
    number: u64,
    plan: Arc<Mutex<Plan>>,
    recorder: Arc<Recorder>,
    client: Frames,
    server: Frames,
    channels: HashMap<u16, Channel>,
    held: VecDeque<Held>,
    /// The connection may be used.
    open: bool,
    told_blocked: bool,
    /// How many forced closes there had been when it began.
    closes: u64,
    /// A forced close is under way; until then the client may answer.
    closing: Option<Instant>,
    /// Nothing passes any more.
    over: bool,
}

impl Conversation {
    pub fn new(number: u64, plan: Arc<Mutex<Plan>>, recorder: Arc<Recorder>) -> Self {
        recorder.note(Record::new(number, What::Open));
        let closes = plan.lock().unwrap().closes;
        Self {
            number,
            plan,
            recorder,
            client: Frames::of_client(),
            server: Frames::of_server(),
            channels: HashMap::new(),
            held: VecDeque::new(),
            open: false,
            told_blocked: false,
            closes,
            closing: None,
            over: false,
        }
    }

    fn record(&self, what: What) -> Record {
        Record::new(self.number, what)
    }

    fn of_channel(&self, what: What, frame: &Frame) -> Record {
        Record {
            channel: Some(frame.channel()),
            ..self.record(what)
        }
    }

    fn note(&self, record: Record, forwarded: bool) {
        self.recorder.note(Record {
            forwarded: Some(forwarded),
            ..record
        });
    }

    /// Whether what one says reaches the other.
    fn passes(&self) -> bool {
        !self.over && self.closing.is_none()
    }

    fn end(&mut self, behind: Side, ending: Ending, out: &mut Out) {
        out.end = Some((behind, ending));
        self.over = true;
    }

    fn said(&mut self, from: Side, frame: Frame, out: &mut Out) {
        let method = frame.method();
        if let Some(Method::Ack { .. } | Method::Nack { .. }) = method
            && from == Side::Server
        {
            return self.confirms(frame, out);
        }
        if let Some(method) = method {
            self.looks_at(from, method, &frame, out);
        }
        let mut passing = if self.passes() { frame.bytes.len() } else { 0 };
        if frame.kind() == BODY && from == Side::Client && self.passes() {
            let cut = self.plan.lock().unwrap().cut_body_after.take();
            if let Some(bytes) = cut {
                passing = passing.min(bytes as usize);
                self.end(Side::Server, Ending::Reset, out);
            }
        }
        out.to(from.other())
            .extend_from_slice(&frame.bytes[..passing]);
        if matches!(frame.kind(), HEADER | BODY) {
            self.carries_on(from, &frame, passing == frame.bytes.len());
        }
    }

    fn looks_at(&mut self, from: Side, method: Method, frame: &Frame, out: &mut Out) {
        let number = frame.channel();
        match method {
            Method::ConnectionOpened => {
                self.open = true;
                // `attend` is called next.
            }
            Method::ConnectionClose(code, text) => {
                let record = self.record(What::ConnectionClose);
                self.closes_with(record, code, text);
            }
            Method::ConnectionClosed if self.closing.is_some() && from == Side::Client => {
                self.end(Side::Client, Ending::Close, out);
            }
            Method::Blocked(text) => {
                let mut record = self.record(What::Blocked);
                record.text = Some(text);
                self.note(record, self.passes());
            }
            Method::Unblocked => self.note(self.record(What::Unblocked), self.passes()),
            Method::ChannelOpen => {
                self.channels.insert(number, Channel::default());
                self.note(self.of_channel(What::ChannelOpen, frame), self.passes());
            }
            Method::ChannelClose(code, text) => {
                let record = self.of_channel(What::ChannelClose, frame);
                self.closes_with(record, code, text);
            }
            Method::ChannelClosed => drop(self.channels.remove(&number)),
            Method::ConfirmSelect => self.channel(number).next_tag = Some(1),
            Method::Publish(routing_key) => {
                let channel = self.channel(number);
                let tag = channel.next_tag;
                channel.next_tag = tag.map(|tag| tag + 1);
                let record = Record {
                    tag,
                    routing_key: Some(routing_key),
                    ..self.of_channel(What::Publish, frame)
                };
                self.begins(from, number, Some(record));
            }
            Method::Return {
                code,
                text,
                routing_key,
            } => {
                let record = Record {
                    code: Some(code),
                    text: Some(text),
                    routing_key: Some(routing_key),
                    ..self.of_channel(What::Return, frame)
                };
                self.begins(from, number, Some(record));
            }
            Method::Delivery => self.begins(from, number, None),
            Method::ConnectionClosed | Method::Ack { .. } | Method::Nack { .. } => (),
        }
    }

    fn closes_with(&self, record: Record, code: u16, text: String) {
        let record = Record {
            code: Some(code),
            text: Some(text),
            ..record
        };
        self.note(record, self.passes());
    }

    fn channel(&mut self, number: u16) -> &mut Channel {
        self.channels.entry(number).or_default()
    }

    /// A content begins; its record is noted when it is complete.
    fn begins(&mut self, from: Side, number: u16, record: Option<Record>) {
        let left = None;
        self.channel(number).contents[from as usize] = Some(Content { record, left });
    }

    /// A header or a body of a content.
    fn carries_on(&mut self, from: Side, frame: &Frame, passes: bool) {
        let slot = &mut self.channel(frame.channel()).contents[from as usize];
        let Some(content) = slot else {
            return;
        };
        let left = match (frame.header(), content.left) {
            (
                Some(Header {
                    body_size,
                    message_id,
                }),
                _,
            ) => {
                if let Some(record) = &mut content.record {
                    record.id = message_id;
                }
                body_size
            }
            (None, Some(left)) => left.saturating_sub(frame.payload().len() as u64),
            (None, None) => return,
        };
        content.left = Some(left);
        // One that is cut off will never be complete.
        if (left == 0 || !passes)
            && let Some(Content {
                record: Some(record),
                ..
            }) = slot.take()
        {
            self.note(record, passes);
        }
    }

    /// A confirm of the broker's.
    fn confirms(&mut self, frame: Frame, out: &mut Out) {
        let (what, tag, multiple) = match frame.method() {
            Some(Method::Ack { tag, multiple }) => (What::Ack, tag, multiple),
            Some(Method::Nack { tag, multiple }) => (What::Nack, tag, multiple),
            _ => return,
        };
        let record = Record {
            tag: Some(tag),
            multiple: Some(multiple),
            ..self.of_channel(what, &frame)
        };
        let mut plan = self.plan.lock().unwrap();
        let dropped = what == What::Ack && 0 < plan.acks_to_drop;
        if dropped && plan.acks_to_drop < u64::MAX {
            plan.acks_to_drop -= 1;
        }
        let delay = plan.ack_delay;
        drop(plan);
        if dropped || !self.passes() {
            return self.note(record, false);
        }
        // One that overtook another could confirm what the client then hears of a second time.
        if delay.is_some() || !self.held.is_empty() {
            let due = Instant::now() + delay.unwrap_or_default();
            self.held.push_back(Held { due, frame, record });
            return;
        }
        out.to_client.extend_from_slice(&frame.bytes);
        self.note(record, true);
    }

    /// Lets go of confirms that have been held back long enough.
    fn release(&mut self, out: &mut Out) {
        let now = Instant::now();
        while let Some(first) = self.held.front()
            && (first.due <= now || MOST_HELD < self.held.len())
        {
            let Some(Held { frame, record, .. }) = self.held.pop_front() else {
                return;
            };
            out.to_client.extend_from_slice(&frame.bytes);
            self.note(record, true);
        }
    }

    fn inject(&self, frame: &Frame, record: Record, out: &mut Out) {
        out.to_client.extend_from_slice(&frame.bytes);
        let injected = true;
        self.note(Record { injected, ..record }, true);
    }

    fn tells_of_blocking(&mut self, reason: Option<String>, out: &mut Out) {
        if !self.open || self.told_blocked == reason.is_some() {
            return;
        }
        self.told_blocked = reason.is_some();
        match reason {
            Some(text) => {
                let mut record = self.record(What::Blocked);
                record.text = Some(text.clone());
                self.inject(&blocked(&text), record, out);
            }
            None => self.inject(&unblocked(), self.record(What::Unblocked), out),
        }
    }
}

impl Filter for Conversation {
    fn take(&mut self, from: Side, mut bytes: &[u8], out: &mut Out) {
        while !self.over {
            let frames = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            match frames.next(&mut bytes) {
                None => return,
                Some(Part::Frame(frame)) => self.said(from, frame, out),
                Some(Part::Greeting(bytes)) => out.to(from.other()).extend(bytes),
                Some(Part::Garbled(bytes)) => {
                    self.note(self.record(What::Garbled), self.passes());
                    if self.passes() {
                        out.to(from.other()).extend(bytes);
                    }
                }
            }
        }
    }

    fn attend(&mut self, out: &mut Out) {
        if self.over {
            return;
        }
        if let Some(until) = self.closing {
            if until <= Instant::now() {
                self.end(Side::Client, Ending::Close, out);
            }
            return;
        }
        self.release(out);
        let plan = self.plan.lock().unwrap();
        let (closes, reason) = (plan.closes, plan.blocked.clone());
        drop(plan);
        if self.open && self.closes < closes {
            self.closing = Some(Instant::now() + CLOSE_WITHIN);
            let (code, text) = (320, "CONNECTION_FORCED");
            let mut record = self.record(What::ConnectionClose);
            (record.code, record.text) = (Some(code), Some(text.to_owned()));
            self.inject(&connection_close(code, text), record, out);
            return;
        }
        self.tells_of_blocking(reason, out);
    }

    fn due(&self) -> Option<Instant> {
        match self.closing {
            _ if self.over => None,
            Some(until) => Some(until),
            None => self.held.front().map(|first| first.due),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.note(held.record, false);
        }
        self.recorder.note(self.record(What::Close));
    }
}

#[cfg(test)]
mod tests;
