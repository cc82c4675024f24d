//! Cuts a stream of AMQP 0-9-1 into frames, reads what the proxy looks at, and makes frames of its own. Pure.

/// The end of every frame.
const FRAME_END: u8 = 0xCE;
/// Type, channel and size before the payload, and the end behind it.
const FRONT: usize = 7;
/// No broker negotiates more than this; RabbitMQ's default is 128 KiB.
const LARGEST: usize = 1024 * 1024;

/// A frame of a method.
pub const METHOD: u8 = 1;
/// A frame of a content's header.
pub const HEADER: u8 = 2;
/// A frame of a content's body.
pub const BODY: u8 = 3;

/// One piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// The client's first words.
    Greeting(Vec<u8>),
    /// A whole frame.
    Frame(Frame),
    /// This is not AMQP 0-9-1.
    Garbled(Vec<u8>),
}

/// A whole frame, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// With front and end.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// A frame of its parts.
    pub fn new(kind: u8, channel: u16, payload: &[u8]) -> Self {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(FRAME_END);
        Self { bytes }
    }

    /// Its type.
    pub fn kind(&self) -> u8 {
        self.bytes[0]
    }

    /// Its channel.
    pub fn channel(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1], self.bytes[2]])
    }

    /// What is in it.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[FRONT..self.bytes.len() - 1]
    }

    /// The method in it.
    pub fn method(&self) -> Option<Method> {
        match self.kind() {
            METHOD => Method::read(self.payload()),
            _ => None,
        }
    }

    /// The content's header in it.
    pub fn header(&self) -> Option<Header> {
        match self.kind() {
            HEADER => Header::read(self.payload()),
            _ => None,
        }
    }
}

/// One direction of a connection.
pub struct Frames {
    greeting: bool,
    garbled: bool,
    held: Vec<u8>,
}

impl Frames {
    /// What a client sends, from its first byte.
    pub fn of_client() -> Self {
        Self {
            greeting: true,
            ..Self::of_server()
        }
    }

    /// What a broker sends.
    pub fn of_server() -> Self {
        Self {
            greeting: false,
            garbled: false,
            held: Vec::new(),
        }
    }

    /// Takes the next part out of `input`; nothing when more is needed.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Part> {
        if self.garbled {
            let bytes = std::mem::take(input).to_vec();
            return (!bytes.is_empty()).then_some(Part::Garbled(bytes));
        }
        if self.greeting {
            self.fill(8, input)?;
            self.greeting = false;
            return match self.held.starts_with(b"AMQP") {
                true => Some(Part::Greeting(std::mem::take(&mut self.held))),
                false => self.gives_up(),
            };
        }
        self.fill(1, input)?;
        if !matches!(self.held[0], METHOD..=BODY | 8) {
            return self.gives_up();
        }
        self.fill(FRONT, input)?;
        let size = u32::from_be_bytes(self.held[3..FRONT].try_into().unwrap()) as usize;
        if LARGEST < size {
            return self.gives_up();
        }
        self.fill(FRONT + size + 1, input)?;
        if self.held.last() != Some(&FRAME_END) {
            return self.gives_up();
        }
        let bytes = std::mem::take(&mut self.held);
        Some(Part::Frame(Frame { bytes }))
    }

    fn gives_up(&mut self) -> Option<Part> {
        self.garbled = true;
        Some(Part::Garbled(std::mem::take(&mut self.held)))
    }

    fn fill(&mut self, count: usize, input: &mut &[u8]) -> Option<()> {
        let missing = count.saturating_sub(self.held.len());
        let (more, after) = input.split_at(missing.min(input.len()));
        self.held.extend_from_slice(more);
        *input = after;
        (count <= self.held.len()).then_some(())
    }
}

/// The methods that the proxy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// `connection.open-ok`: from here on it may be used.
    ConnectionOpened,
    /// `connection.close`
    ConnectionClose(u16, String),
    /// `connection.close-ok`
    ConnectionClosed,
    /// `connection.blocked` with its reason
    Blocked(String),
    /// `connection.unblocked`
    Unblocked,
    /// `channel.open`
    ChannelOpen,
    /// `channel.close`
    ChannelClose(u16, String),
    /// `channel.close-ok`
    ChannelClosed,
    /// `confirm.select`
    ConfirmSelect,
    /// `basic.publish` with its routing key
    Publish(String),
    /// `basic.return`
    Return {
        /// Why.
        code: u16,
        /// Why, in words.
        text: String,
        /// As it was published.
        routing_key: String,
    },
    /// `basic.ack`
    Ack {
        /// Delivery tag.
        tag: u64,
        /// Whether it stands for all tags before it too.
        multiple: bool,
    },
    /// `basic.nack`
    Nack {
        /// Delivery tag.
        tag: u64,
        /// Whether it stands for all tags before it too.
        multiple: bool,
    },
    /// `basic.deliver` or `basic.get-ok`: a content follows that the proxy does not look at.
    Delivery,
}

impl Method {
    fn read(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(match (fields.short()?, fields.short()?) {
            (10, 41) => Self::ConnectionOpened,
            (10, 50) => Self::ConnectionClose(fields.short()?, fields.text()?),
            (10, 51) => Self::ConnectionClosed,
            (10, 60) => Self::Blocked(fields.text()?),
            (10, 61) => Self::Unblocked,
            (20, 10) => Self::ChannelOpen,
            (20, 40) => Self::ChannelClose(fields.short()?, fields.text()?),
            (20, 41) => Self::ChannelClosed,
            (85, 10) => Self::ConfirmSelect,
            (60, 40) => {
                let _ticket = fields.short()?;
                let _exchange = fields.text()?;
                Self::Publish(fields.text()?)
            }
            (60, 50) => {
                let (code, text) = (fields.short()?, fields.text()?);
                let _exchange = fields.text()?;
                Self::Return {
                    code,
                    text,
                    routing_key: fields.text()?,
                }
            }
            (60, 60 | 71) => Self::Delivery,
            (60, 80) => Self::Ack {
                tag: fields.long()?,
                multiple: fields.bits()? & 1 == 1,
            },
            (60, 120) => Self::Nack {
                tag: fields.long()?,
                multiple: fields.bits()? & 1 == 1,
            },
            _ => return None,
        })
    }
}

/// What the proxy wants of a content's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes of body that follow.
    pub body_size: u64,
    /// The property `message-id`.
    pub message_id: Option<String>,
}

impl Header {
    fn read(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let (_class, _weight) = (fields.short()?, fields.short()?);
        let body_size = fields.long()?;
        let flags = fields.short()?;
        let mut more = flags;
        // The lowest bit says that another word of flags follows.
        while more & 1 == 1 {
            more = fields.short()?;
        }
        let has = |bit: u16| flags & (1 << bit) != 0;
        // What stands before message-id, from content-type to expiration.
        for bit in (8..16).rev().filter(|bit| has(*bit)) {
            match bit {
                13 => fields.skip_table()?,
                // delivery-mode, priority
                12 | 11 => drop(fields.bits()?),
                _ => drop(fields.text()?),
            }
        }
        Some(Self {
            body_size,
            message_id: if has(7) { Some(fields.text()?) } else { None },
        })
    }
}

/// Reads fields from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn bits(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().unwrap()))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.bits()?);
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn skip_table(&mut self) -> Option<()> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().unwrap());
        self.take(length as usize).map(drop)
    }
}

fn with_text(class: u16, method: u16, code: Option<u16>, text: &str) -> Vec<u8> {
    let mut payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
    }
    payload.push(u8::try_from(text.len()).unwrap());
    payload.extend_from_slice(text.as_bytes());
    payload
}

/// `connection.blocked`
pub fn blocked(reason: &str) -> Frame {
    Frame::new(METHOD, 0, &with_text(10, 60, None, reason))
}

/// `connection.unblocked`
pub fn unblocked() -> Frame {
    Frame::new(METHOD, 0, &[0, 10, 0, 61])
}

/// `connection.close`
pub fn connection_close(code: u16, text: &str) -> Frame {
    let mut payload = with_text(10, 50, Some(code), text);
    // Not caused by a method.
    payload.extend_from_slice(&[0; 4]);
    Frame::new(METHOD, 0, &payload)
}

#[cfg(test)]
mod tests;
