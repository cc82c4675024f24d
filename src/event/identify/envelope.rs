//! One pass over a body: all of it is checked, a few fields are kept.
//!
//! Invariant: an [`Envelope`] exists only for a body in which every JSON parser reads the same
//! (I-JSON, RFC 7493). The pass builds no tree, borrows what it keeps, takes time in proportion to
//! the body (times a logarithm where an object has many members), and nests no deeper than the
//! parser's own limit.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Unreadable;

/// The fields that are kept, from the outermost object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Type,
    WebhookId,
    AppId,
    CompanyId,
    LocationId,
    AltId,
    AltType,
    Id,
    UnderscoreId,
    /// The `id` in the object `appointment`.
    Appointment,
    MessageId,
    EmailMessageId,
    TicketId,
    PlanId,
    /// The `id` in the object `webhookPayload`.
    WebhookPayload,
    NewConversationId,
    PayloadTooLarge,
}

impl Field {
    const COUNT: usize = Self::PayloadTooLarge as usize + 1;

    /// The field of the outermost object that `name` stands for.
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "webhookId" => Self::WebhookId,
            "appId" => Self::AppId,
            "companyId" => Self::CompanyId,
            "locationId" => Self::LocationId,
            "altId" => Self::AltId,
            "altType" => Self::AltType,
            "id" => Self::Id,
            "_id" => Self::UnderscoreId,
            "appointment" => Self::Appointment,
            "messageId" => Self::MessageId,
            "emailMessageId" => Self::EmailMessageId,
            "ticketId" => Self::TicketId,
            "planId" => Self::PlanId,
            "webhookPayload" => Self::WebhookPayload,
            "newConversationId" => Self::NewConversationId,
            "payloadTooLarge" => Self::PayloadTooLarge,
            _ => return None,
        })
    }

    /// The field that the catalogue calls `path`.
    pub(super) fn of_entity(path: &str) -> Option<Self> {
        Self::of(path.strip_suffix(".id").unwrap_or(path))
    }

    fn want(self) -> Want {
        match self {
            Self::Appointment | Self::WebhookPayload => Want::InnerId,
            Self::PayloadTooLarge => Want::Flag,
            _ => Want::Scalar,
        }
    }
}

/// What a readable body says about itself.
#[derive(Debug, Default)]
pub(super) struct Envelope<'de> {
    values: [Option<Cow<'de, str>>; Field::COUNT],
}

impl<'de> Envelope<'de> {
    /// Checks `body` from end to end and keeps its envelope.
    pub(super) fn read(body: &'de [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(body).map_err(|_| Unreadable::NotUtf8)?;
        if text.starts_with('\u{feff}') {
            return Err(Unreadable::ByteOrderMark);
        }
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        if body.iter().all(blank) {
            return Err(Unreadable::NoObject);
        }
        let mut pass = Pass::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let value = Value {
            pass: &mut pass,
            want: Want::Body,
        };
        let outcome = value.deserialize(&mut json).and_then(|_| json.end());
        match (outcome, pass.flaw) {
            (_, Some(flaw)) => Err(flaw),
            (Err(error), None) => Err(reason(&error, body)),
            (Ok(()), None) => pass.envelope.ok_or(Unreadable::NoObject),
        }
    }

    /// The text of a field; an integer's digits; nothing for `null`, other numbers and objects.
    pub(super) fn get(&self, field: Field) -> Option<&str> {
        self.values[field as usize].as_deref()
    }

    /// Whether GHL flagged the body as cut down.
    pub(super) fn too_large(&self) -> bool {
        self.get(Field::PayloadTooLarge) == Some("true")
    }
}

/// The parser tells its errors apart by text alone. The verdict does not hang on it: a text not
/// recognised here is `NotJson`, and the body is unreadable either way.
fn reason(error: &serde_json::Error, body: &[u8]) -> Unreadable {
    let text = error.to_string();
    let says = |start: &str| text.starts_with(start);
    if says("recursion limit exceeded") {
        Unreadable::TooDeep
    } else if says("number out of range") {
        Unreadable::NumberOutOfRange
    } else if says("lone leading surrogate") || says("unexpected end of hex escape") {
        Unreadable::LoneSurrogate
    } else if body.contains(&0) {
        Unreadable::Nul
    } else {
        Unreadable::NotJson
    }
}

/// What of a value is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// The envelope: the value's own or, if it is an array, that of the first object in it.
    Body,
    /// The envelope, if the value is an object.
    Envelope,
    /// The value, if it is a string or an integer.
    Scalar,
    /// `true`, also as a string.
    Flag,
    /// The object's `id`.
    InnerId,
    /// Nothing: it is only checked.
    Nothing,
}

impl Want {
    fn takes_text(self) -> bool {
        matches!(self, Self::Scalar | Self::Flag)
    }
}

/// What has been gathered so far.
#[derive(Debug, Default)]
struct Pass<'de> {
    envelope: Option<Envelope<'de>>,
    /// The flaw that made a visitor stop; the parser's error then only carries it out.
    flaw: Option<Unreadable>,
    /// The names met in the objects that are open, the innermost object's last.
    names: Vec<Cow<'de, str>>,
}

/// Up to so many members, comparing each new name with all before it beats sorting them.
const FEW: usize = 32;

impl<'de> Pass<'de> {
    fn stop<E: Error>(&mut self, flaw: Unreadable) -> E {
        self.flaw = Some(flaw);
        E::custom(flaw.as_str())
    }

    /// Takes note of a name in the object whose names begin at `start`.
    fn name<E: Error>(&mut self, start: usize, name: Cow<'de, str>) -> Result<(), E> {
        let others = &self.names[start..];
        if others.len() < FEW && others.contains(&name) {
            return Err(self.stop(Unreadable::DuplicateName));
        }
        self.names.push(name);
        Ok(())
    }

    /// Forgets the names of the object that ends, after a last look if there were many.
    fn close<E: Error>(&mut self, start: usize) -> Result<(), E> {
        let own = &mut self.names[start..];
        if FEW < own.len() {
            own.sort_unstable();
            if own.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(self.stop(Unreadable::DuplicateName));
            }
        }
        self.names.truncate(start);
        Ok(())
    }

    /// Strings that needed no unescaping cannot hold a NUL, since JSON forbids raw ones.
    fn unescaped<E: Error>(&mut self, text: &str) -> Result<(), E> {
        match text.as_bytes().contains(&0) {
            true => Err(self.stop(Unreadable::Nul)),
            false => Ok(()),
        }
    }
}

/// One value to be checked, of which the part that is wanted is returned.
struct Value<'p, 'de> {
    pass: &'p mut Pass<'de>,
    want: Want,
}

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        let kept = self.want == Want::Flag && value;
        Ok(kept.then_some(Cow::Borrowed("true")))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok((self.want == Want::Scalar).then(|| Cow::Owned(value.to_string())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok((self.want == Want::Scalar).then(|| Cow::Owned(value.to_string())))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.want.takes_text().then_some(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.pass.unescaped(text)?;
        Ok(self.want.takes_text().then(|| Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        loop {
            let looking = self.want == Want::Body && self.pass.envelope.is_none();
            let item = Value {
                pass: &mut *self.pass,
                want: if looking {
                    Want::Envelope
                } else {
                    Want::Nothing
                },
            };
            if items.next_element_seed(item)?.is_none() {
                return Ok(None);
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Self { pass, want } = self;
        let start = pass.names.len();
        let is_envelope = matches!(want, Want::Body | Want::Envelope);
        let mut envelope = is_envelope.then(Envelope::default);
        let mut inner_id = None;
        while let Some(name) = members.next_key_seed(Name { pass: &mut *pass })? {
            let field = is_envelope.then(|| Field::of(&name)).flatten();
            let is_inner_id = want == Want::InnerId && name == "id";
            pass.name(start, name)?;
            let value = members.next_value_seed(Value {
                pass: &mut *pass,
                want: match field {
                    Some(field) => field.want(),
                    None if is_inner_id => Want::Scalar,
                    None => Want::Nothing,
                },
            })?;
            if is_inner_id {
                inner_id = value;
            } else if let (Some(field), Some(envelope)) = (field, &mut envelope) {
                envelope.values[field as usize] = value;
            }
        }
        pass.close(start)?;
        if envelope.is_some() {
            pass.envelope = envelope;
        }
        Ok(inner_id)
    }
}

/// The name of a member.
struct Name<'p, 'de> {
    pass: &'p mut Pass<'de>,
}

impl<'de> DeserializeSeed<'de> for Name<'_, 'de> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, 'de> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        self.pass.unescaped(name)?;
        Ok(Cow::Owned(name.to_owned()))
    }
}
