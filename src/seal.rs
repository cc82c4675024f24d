//! Secrets at rest: sealed with a key that the store does not know, opened only where they were put.
//!
//! AES-256-GCM with a random nonce for each sealing. The column, the app and the tenant are authenticated
//! with the text, so that a sealed value which somebody moves to another row or column does not open. Values:
//! nonces and the text of the key file are handed in, nothing here reads a file or makes chance.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// The form of sealed values; the first byte of each.
const FORM: u8 = 1;
/// The longest name of a key.
const NAME_BYTES: usize = 32;
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Chance for one sealing. At 2^32 sealings under one key a repetition is still less likely than 2^-32.
pub type SealingNonce = [u8; NONCE_LEN];

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Table and column, such as `tokens.access_token`.
    pub column: &'static str,
    /// The app of the row.
    pub app_id: &'a str,
    /// The tenant of the row.
    pub tenant: &'a str,
}

impl Place<'_> {
    /// Each part with its length before it, so that no two places look alike.
    fn authenticated(&self, key: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [self.column, self.app_id, self.tenant, key] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

/// Why a value could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was sealed under a key that is not there.
    #[error("it is sealed under the key {0:?}, which is not in the key file")]
    UnknownKey(String),
    /// It is not what was sealed, or not where it was put.
    #[error("it does not open: it was changed, cut off, or put elsewhere")]
    Damaged,
    /// The key file holds no key.
    #[error("the key file holds no key")]
    NoKey,
}

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// A line is not a name and a key.
    #[error("line {0} is not a name (letters, digits, - and _, at most 32) and 32 bytes in base64")]
    Line(usize),
    /// A name is there twice.
    #[error("the key {0:?} is there twice")]
    Twice(String),
    /// There is no key.
    #[error("it holds no key; `hookwell keys rotate` makes one")]
    Empty,
}

/// The keys of a key file: the first one seals, every one opens.
pub struct Keyring {
    keys: Vec<(String, LessSafeKey)>,
}

impl Keyring {
    /// Reads a key file: a line for each key, its name and 32 bytes in base64. Empty lines and those
    /// that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is not right. No message repeats what stands there.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut keys: Vec<(String, LessSafeKey)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || KeyFileError::Line(number);
            let (name, key) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
            if !is_name(name) {
                return Err(wrong());
            }
            if keys.iter().any(|(known, _)| known == name) {
                return Err(KeyFileError::Twice(name.to_owned()));
            }
            let bytes = Zeroizing::new(STANDARD.decode(key.trim()).map_err(|_| wrong())?);
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong())?;
            keys.push((name.to_owned(), LessSafeKey::new(key)));
        }
        match keys.is_empty() {
            true => Err(KeyFileError::Empty),
            false => Ok(Self { keys }),
        }
    }

    /// A line of a key file.
    pub fn line(name: &str, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
        Zeroizing::new(format!("{name} {}\n", STANDARD.encode(key)))
    }

    /// Whether there is a key of this name.
    pub fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|(known, _)| known == name)
    }

    /// The name of the key that seals.
    pub fn current(&self) -> &str {
        self.keys.first().map_or("", |(name, _)| name)
    }

    /// Seals a text for a place.
    ///
    /// # Errors
    /// [`Error::NoKey`].
    pub fn seal(
        &self,
        place: &Place<'_>,
        text: &str,
        nonce: SealingNonce,
    ) -> Result<Vec<u8>, Error> {
        let (name, key) = self.keys.first().ok_or(Error::NoKey)?;
        let mut sealed = prefix_of(name);
        sealed.extend_from_slice(&nonce);
        let mut text = text.as_bytes().to_vec();
        let aad = Aad::from(place.authenticated(name));
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, aad, &mut text)
            .map_err(|_| Error::Damaged)?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], or [`Error::Damaged`].
    pub fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<SecretString, Error> {
        let name = key_of(sealed).ok_or(Error::Damaged)?;
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| Error::UnknownKey(name.to_owned()))?;
        let rest = sealed.get(2 + name.len()..).ok_or(Error::Damaged)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(Error::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Damaged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(place.authenticated(name));
        let opened = key.open_in_place(nonce, aad, &mut text);
        let opened = opened.map_err(|_| Error::Damaged)?;
        let opened = std::str::from_utf8(opened).map_err(|_| Error::Damaged)?;
        Ok(SecretString::from(opened))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.keys.iter().map(|(name, _)| name).collect();
        f.debug_struct("Keyring").field("names", &names).finish()
    }
}

/// What every value that is sealed under a key begins with.
pub fn prefix_of(key: &str) -> Vec<u8> {
    let mut prefix = vec![FORM, u8::try_from(key.len()).unwrap_or(0)];
    prefix.extend_from_slice(key.as_bytes());
    prefix
}

/// The name of the key that a value is sealed under; `None` for what was not sealed here.
pub fn key_of(sealed: &[u8]) -> Option<&str> {
    let (&form, rest) = sealed.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let name = rest.get(..usize::from(length))?;
    let name = std::str::from_utf8(name).ok()?;
    (form == FORM && is_name(name)).then_some(name)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use secrecy::ExposeSecret;

    const PLACE: Place<'static> = Place {
        column: "tokens.access_token",
        app_id: "app",
        tenant: "location",
    };

    fn keyring(names: &[(&str, u8)]) -> Keyring {
        let text: String = names
            .iter()
            .map(|(name, byte)| Keyring::line(name, &[*byte; KEY_BYTES]).to_string())
            .collect();
        Keyring::parse(&text).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_and_nowhere_else() {
        let keys = keyring(&[("k1", 7)]);
        let sealed = keys.seal(&PLACE, "a token", [1; 12]).unwrap();
        assert_eq!(key_of(&sealed), Some("k1"));
        assert!(!sealed.windows(7).any(|part| part == b"a token"));
        assert_eq!(
            keys.open(&PLACE, &sealed).unwrap().expose_secret(),
            "a token"
        );
        for elsewhere in [
            Place {
                column: "tokens.refresh_token",
                ..PLACE
            },
            Place {
                app_id: "other",
                ..PLACE
            },
            Place {
                tenant: "other",
                ..PLACE
            },
            // The same letters, cut at another place.
            Place {
                app_id: "appl",
                tenant: "ocation",
                ..PLACE
            },
        ] {
            assert_eq!(keys.open(&elsewhere, &sealed).unwrap_err(), Error::Damaged);
        }
    }

    /// Far more than a daemon seals in its life; under one key they may not repeat (S-17).
    #[test]
    fn a_million_nonces_do_not_repeat() {
        const SEALED: usize = 1_000_000;
        let ring = keyring(&[("k1", 1)]);
        let chance = crate::chance::system();
        let start = prefix_of("k1").len();
        let mut nonces = std::collections::HashSet::with_capacity(SEALED);
        for _ in 0..SEALED {
            let nonce = crate::chance::bytes(&chance);
            let sealed = ring.seal(&PLACE, "", nonce).unwrap();
            nonces.insert(<SealingNonce>::try_from(&sealed[start..start + NONCE_LEN]).unwrap());
        }
        assert_eq!(nonces.len(), SEALED);
    }

    #[test]
    fn no_single_changed_byte_and_no_cut_opens() {
        let keys = keyring(&[("k1", 7)]);
        let sealed = keys.seal(&PLACE, "a token", [1; 12]).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open(&PLACE, &changed).is_err(), "byte {at}");
            assert!(keys.open(&PLACE, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let (old, both) = (keyring(&[("k1", 7)]), keyring(&[("k2", 8), ("k1", 7)]));
        let sealed = old.seal(&PLACE, "a token", [1; 12]).unwrap();
        assert_eq!(
            both.open(&PLACE, &sealed).unwrap().expose_secret(),
            "a token"
        );
        let again = both.seal(&PLACE, "a token", [2; 12]).unwrap();
        assert_eq!(key_of(&again), Some("k2"));
        let unknown = Error::UnknownKey("k2".to_owned());
        assert_eq!(old.open(&PLACE, &again).unwrap_err(), unknown);
    }

    #[test]
    fn a_key_file_says_which_line_is_wrong_and_not_what_stands_there() {
        let good = Keyring::line("k1", &[7; KEY_BYTES]);
        let cases = [
            (String::new(), KeyFileError::Empty),
            ("# nothing\n\n".to_owned(), KeyFileError::Empty),
            (
                format!("# a key\n{}k2 secret", *good),
                KeyFileError::Line(3),
            ),
            (format!("{}k2", *good), KeyFileError::Line(2)),
            (
                format!("{}{}", *good, *good),
                KeyFileError::Twice("k1".to_owned()),
            ),
            (format!("k/1 {}", &good[3..]), KeyFileError::Line(1)),
        ];
        for (text, expected) in cases {
            let error = Keyring::parse(&text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(keyring(&[("k1", 7)]).current(), "k1");
        assert!(!format!("{:?}", keyring(&[("k1", 7)])).contains(&good[3..]));
    }
}
