//! The file with the keys that seal tokens, read again when a key is asked for that was not in it.
//!
//! `hookwell keys rotate` puts a new key in front while daemons run: they find it when they meet a value that is
//! sealed under it. What the keys do is [`crate::seal`]'s.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::seal::{self, KeyFileError, Keyring, Place};
use crate::telemetry::Chain;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is no key file.
    #[error("{path}: {problem}")]
    Wrong {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: KeyFileError,
    },
}

/// A key file and the keys that were last read from it.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    keys: RwLock<Arc<Keyring>>,
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else than keys.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let keys = read(&path)?;
        Ok(Self {
            path,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// The keys as they were last read.
    pub fn keys(&self) -> Arc<Keyring> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keys of the file as it is now, to seal with the newest of them: one that is dropped from it must seal nothing
    /// any more. Where the file cannot be read, those of before.
    pub fn newest(&self) -> Arc<Keyring> {
        if let Err(error) = self.read_again() {
            tracing::warn!(error = %Chain(&error), "the key file cannot be read again; its keys of before are used");
        }
        self.keys()
    }

    /// Opens what was sealed for this place, with a key that may have come into the file since.
    ///
    /// # Errors
    /// See [`Keyring::open`].
    pub fn open_sealed(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<SecretString, seal::Error> {
        match self.keys().open(place, sealed) {
            Err(unknown @ seal::Error::UnknownKey(_)) => {
                self.read_again().map_err(|_| unknown)?;
                self.keys().open(place, sealed)
            }
            other => other,
        }
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// As [`Self::open`]; the keys stay as they are then.
    pub fn read_again(&self) -> Result<(), Error> {
        let keys = Arc::new(read(&self.path)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

fn read(path: &std::path::Path) -> Result<Keyring, Error> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: name(),
        source,
    })?;
    let text = Zeroizing::new(text);
    Keyring::parse(&text).map_err(|problem| Error::Wrong {
        path: name(),
        problem,
    })
}

/// Whether a file can be read or changed by anybody, or changed by its group. Its group may read it: where root keeps
/// the file, that is how the daemon does.
pub(crate) fn is_open(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o027 != 0)
}
