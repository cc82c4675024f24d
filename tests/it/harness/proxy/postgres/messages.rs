//! Cuts a stream of Postgres's protocol (version 3) into messages. Pure.

/// As much of each message is seen at once; the rest only passes.
const SEEN: usize = 4096;
/// Postgres's own bound on a message.
const LONGEST: u64 = 1 << 30;

/// What a stream consists of.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The beginning of a message: all of it, or its first 4 KiB.
    Head(Head),
    /// More of the message whose head came last.
    Rest(&'a [u8]),
    /// This is not Postgres's protocol, or it is encrypted.
    Garbled(Vec<u8>),
}

/// The beginning of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The type; 0 for the messages of the startup phase, which have none.
    pub kind: u8,
    /// The bytes as they came, with type and length.
    pub bytes: Vec<u8>,
}

impl Head {
    /// What follows the length.
    pub fn payload(&self) -> &[u8] {
        match self.kind {
            0 => &self.bytes[4..],
            _ => &self.bytes[5..],
        }
    }

    /// The first of the texts in the payload, each of which ends with a zero; a text whose end is not
    /// in here counts as far as it goes.
    pub fn text(&self, index: usize) -> &[u8] {
        self.payload()
            .split(|byte| *byte == 0)
            .nth(index)
            .unwrap_or_default()
    }

    /// The code of a message of the startup phase.
    pub fn startup_code(&self) -> Option<u32> {
        let code = self.bytes.get(4..8)?;
        Some(u32::from_be_bytes(code.try_into().unwrap()))
    }
}

/// One direction of a connection.
pub struct Messages {
    startup: bool,
    garbled: bool,
    head: Vec<u8>,
    rest: u64,
}

impl Messages {
    /// What a client sends, from its first byte.
    pub fn of_client() -> Self {
        Self {
            startup: true,
            garbled: false,
            head: Vec::new(),
            rest: 0,
        }
    }

    /// What a server sends, without its one-byte answers to requests for encryption.
    pub fn of_server() -> Self {
        Self {
            startup: false,
            ..Self::of_client()
        }
    }

    /// The startup phase is over.
    pub fn started(&mut self) {
        self.startup = false;
    }

    /// Takes the next part out of `input`; nothing when more is needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Part<'a>> {
        if input.is_empty() {
            return None;
        }
        if self.garbled {
            return Some(Part::Garbled(std::mem::take(input).to_vec()));
        }
        if 0 < self.rest {
            let (rest, after) =
                input.split_at(input.len().min(usize::try_from(self.rest).unwrap()));
            *input = after;
            self.rest -= rest.len() as u64;
            return Some(Part::Rest(rest));
        }
        let front = if self.startup { 4 } else { 5 };
        self.fill(front, input)?;
        let (kind, length) = match self.startup {
            true => (0, &self.head[..4]),
            false => (self.head[0], &self.head[1..5]),
        };
        let length = u64::from(u32::from_be_bytes(length.try_into().unwrap()));
        let shortest = if self.startup { 8 } else { 4 };
        if !(shortest..LONGEST).contains(&length) {
            self.garbled = true;
            return Some(Part::Garbled(std::mem::take(&mut self.head)));
        }
        let total = length + (front as u64 - 4);
        let seen = usize::try_from(total).unwrap().min(SEEN);
        self.fill(seen, input)?;
        self.rest = total - seen as u64;
        let bytes = std::mem::take(&mut self.head);
        Some(Part::Head(Head { kind, bytes }))
    }

    /// Fills the head up to so many bytes; nothing when they are not there.
    fn fill(&mut self, count: usize, input: &mut &[u8]) -> Option<()> {
        let missing = count.saturating_sub(self.head.len());
        let (more, after) = input.split_at(missing.min(input.len()));
        self.head.extend_from_slice(more);
        *input = after;
        (count <= self.head.len()).then_some(())
    }
}

/// A message of the server's that reports an error.
pub fn error_response(severity: &str, sqlstate: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    for (kind, text) in [
        (b'S', severity),
        (b'V', severity),
        (b'C', sqlstate),
        (b'M', "made by the fault proxy"),
    ] {
        fields.push(kind);
        fields.extend_from_slice(text.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    message(b'E', &fields)
}

/// A message of its type and payload.
pub fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).unwrap();
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every message of a stream that comes in two pieces, with all its bytes.
    fn cut(mut messages: Messages, stream: &[u8], at: usize) -> Vec<(u8, Vec<u8>)> {
        let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
        let (front, back) = stream.split_at(at);
        for mut piece in [front, back] {
            while let Some(part) = messages.next(&mut piece) {
                match part {
                    Part::Head(head) => {
                        if head.kind == 0 && head.startup_code() == Some(196_608) {
                            messages.started();
                        }
                        found.push((head.kind, head.bytes));
                    }
                    Part::Rest(rest) => found.last_mut().unwrap().1.extend_from_slice(rest),
                    Part::Garbled(bytes) => found.push((b'?', bytes)),
                }
            }
        }
        found
    }

    fn startup(code: u32) -> Vec<u8> {
        [8_u32.to_be_bytes(), code.to_be_bytes()].concat()
    }

    #[test]
    fn messages_are_found_wherever_the_stream_is_split() {
        let expected = vec![
            (0, startup(80_877_103)),
            (0, startup(196_608)),
            (b'P', message(b'P', b"name\0select 1\0\0\0")),
            (b'B', message(b'B', &[7; 10_000])),
            (b'S', message(b'S', b"")),
            (b'X', message(b'X', b"")),
        ];
        let stream: Vec<u8> = expected
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        for at in 0..=stream.len() {
            assert_eq!(
                cut(Messages::of_client(), &stream, at),
                expected,
                "split at {at}"
            );
        }
        let mut one_by_one = Messages::of_client();
        let mut heads = Vec::new();
        for byte in &stream {
            let mut piece = std::slice::from_ref(byte);
            while let Some(part) = one_by_one.next(&mut piece) {
                if let Part::Head(head) = part {
                    if head.startup_code() == Some(196_608) {
                        one_by_one.started();
                    }
                    heads.push(head.kind);
                }
            }
        }
        assert_eq!(heads, [0, 0, b'P', b'B', b'S', b'X']);
    }

    #[test]
    fn a_head_is_bounded_and_its_texts_can_be_read() {
        let mut messages = Messages::of_server();
        let long = message(b'D', &vec![1; 1_000_000]);
        let Some(Part::Head(head)) = messages.next(&mut long.as_slice()) else {
            panic!("no head");
        };
        assert_eq!(head.bytes.len(), SEEN);
        let head = Head {
            kind: b'P',
            bytes: message(b'P', b"sqlx_s_1\0select $1\0\0\0"),
        };
        assert_eq!(head.text(0), b"sqlx_s_1");
        assert_eq!(head.text(1), b"select $1");
        assert_eq!(head.text(99), b"");
    }

    #[test]
    fn what_is_not_a_message_passes_as_it_is() {
        // A length of 3, of 2 GiB; a startup message too short for its code.
        for stream in [&b"Z\0\0\0\x03abc"[..], b"D\x7f\xff\xff\xffabc"] {
            let found = cut(Messages::of_server(), stream, 0);
            let bytes: Vec<u8> = found.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            assert_eq!(bytes, stream);
            assert!(found.iter().all(|(kind, _)| *kind == b'?'));
        }
        assert_eq!(cut(Messages::of_client(), b"\0\0\0\x07abc", 2)[0].0, b'?');
    }

    #[test]
    fn an_error_response_has_its_fields() {
        let bytes = error_response("ERROR", "40001");
        assert_eq!(bytes[0], b'E');
        assert_eq!(&bytes[1..5], &(bytes.len() as u32 - 1).to_be_bytes());
        assert!(bytes.windows(7).any(|field| field == b"C40001\0"));
        assert!(bytes.ends_with(b"\0\0"));
    }
}
