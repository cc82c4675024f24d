//! Reading keys as people paste them: PEM, bare base64, hex.
//!
//! Lenient in layout (indentation, line ends), strict in content. No error repeats any part of
//! what was given: it may be a secret pasted into the wrong place.

use base64::Engine as _;
use ed25519_dalek::pkcs8::PrivateKeyInfoRef;
use ed25519_dalek::pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::BASE64;

/// A key that cannot be used: what is wrong with it, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; accepted: {accepted}")]
pub struct KeyError {
    problem: KeyProblem,
    accepted: &'static str,
}

impl KeyError {
    pub(super) fn new(problem: KeyProblem, accepted: &'static str) -> Self {
        Self { problem, accepted }
    }

    /// What is wrong, without the advice.
    pub fn problem(&self) -> &KeyProblem {
        &self.problem
    }
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Nothing but whitespace.
    #[error("the key is empty")]
    Empty,
    /// A private key where the public one belongs.
    #[error("this is a private key where the public key belongs; treat it as disclosed")]
    Private,
    /// PEM with another label, a missing end, or text around it.
    #[error("not a single PEM block labelled {0}")]
    Label(&'static str),
    /// Neither PEM nor hex nor standard base64.
    #[error("neither PEM, base64 nor hex of the right length")]
    Encoding,
    /// Decoded, but of this many bytes, which no accepted form has.
    #[error("decodes to {0} bytes, which is no key in an accepted form")]
    Form(usize),
    /// A key of another algorithm.
    #[error("a key of another algorithm than {0}")]
    Algorithm(&'static str),
    /// 32 bytes that do not name a point of the curve in its one canonical spelling.
    #[error("not a point of the Ed25519 curve")]
    NotAPoint,
    /// A point of small order: signatures under it can be made without a private key.
    #[error("a weak key (small order), under which anyone can sign")]
    Weak,
    /// An RSA modulus of this many bits.
    #[error("an RSA modulus of {0} bits")]
    ModulusBits(usize),
    /// An RSA exponent that is even, below 3 or above 33 bits.
    #[error("an unusable RSA exponent")]
    Exponent,
}

/// The bytes of a DER document given as PEM with `label` or as bare base64.
pub(super) fn der_bytes(text: &str, label: &'static str) -> Result<Vec<u8>, KeyProblem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(KeyProblem::Empty);
    }
    if !text.starts_with("-----") {
        return BASE64.decode(text).map_err(|_| KeyProblem::Encoding);
    }
    let block = text
        .strip_prefix(&format!("-----BEGIN {label}-----"))
        .and_then(|rest| rest.strip_suffix(&format!("-----END {label}-----")))
        .ok_or(KeyProblem::Label(label))?;
    let bare: String = block.split_whitespace().collect();
    BASE64.decode(bare).map_err(|_| KeyProblem::Encoding)
}

/// Whether `text` is a private key by its PEM label, whatever the kind.
pub(super) fn is_private_pem(text: &str) -> bool {
    text.contains("PRIVATE KEY")
}

/// The key bits of a SubjectPublicKeyInfo, if it is of the algorithm `oid`, called `name`.
pub(super) fn spki_bits<'d>(
    der: &'d [u8],
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<&'d [u8], KeyProblem> {
    if PrivateKeyInfoRef::try_from(der).is_ok() {
        return Err(KeyProblem::Private);
    }
    let info: SubjectPublicKeyInfoRef<'d> =
        SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyProblem::Form(der.len()))?;
    if info.algorithm.oid != oid {
        return Err(KeyProblem::Algorithm(name));
    }
    info.subject_public_key
        .as_bytes()
        .ok_or(KeyProblem::Form(der.len()))
}
