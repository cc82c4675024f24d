//! Whether HighLevel signed a request: the only gate between the internet and the log.
//!
//! Its invariant: a [`Verified`] body is, byte for byte, what one of the configured keys signed.
//! It never parses or re-serialises a body, never falls back from a failed check to another
//! algorithm, never judges by age, and without a key there is no [`Verifier`] at all.
//!
//! Facts about the sender (algorithms, headers, keys) are from HighLevel's Webhook Integration
//! Guide, <https://marketplace.gohighlevel.com/docs/webhook/WebhookIntegrationGuide>. One key pair
//! signs for all apps: a valid signature proves the sender, not the addressee, so the caller still
//! compares the `appId` in the body.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::Signature;

mod ed25519;
mod key;
mod rsa;
#[cfg(test)]
mod tests;

pub use ed25519::{GHL_ED25519_KEY, PublicKey, SigningKey};
pub use key::{KeyError, KeyProblem};
pub use rsa::{GHL_RSA_KEY, RsaPublicKey};

/// The header that carries the Ed25519 signature, in base64.
pub const GHL_HEADER: &str = "x-ghl-signature";

/// The header that carried the RSA signature until 2026-09-01, in base64.
pub const LEGACY_HEADER: &str = "x-wh-signature";

/// What stands in a signature header, by HighLevel's own samples, when there is no signature.
const NOT_APPLICABLE: &[u8] = b"N/A";

/// The standard alphabet; padding may be left out, stray trailing bits may not be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// All values of the two signature headers of one request, as raw bytes.
///
/// All of them and not the first: a request with two is refused, because a proxy in between may
/// have judged the other one.
#[derive(Clone, Copy, Default)]
pub struct SignatureHeaders<'a> {
    /// The values of `X-GHL-Signature`, surrounding whitespace already trimmed by the HTTP layer.
    pub ghl: &'a [&'a [u8]],
    /// The values of `X-WH-Signature`, likewise.
    pub legacy: &'a [&'a [u8]],
}

/// A body whose signature was checked. Only [`Verifier::verify`] makes one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verified<'a> {
    body: &'a [u8],
}

impl<'a> Verified<'a> {
    /// The bytes that were signed, unchanged.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

impl fmt::Debug for Verified<'_> {
    /// The size only: bodies hold people's data and stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Why a request is not taken for HighLevel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reject {
    /// No signature header, or only empty ones.
    Missing,
    /// The literal `N/A` where a signature belongs.
    NotApplicable,
    /// The deciding header came more than once.
    Repeated,
    /// Not standard base64, or not the length of a signature.
    Malformed,
    /// A signature, but not of these bytes by any configured key.
    Wrong,
    /// Only the legacy RSA header came, and no legacy key is configured.
    LegacyOff,
}

impl Reject {
    /// Every reason, for metrics that are present from the start.
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::NotApplicable,
        Self::Repeated,
        Self::Malformed,
        Self::Wrong,
        Self::LegacyOff,
    ];
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no signature header",
            Self::NotApplicable => "the signature header says N/A",
            Self::Repeated => "more than one signature in the header",
            Self::Malformed => "the signature is not base64 of the right length",
            Self::Wrong => "no configured key signed this body",
            Self::LegacyOff => "only the legacy RSA signature came, and legacy checking is off",
        })
    }
}

impl std::error::Error for Reject {}

/// No Ed25519 key was given, so nothing could ever be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no public key to verify webhooks with")]
pub struct NoKeys;

/// The keys in force. Replace the whole value to rotate keys.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    legacy_rsa: Option<RsaPublicKey>,
}

impl Verifier {
    /// A verifier for any of `keys`, and for the legacy header if `legacy_rsa` is given.
    ///
    /// Several keys are for the overlap of a rotation: no key id travels in a request.
    ///
    /// # Errors
    ///
    /// [`NoKeys`] when `keys` is empty, even with a legacy key.
    pub fn new(keys: Vec<PublicKey>, legacy_rsa: Option<RsaPublicKey>) -> Result<Self, NoKeys> {
        if keys.is_empty() {
            return Err(NoKeys);
        }
        Ok(Self { keys, legacy_rsa })
    }

    /// Whether what GHL signs with its published key is accepted.
    pub fn accepts_ghl(&self) -> bool {
        let ghl = GHL_ED25519_KEY.parse::<PublicKey>();
        ghl.is_ok_and(|ghl| self.keys.contains(&ghl))
    }

    /// How many Ed25519 keys are accepted.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Checks `body`, the raw bytes of the request, against its headers.
    ///
    /// A signature in `X-GHL-Signature` decides alone; the legacy header is looked at only when
    /// there is none, so stripping or spoiling the new header gains an attacker nothing while no
    /// legacy key is configured.
    ///
    /// # Errors
    ///
    /// [`Reject`] says why; every reason means the same answer to the sender.
    pub fn verify<'a>(
        &self,
        body: &'a [u8],
        headers: &SignatureHeaders<'_>,
    ) -> Result<Verified<'a>, Reject> {
        let absence = match single(headers.ghl) {
            Ok(signature) => return self.verify_ed25519(body, signature),
            Err(Reject::Repeated) => return Err(Reject::Repeated),
            Err(absence) => absence,
        };
        match (single(headers.legacy), &self.legacy_rsa) {
            (Ok(signature), Some(key)) => verify_rsa(key, body, signature),
            (Ok(_) | Err(Reject::Repeated), None) => Err(Reject::LegacyOff),
            (Err(Reject::Missing), _) => Err(absence),
            (Err(other), _) => Err(other),
        }
    }

    fn verify_ed25519<'a>(&self, body: &'a [u8], header: &[u8]) -> Result<Verified<'a>, Reject> {
        let mut room = [0; Signature::BYTE_SIZE + SPARE];
        let bytes = decode(header, Signature::BYTE_SIZE, &mut room)?;
        let signature = Signature::from_slice(bytes).map_err(|_| Reject::Malformed)?;
        if self.keys.iter().any(|key| key.signed(body, &signature)) {
            Ok(Verified { body })
        } else {
            Err(Reject::Wrong)
        }
    }
}

fn verify_rsa<'a>(
    key: &RsaPublicKey,
    body: &'a [u8],
    header: &[u8],
) -> Result<Verified<'a>, Reject> {
    let mut room = [0; RsaPublicKey::SIGNATURE_MAX_BYTES + SPARE];
    let bytes = decode(header, key.signature_bytes(), &mut room)?;
    if key.signed(body, bytes) {
        Ok(Verified { body })
    } else {
        Err(Reject::Wrong)
    }
}

/// The one signature among a header's values, or in what way there is none.
fn single<'h>(values: &[&'h [u8]]) -> Result<&'h [u8], Reject> {
    match *values {
        [] | [b""] => Err(Reject::Missing),
        [NOT_APPLICABLE] => Err(Reject::NotApplicable),
        [signature] => Ok(signature),
        _ => Err(Reject::Repeated),
    }
}

/// The decoder works in groups of three bytes and wants room for the last one in full.
const SPARE: usize = 2;

/// Decodes exactly `expected` bytes into `room`, which lives on the stack.
fn decode<'r>(text: &[u8], expected: usize, room: &'r mut [u8]) -> Result<&'r [u8], Reject> {
    // The length goes first: it bounds the work, and it refuses padding that is half there.
    let fits = [true, false].map(|padded| base64::encoded_len(expected, padded));
    if !fits.contains(&Some(text.len())) {
        return Err(Reject::Malformed);
    }
    match BASE64.decode_slice(text, room) {
        Ok(length) if length == expected => Ok(&room[..expected]),
        _ => Err(Reject::Malformed),
    }
}
