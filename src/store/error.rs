//! Why a store did not do what was asked.

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or answered with an error; the outcome of a write is not known.
    #[error("the store is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// No answer within the deadline; the outcome of a write is not known.
    #[error("the store gave no answer within {0:?}")]
    Deadline(std::time::Duration),
    /// Its settings would let it lose what it acknowledged.
    #[error("the store cannot keep what it acknowledges: {0}")]
    NotDurable(String),
    /// A pooler before it lends its sessions by the transaction.
    #[error(
        "store.url leads to a connection pooler that lends sessions of Postgres by the transaction. The readers of the log \
         hold locks of their sessions, which would be anybody's there: lead store.url straight to Postgres, or to a pool \
         with pool_mode = session and room for 8 sessions a daemon"
    )]
    SharedSessions,
    /// Another process holds it.
    #[error("{0}")]
    InUse(String),
    /// The disk has no room for what was asked.
    #[error("{0}")]
    NoRoom(String),
    /// Its schema is not one that this binary may run on.
    #[error("{0}")]
    Schema(String),
    /// A migration failed.
    #[error("migrating the store failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A file beside the database could not be used.
    #[error("cannot use {path}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A stored value makes no sense.
    #[error("the store holds an unusable value in {0}")]
    Corrupt(&'static str),
}

impl Error {
    /// Whether there was not enough time for what was asked: less of it may come through.
    pub fn is_deadline(&self) -> bool {
        const QUERY_CANCELED: &str = "57014";
        match self {
            Self::Deadline(_) => true,
            Self::Unavailable(sqlx::Error::Database(error)) => {
                error.code().as_deref() == Some(QUERY_CANCELED)
            }
            _ => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}
