//! Reading who a body is from, what kind of event it is, and which event.
//!
//! [`identify`] is total: every sequence of bytes has an identity, and no body is an error. What
//! two JSON parsers could read differently is not read at all, so that no consumer ever sees another
//! event than the one that was stored and routed. Nothing here changes, keeps or judges the bytes.

use std::borrow::Cow;

use super::catalogue::{self, Kind};
use super::{BodyHash, EventKey, Tenant, UNKNOWN_TYPE, is_plain_id};

mod envelope;
#[cfg(test)]
mod tests;

use envelope::{Envelope, Field};

/// The deepest nesting of objects and arrays that is read; the JSON parser's own limit.
pub const MAX_DEPTH: usize = 127;

/// The longest name of an event type, in bytes, as GHL's own tools define it.
pub const MAX_TYPE_BYTES: usize = 200;

/// What could be read from a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// GHL's name for it, or [`UNKNOWN_TYPE`].
    pub event_type: String,
    /// The body's `webhookId`, or its hash.
    pub key: EventKey,
    /// Whether `key` is the hash because there is no usable `webhookId`.
    pub key_is_fallback: bool,
    /// The app it was sent to.
    pub app_id: Option<String>,
    /// Whose it is.
    pub tenant: Tenant,
    /// The contact, opportunity, … it is about; none for an app's own lifecycle.
    pub entity_id: Option<String>,
    /// Whether GHL says that it left data out (`payloadTooLarge`), so that the record has to be
    /// fetched.
    pub too_large: bool,
    /// Why nothing could be read, if so.
    pub unreadable: Option<Unreadable>,
}

/// Why a body cannot be read: it is outside I-JSON (RFC 7493), the part of JSON in which all
/// parsers agree, or holds no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// Not valid UTF-8.
    NotUtf8,
    /// Begins with a byte order mark.
    ByteOrderMark,
    /// Not JSON: cut short, text after the end, control characters, and the like.
    NotJson,
    /// JSON without an object: empty, a scalar, `null`, or an array without objects.
    NoObject,
    /// An object has two members of the same name.
    DuplicateName,
    /// A NUL, raw or escaped, which databases and C programs cannot hold in a string.
    Nul,
    /// Half of a surrogate pair, which is no character.
    LoneSurrogate,
    /// A number outside the range of an IEEE 754 double.
    NumberOutOfRange,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl Unreadable {
    /// Every reason, for registering metrics.
    pub const ALL: [Self; 9] = [
        Self::NotUtf8,
        Self::ByteOrderMark,
        Self::NotJson,
        Self::NoObject,
        Self::DuplicateName,
        Self::Nul,
        Self::LoneSurrogate,
        Self::NumberOutOfRange,
        Self::TooDeep,
    ];

    /// The name used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::ByteOrderMark => "byte_order_mark",
            Self::NotJson => "not_json",
            Self::NoObject => "no_object",
            Self::DuplicateName => "duplicate_name",
            Self::Nul => "nul",
            Self::LoneSurrogate => "lone_surrogate",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::TooDeep => "too_deep",
        }
    }
}

/// Identifies `body`, whose hash is `body_hash` and whose URL ended in the event name `url_name`.
///
/// The URL's name stands in only where the body names no type itself, and only for kinds whose bodies
/// carry none. Whatever is missing or unusable is left out; a body that is unreadable has its hash and nothing else.
pub fn identify(body: &[u8], body_hash: &BodyHash, url_name: Option<&str>) -> Identity {
    match Envelope::read(body) {
        Ok(envelope) => from_envelope(&envelope, body_hash, url_name),
        Err(reason) => Identity {
            event_type: UNKNOWN_TYPE.to_owned(),
            key: EventKey::from_body(body_hash),
            key_is_fallback: true,
            app_id: None,
            tenant: Tenant::default(),
            entity_id: None,
            too_large: false,
            unreadable: Some(reason),
        },
    }
}

fn from_envelope(envelope: &Envelope<'_>, hash: &BodyHash, url_name: Option<&str>) -> Identity {
    let name = type_name(envelope, url_name);
    let kind = name.as_deref().and_then(catalogue::find);
    let event_type = match (kind, name) {
        (Some(kind), _) => kind.event_type.to_owned(),
        (None, Some(name)) => name.into_owned(),
        (None, None) => UNKNOWN_TYPE.to_owned(),
    };
    let id = envelope.get(Field::WebhookId).and_then(EventKey::from_id);
    Identity {
        event_type,
        key_is_fallback: id.is_none(),
        key: id.unwrap_or_else(|| EventKey::from_body(hash)),
        app_id: usable_id(envelope, Field::AppId),
        tenant: tenant(envelope, kind),
        entity_id: entity(envelope, kind),
        too_large: envelope.too_large(),
        unreadable: None,
    }
}

/// The body's `type`, else what its other fields give away, else the URL's name.
fn type_name<'a>(envelope: &'a Envelope<'_>, url_name: Option<&'a str>) -> Option<Cow<'a, str>> {
    let in_url = || url_name.filter(|name| may_be_named_by_url(name));
    let name = match envelope.get(Field::Type) {
        Some(name) if names_an_event(name) => Some(name),
        Some("SMS" | "Email") if envelope.get(Field::MessageId).is_some() => {
            Some(catalogue::PROVIDER_MESSAGE)
        }
        Some("one_time" | "recurring") => in_url()
            .filter(|name| catalogue::find(name).is_some_and(|kind| kind.family == "price"))
            .or(Some(catalogue::PRICE)),
        _ => in_url(),
    };
    name.map(Cow::Borrowed)
}

/// Whether the URL may say that a body is of this type. GHL does not sign the URL: whoever holds a signed body without a
/// `type` could post it again as an `UNINSTALL`, or as one of the types that only answers have (`contact.snapshot`). So the
/// URL names kinds whose bodies cannot, and those that nobody knows yet.
fn may_be_named_by_url(name: &str) -> bool {
    names_an_event(name)
        && match catalogue::find(name) {
            Some(kind) => kind.lacks_type(),
            None => !name.contains('.'),
        }
}

/// Whether `name` has the form GHL's tools require of event names, and is not one of the values
/// that price and conversation-provider bodies put into `type` for another purpose.
fn names_an_event(name: &str) -> bool {
    let well_formed = name.len() <= MAX_TYPE_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
    well_formed && !matches!(name, "one_time" | "recurring" | "SMS" | "Email")
}

fn tenant(envelope: &Envelope<'_>, kind: Option<&Kind>) -> Tenant {
    let alternative = || {
        let says_location = envelope
            .get(Field::AltType)
            .is_some_and(|alt| alt.eq_ignore_ascii_case("location"));
        says_location.then(|| usable_id(envelope, Field::AltId))?
    };
    // In the bodies about a location, the location is the entity.
    let itself = || {
        let is_location = kind.is_some_and(|kind| kind.tenant_field == "id");
        is_location.then(|| usable_id(envelope, Field::Id))?
    };
    Tenant {
        company_id: usable_id(envelope, Field::CompanyId),
        location_id: usable_id(envelope, Field::LocationId)
            .or_else(alternative)
            .or_else(itself),
    }
}

fn entity(envelope: &Envelope<'_>, kind: Option<&Kind>) -> Option<String> {
    const USUAL: [Field; 8] = [
        Field::Id,
        Field::UnderscoreId,
        Field::Appointment,
        Field::MessageId,
        Field::EmailMessageId,
        Field::TicketId,
        Field::PlanId,
        Field::WebhookPayload,
    ];
    let named = kind.map(|kind| kind.entity_field);
    if named == Some("") {
        return None;
    }
    let named = named.and_then(Field::of_entity);
    named
        .into_iter()
        .chain(USUAL)
        .find_map(|field| usable_id(envelope, field))
}

fn usable_id(envelope: &Envelope<'_>, field: Field) -> Option<String> {
    let id = envelope.get(field)?;
    is_plain_id(id).then(|| id.to_owned())
}
