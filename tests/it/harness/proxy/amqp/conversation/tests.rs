//! What goes on is what came, to the byte, wherever reads split it; what is made up stands between frames.

use super::super::frames::METHOD;
use super::*;

struct Talk {
    conversation: Conversation,
    plan: Arc<Mutex<Plan>>,
}

impl Talk {
    fn new() -> Self {
        let plan = Arc::<Mutex<Plan>>::default();
        let recorder = Arc::new(Recorder::none());
        Self {
            conversation: Conversation::new(1, Arc::clone(&plan), recorder),
            plan,
        }
    }

    /// What goes on of bytes that come in pieces.
    fn take(&mut self, from: Side, pieces: &[&[u8]]) -> Out {
        let mut all = Out::default();
        for piece in pieces {
            let mut out = Out::default();
            self.conversation.take(from, piece, &mut out);
            all.to_client.extend(out.to_client);
            all.to_server.extend(out.to_server);
            all.end = all.end.or(out.end);
        }
        all
    }

    fn attend(&mut self) -> Vec<u8> {
        let mut out = Out::default();
        self.conversation.attend(&mut out);
        out.to_client
    }
}

fn method(class: u16, method: u16, channel: u16, arguments: &[u8]) -> Vec<u8> {
    let ids = [class.to_be_bytes(), method.to_be_bytes()].concat();
    Frame::new(METHOD, channel, &[&ids, arguments].concat()).bytes
}

/// A greeting, a channel with confirms, and a message; where its body's frame begins.
fn published() -> (Vec<u8>, usize) {
    let mut header = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0x80];
    header.extend_from_slice(b"\x02id");
    let mut stream = b"AMQP\0\0\x09\x01".to_vec();
    stream.extend(method(20, 10, 1, b"\0"));
    stream.extend(method(85, 10, 1, b"\0"));
    stream.extend(method(60, 40, 1, b"\0\0\x01x\x03key\x01"));
    stream.extend(Frame::new(HEADER, 1, &header).bytes);
    let body = stream.len();
    stream.extend(Frame::new(BODY, 1, b"the body.").bytes);
    (stream, body)
}

#[test]
fn without_a_fault_every_byte_goes_on() {
    let (stream, _) = published();
    for at in 0..=stream.len() {
        let (front, back) = stream.split_at(at);
        let out = Talk::new().take(Side::Client, &[front, back]);
        assert_eq!(out.to_server, stream, "split at {at}");
        assert!(out.to_client.is_empty() && out.end.is_none());
    }
    let bytes: Vec<_> = stream.chunks(1).collect();
    assert_eq!(Talk::new().take(Side::Client, &bytes).to_server, stream);
}

#[test]
fn a_cut_body_ends_at_its_byte() {
    let (stream, body) = published();
    let size = stream.len() - body;
    for cut in 0..=size + 1 {
        let mut talk = Talk::new();
        talk.plan.lock().unwrap().cut_body_after = u32::try_from(cut).ok();
        let bytes: Vec<_> = stream.chunks(5).collect();
        let out = talk.take(Side::Client, &bytes);
        assert_eq!(out.to_server, stream[..body + cut.min(size)]);
        assert_eq!(out.end, Some((Side::Server, Ending::Reset)));
        let after = talk.take(Side::Client, &[&stream]);
        assert!(after.to_server.is_empty(), "something came after the cut");
    }
}

#[test]
fn what_is_made_up_stands_between_frames() {
    let opened = method(10, 41, 0, b"\0");
    let ack = method(60, 80, 1, &[0, 0, 0, 0, 0, 0, 0, 1, 0]);
    for at in 0..=ack.len() {
        let mut talk = Talk::new();
        assert_eq!(talk.take(Side::Server, &[&opened]).to_client, opened);
        let mut heard = talk.take(Side::Server, &[&ack[..at]]).to_client;
        talk.plan.lock().unwrap().blocked = Some("why".to_owned());
        heard.extend(talk.attend());
        heard.extend(talk.take(Side::Server, &[&ack[at..]]).to_client);
        let blocked = blocked("why").bytes;
        let before = [blocked.clone(), ack.clone()].concat();
        let behind = [ack.clone(), blocked].concat();
        let expected = if at < ack.len() { before } else { behind };
        assert_eq!(heard, expected, "split at {at}");
    }
}

#[test]
fn confirms_that_are_held_back_have_a_bound_and_an_order() {
    let mut talk = Talk::new();
    talk.plan.lock().unwrap().ack_delay = Some(Duration::from_secs(3600));
    let ack = |tag: u64| method(60, 80, 1, &[&tag.to_be_bytes()[..], &[0]].concat());
    let count = MOST_HELD as u64 + 3;
    for tag in 1..=count {
        let out = talk.take(Side::Server, &[&ack(tag)]);
        assert!(out.to_client.is_empty());
    }
    assert!(talk.conversation.due().is_some());
    assert_eq!(talk.attend(), [ack(1), ack(2), ack(3)].concat());
    assert_eq!(talk.conversation.held.len(), MOST_HELD);
}

#[test]
fn a_forced_close_waits_for_its_answer_and_lets_nothing_else_pass() {
    let mut talk = Talk::new();
    talk.take(Side::Server, &[&method(10, 41, 0, b"\0")]);
    talk.plan.lock().unwrap().closes += 1;
    let told = talk.attend();
    assert_eq!(told, connection_close(320, "CONNECTION_FORCED").bytes);
    let (stream, _) = published();
    let out = talk.take(Side::Client, &[&stream]);
    assert!(out.end.is_none());
    // Of the greeting the filter knows nothing; it is never sent that late.
    assert!(!out.to_server.windows(3).any(|bytes| bytes == b"key"));
    let ack = method(60, 80, 1, &[0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert!(talk.take(Side::Server, &[&ack]).to_client.is_empty());
    let out = talk.take(Side::Client, &[&method(10, 51, 0, b"")]);
    assert_eq!(out.end, Some((Side::Client, Ending::Close)));
    assert!(out.to_server.is_empty());
}
