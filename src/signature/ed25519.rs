//! Ed25519 keys: those that verify, and those that sign for development and tests.
//!
//! HighLevel signs with pure Ed25519 (RFC 8032, no prehash) over the raw body. Verification is
//! the strict kind: no key or commitment of small order, so no signature fits two bodies.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use ed25519_dalek::pkcs8::spki::ObjectIdentifier;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};

use super::BASE64;
use super::key::{KeyError, KeyProblem, der_bytes, is_private_pem, spki_bits};
use crate::failpoints;

/// HighLevel's published Ed25519 key for `X-GHL-Signature`, from the Webhook Integration Guide.
pub const GHL_ED25519_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=
-----END PUBLIC KEY-----
";

const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ACCEPTED_PUBLIC: &str = "an Ed25519 public key as PEM (PUBLIC KEY), as its DER in base64, \
                               as its 32 bytes in base64, or as 64 hex digits";
const ACCEPTED_PRIVATE: &str = "an Ed25519 private key as PKCS#8 PEM (PRIVATE KEY)";

/// An Ed25519 public key that is fit to verify with: canonical and not of small order.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(pub(super) VerifyingKey);

impl PublicKey {
    /// What a key is called in logs: the first 16 hex digits of its 32 bytes.
    pub fn id(&self) -> String {
        self.0.as_bytes()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub(super) fn signed(&self, body: &[u8], signature: &Signature) -> bool {
        if failpoints::mutant("mutant.M13") {
            return ed25519_dalek::Verifier::verify(&self.0, body, signature).is_ok();
        }
        // Strict: the plain check also accepts signatures made without any private key.
        self.0.verify_strict(body, signature).is_ok()
    }

    fn parse(text: &str) -> Result<Self, KeyProblem> {
        if is_private_pem(text) {
            return Err(KeyProblem::Private);
        }
        let raw = match hex_32(text.trim()) {
            Some(raw) => raw,
            None => {
                let bytes = der_bytes(text, "PUBLIC KEY")?;
                let pem = text.trim().starts_with("-----");
                let raw = match bytes.len() {
                    32 if !pem => bytes.as_slice(),
                    _ => spki_bits(&bytes, OID, "Ed25519")?,
                };
                raw.try_into().map_err(|_| KeyProblem::Form(raw.len()))?
            }
        };
        let key = VerifyingKey::from_bytes(&raw).map_err(|_| KeyProblem::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyProblem::Weak);
        }
        // One key, one spelling: decompression alone also takes coordinates above the modulus.
        if key.to_edwards().compress().to_bytes() != raw {
            return Err(KeyProblem::NotAPoint);
        }
        Ok(Self(key))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// Reads any of the four spellings that HighLevel's own SDK takes.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text).map_err(|problem| KeyError::new(problem, ACCEPTED_PUBLIC))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// A private key for development: to sign sample webhooks for a daemon that trusts its public
/// half. The daemon itself holds none.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that RFC 8032 derives from `seed`, 32 bytes of the caller's randomness.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Reads what [`Self::to_pkcs8_pem`] or `openssl genpkey -algorithm ed25519` wrote.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when it is anything else, never with the text itself.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        let refuse = |problem| KeyError::new(problem, ACCEPTED_PRIVATE);
        let label = "PRIVATE KEY";
        if !text.trim().is_empty() && !is_private_pem(text) {
            return Err(refuse(KeyProblem::Label(label)));
        }
        let der = der_bytes(text, label).map_err(refuse)?;
        ed25519_dalek::SigningKey::from_pkcs8_der(&der)
            .map(Self)
            .map_err(|_| refuse(KeyProblem::Form(der.len())))
    }

    /// The private key as PKCS#8 PEM.
    pub fn to_pkcs8_pem(&self) -> String {
        // Without the public half, because OpenSSL 3.0 does not read the form that includes it.
        let pair = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = pair
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a key of fixed size always encodes");
        String::clone(&pem)
    }

    /// The public half, as a verifier takes it.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The public half as PEM.
    pub fn public_key_pem(&self) -> String {
        self.0
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .expect("a key of fixed size always encodes")
    }

    /// What HighLevel would put into `X-GHL-Signature` for `body`: 88 characters of base64.
    pub fn sign_base64(&self, body: &[u8]) -> String {
        BASE64.encode(self.0.sign(body).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public_key().id())
    }
}

fn hex_32(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut raw = [0; 32];
    for (byte, pair) in raw.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(raw)
}
