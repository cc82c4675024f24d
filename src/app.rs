//! Assembly: from a configuration to parts, from parts to tasks, and their end in the right order.
//!
//! No business rules. The one clock is made here and handed down.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::follow_up::tokens::missing_key;
use crate::key_file::{self, KeyFile};
use crate::store::{self, Migrated, Store};
use crate::supervisor::Exit;
use crate::{ghl, http};

use parts::Parts;
use tasks::Listeners;

mod calls;
mod parts;
mod stores;
mod tasks;

pub use stores::{open_file_alone, open_store, open_store_beside};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be opened, or must not be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The keys that seal tokens cannot be had.
    #[error("the keys that seal tokens cannot be used (ghl.token_keys_file)")]
    Keys(#[from] key_file::Error),
    /// Stored tokens do not open.
    #[error(
        "stored tokens are sealed with the key {key}, which is not in {path} (ghl.token_keys_file): put its line back; \
         without it every app has to be authorised again"
    )]
    KeyMissing {
        /// The key's name.
        key: String,
        /// The file.
        path: String,
    },
    /// The way to the API cannot be made.
    #[error(transparent)]
    Client(#[from] ghl::Error),
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The key it comes from.
        key: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the daemon until `shutdown`.
///
/// # Errors
/// When it cannot start. Once it runs, [`Exit`] says how it ended.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<Exit, Error> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let (store, migrated) = open_store(&config.store).await?;
    tell(&migrated);
    let keys = match &config.calls {
        Some(settings) => Some(open_keys(&settings.key_file, store.as_ref()).await?),
        None => None,
    };
    let listeners = Listeners {
        public: listen(config.http.listen, "http.listen").await?,
        admin: listen(config.admin.listen, "admin.listen").await?,
    };
    let parts = Parts::new(config, Arc::clone(&store), keys)?;
    let exit = tasks::start(parts, listeners, shutdown).run().await;
    store.close().await;
    Ok(exit)
}

/// Says what was done to the schema, and where it is newer than this binary.
fn tell(Migrated { ran, schema }: &Migrated) {
    if *ran > 0 {
        tracing::info!(
            migrations = ran,
            "the store's schema was brought up to date"
        );
    }
    if schema.is_newer() {
        tracing::warn!(
            schema = schema.version,
            known = schema.known,
            "the store's schema is newer than this hookwell's, and lets it run"
        );
    }
}

/// The keys that seal tokens, with one for each that is stored.
async fn open_keys(path: &Path, store: &dyn Store) -> Result<Arc<KeyFile>, Error> {
    let keys = KeyFile::open(path.to_owned())?;
    match missing_key(store, &keys).await? {
        None => Ok(Arc::new(keys)),
        Some(key) => Err(Error::KeyMissing {
            key,
            path: path.display().to_string(),
        }),
    }
}

async fn listen(address: std::net::SocketAddr, key: &'static str) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen {
        address,
        key,
        source,
    };
    let listener = http::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(listener = key, address = %bound, "listening");
    Ok(listener)
}
