//! Frames wherever the stream is split, and properties wherever they stand.

use super::*;

fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).unwrap()];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn method(class: u16, method: u16, arguments: &[&[u8]]) -> Frame {
    let ids = [class.to_be_bytes(), method.to_be_bytes()].concat();
    Frame::new(METHOD, 3, &[ids, arguments.concat()].concat())
}

/// A header with the properties of these bits, each with a value of its type.
fn header(bits: &[u16]) -> Frame {
    let flags = bits.iter().fold(0_u16, |flags, bit| flags | 1 << bit);
    let mut payload = [60_u16.to_be_bytes(), [0; 2]].concat();
    payload.extend_from_slice(&777_u64.to_be_bytes());
    payload.extend_from_slice(&flags.to_be_bytes());
    for bit in (0..16).rev().filter(|bit| bits.contains(bit)) {
        match bit {
            13 => payload.extend_from_slice(b"\0\0\0\x05\x01aI\0\0"),
            12 | 11 => payload.push(2),
            7 => payload.extend(text("the-id")),
            6 => payload.extend_from_slice(&[9; 8]),
            _ => payload.extend(text("some text")),
        }
    }
    Frame::new(HEADER, 3, &payload)
}

fn parts(mut frames: Frames, pieces: &[&[u8]]) -> Vec<Part> {
    let mut found = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(part) = frames.next(&mut piece) {
            found.push(part);
        }
    }
    found
}

#[test]
fn frames_are_found_wherever_the_stream_is_split() {
    let frames = [
        method(60, 40, &[&[0; 2], &text("exchange"), &text("key"), &[1]]),
        header(&[15, 13, 12, 7]),
        Frame::new(BODY, 3, b"a body with \xCE in it"),
        Frame::new(8, 0, b""),
    ];
    let mut stream = b"AMQP\0\0\x09\x01".to_vec();
    let mut expected = vec![Part::Greeting(stream.clone())];
    for frame in frames {
        stream.extend_from_slice(&frame.bytes);
        expected.push(Part::Frame(frame));
    }
    for at in 0..=stream.len() {
        let (front, back) = stream.split_at(at);
        assert_eq!(parts(Frames::of_client(), &[front, back]), expected, "{at}");
    }
    let bytes: Vec<_> = stream.chunks(1).collect();
    assert_eq!(parts(Frames::of_client(), &bytes), expected);
}

#[test]
fn methods_are_read() {
    let tag = 513_u64.to_be_bytes();
    for (frame, expected) in [
        (
            method(60, 40, &[&[0; 2], &text("exchange"), &text("a.b"), &[1]]),
            Some(Method::Publish("a.b".to_owned())),
        ),
        (
            method(60, 80, &[&tag, &[1]]),
            Some(Method::Ack {
                tag: 513,
                multiple: true,
            }),
        ),
        (
            method(60, 120, &[&tag, &[2]]),
            Some(Method::Nack {
                tag: 513,
                multiple: false,
            }),
        ),
        (
            method(
                60,
                50,
                &[&[1, 56], &text("NO_ROUTE"), &text("x"), &text("a.b")],
            ),
            Some(Method::Return {
                code: 312,
                text: "NO_ROUTE".to_owned(),
                routing_key: "a.b".to_owned(),
            }),
        ),
        (
            method(20, 40, &[&[1, 150], &text("no"), &[0; 4]]),
            Some(Method::ChannelClose(406, "no".to_owned())),
        ),
        (method(50, 10, &[]), None),
        // Cut short.
        (method(60, 80, &[&[1]]), None),
        (header(&[7]), None),
        (
            blocked("low on disk"),
            Some(Method::Blocked("low on disk".to_owned())),
        ),
        (unblocked(), Some(Method::Unblocked)),
        (
            connection_close(320, "CONNECTION_FORCED"),
            Some(Method::ConnectionClose(320, "CONNECTION_FORCED".to_owned())),
        ),
    ] {
        assert_eq!(frame.method(), expected, "{frame:?}");
    }
    assert_eq!(header(&[7]).channel(), 3);
}

#[test]
fn the_message_id_is_found_behind_whatever_stands_before_it() {
    let before = [15, 14, 13, 12, 11, 10, 9, 8];
    // Every subset of what can stand before it, with and without what comes behind.
    for chosen in 0..256_u16 {
        let mut bits: Vec<u16> = (0..8_usize)
            .filter(|n| chosen & (1 << n) != 0)
            .map(|n| before[n])
            .collect();
        bits.extend([6, 5, 3]);
        assert_eq!(
            header(&bits).header(),
            Some(Header {
                body_size: 777,
                message_id: None
            })
        );
        bits.push(7);
        let found = header(&bits).header().unwrap();
        assert_eq!(found.message_id.as_deref(), Some("the-id"), "{bits:?}");
    }
}

#[test]
fn what_is_not_amqp_passes_as_it_is() {
    let long = [&[METHOD, 0, 0, 0xFF, 0, 0, 0][..], b"abc"].concat();
    let no_end = [&[METHOD, 0, 0, 0, 0, 0, 1][..], b"ab"].concat();
    for stream in [b"AMQP\0\0\x09\x01".to_vec(), long, no_end] {
        let found = parts(Frames::of_server(), &[&stream, b"more"]);
        let mut passed = Vec::new();
        for part in found {
            match part {
                Part::Garbled(bytes) => passed.extend(bytes),
                part => panic!("{part:?}"),
            }
        }
        assert_eq!(passed, [&stream[..], b"more"].concat());
    }
    let found = parts(Frames::of_client(), &[b"GET / HTTP/1.1"]);
    assert_eq!(found[0], Part::Garbled(b"GET / HT".to_vec()));
}
