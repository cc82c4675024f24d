//! The legacy scheme: RSASSA-PKCS1-v1_5 with SHA-256 over the raw body, in `X-WH-Signature`.
//!
//! HighLevel announced its end for 2026-09-01; it is here to replay old captures, behind a switch
//! that is off by default. It must not be reached by any request that carries the new header.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::ObjectIdentifier;
use ed25519_dalek::pkcs8::spki::der::asn1::UintRef;
use ed25519_dalek::pkcs8::spki::der::{self, Decode as _, Reader as _, SliceReader};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::key::{KeyError, KeyProblem, der_bytes, is_private_pem, spki_bits};

/// HighLevel's published RSA key for `X-WH-Signature` (4096 bits), from the same guide.
pub const GHL_RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAokvo/r9tVgcfZ5DysOSC
Frm602qYV0MaAiNnX9O8KxMbiyRKWeL9JpCpVpt4XHIcBOK4u3cLSqJGOLaPuXw6
dO0t6Q/ZVdAV5Phz+ZtzPL16iCGeK9po6D6JHBpbi989mmzMryUnQJezlYJ3DVfB
csedpinheNnyYeFXolrJvcsjDtfAeRx5ByHQmTnSdFUzuAnC9/GepgLT9SM4nCpv
uxmZMxrJt5Rw+VUaQ9B8JSvbMPpez4peKaJPZHBbU3OdeCVx5klVXXZQGNHOs8gF
3kvoV5rTnXV0IknLBXlcKKAQLZcY/Q9rG6Ifi9c+5vqlvHPCUJFT5XUGG5RKgOKU
J062fRtN+rLYZUV+BjafxQauvC8wSWeYja63VSUruvmNj8xkx2zE/Juc+yjLjTXp
IocmaiFeAO6fUtNjDeFVkhf5LNb59vECyrHD2SQIrhgXpO4Q3dVNA5rw576PwTzN
h/AMfHKIjE4xQA1SZuYJmNnmVZLIZBlQAF9Ntd03rfadZ+yDiOXCCs9FkHibELhC
HULgCsnuDJHcrGNd5/Ddm5hxGQ0ASitgHeMZ0kcIOwKDOzOU53lDza6/Y09T7sYJ
PQe7z0cvj7aE4B+Ax1ZoZGPzpJlZtGXCsu9aTEGEnKzmsFqwcSsnw3JB31IGKAyk
T1hhTiaCeIY/OwwwNUY2yvcCAwEAAQ==
-----END PUBLIC KEY-----
";

const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ACCEPTED: &str = "an RSA public key of 2048 to 8192 bits as PEM (PUBLIC KEY)";

/// An RSA public key of 2048 to 8192 bits.
#[derive(Clone)]
pub struct RsaPublicKey {
    /// The PKCS#1 form, which is what ring reads.
    pkcs1: Vec<u8>,
    modulus_bits: usize,
}

impl RsaPublicKey {
    const BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

    /// The longest signature of any accepted key, in bytes.
    pub(super) const SIGNATURE_MAX_BYTES: usize = 8192 / 8;

    /// The length of a signature by this key, in bytes.
    pub(super) fn signature_bytes(&self) -> usize {
        self.modulus_bits.div_ceil(8)
    }

    pub(super) fn signed(&self, body: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.pkcs1)
            .verify(body, signature)
            .is_ok()
    }

    fn parse(text: &str) -> Result<Self, KeyProblem> {
        if is_private_pem(text) {
            return Err(KeyProblem::Private);
        }
        let der = der_bytes(text, "PUBLIC KEY")?;
        let pkcs1 = spki_bits(&der, OID, "RSA")?;
        let (modulus, exponent) = numbers(pkcs1).ok_or(KeyProblem::Form(der.len()))?;
        let modulus_bits = bits(modulus);
        if !Self::BITS.contains(&modulus_bits) {
            return Err(KeyProblem::ModulusBits(modulus_bits));
        }
        // What ring would refuse at every request is refused here, once and by name.
        let exponent_odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
        if !exponent_odd || !(2..=33).contains(&bits(exponent)) {
            return Err(KeyProblem::Exponent);
        }
        Ok(Self {
            pkcs1: pkcs1.to_vec(),
            modulus_bits,
        })
    }
}

impl FromStr for RsaPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text).map_err(|problem| KeyError::new(problem, ACCEPTED))
    }
}

impl fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublicKey({} bits)", self.modulus_bits)
    }
}

/// Modulus and exponent, big-endian without leading zeros.
fn numbers(pkcs1: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(pkcs1).ok()?;
    let (modulus, exponent) = reader
        .sequence(|inner| der::Result::Ok((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .ok()?;
    reader.finish().ok()?;
    Some((modulus.as_bytes(), exponent.as_bytes()))
}

fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}
