//! The right to read the log on Postgres: an advisory lock, held by the very connection that moves the cursor.
//!
//! The server ends the session of a holder that says nothing for [`SILENCE`], and with it the lock goes: a daemon that
//! was stopped, or is cut off, cannot give it up itself, and the kernel of a stopped one goes on answering for it.
//! One that lives says something every [`TOUCH`], whatever its reader waits for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::Error;
use super::bounded;
use crate::failpoints;

/// The class of hookwell's advisory locks ("hkwl"); the second half says for what.
pub(super) const CLASS: i32 = 0x686b_776c;
/// Which reader a lock is for.
pub(super) const RELAY: i32 = 1;
pub(super) const PLANNER: i32 = 2;
/// Of whoever changes the log's partitions; it is held for one transaction.
pub(super) const PARTITIONS: i32 = 3;

/// A holder that is silent for so long has lost its lock.
const SILENCE: Duration = Duration::from_secs(3);
/// How often a holder says something while its reader has nothing to say.
const TOUCH: Duration = Duration::from_secs(1);

/// Takes a lock, and has the server end the session when it falls silent: between two statements, within a
/// transaction, or while it does not read what it asked for. A server that is too old for one of these settings
/// does without.
const TAKE: &str = "select pg_try_advisory_lock($1, $2) as held, pg_backend_pid() as backend, \
     (select count(set_config(name, $3, false)) from pg_settings where name in \
      ('idle_session_timeout', 'idle_in_transaction_session_timeout', 'tcp_user_timeout')) as bounded";

/// The session that holds a lock; none when it was lost.
type Session = Mutex<Option<PgConnection>>;

/// A connection that holds the lock of a reader.
pub(super) struct Locked {
    session: Arc<Session>,
    /// Ends with it.
    _touching: JoinSet<()>,
    pub(super) deadline: Duration,
}

impl Locked {
    /// Takes the lock, if nobody has it.
    pub(super) async fn lock(
        mut connection: PgConnection,
        reader: i32,
        deadline: Duration,
    ) -> Result<Option<Self>, Error> {
        let silence = match failpoints::mutant("mutant.M19") {
            true => Duration::ZERO,
            false => SILENCE,
        };
        let asked = async {
            let taken = sqlx::query(TAKE)
                .bind(CLASS)
                .bind(reader)
                .bind(format!("{}ms", silence.as_millis()))
                .fetch_one(&mut connection)
                .await?;
            Ok((taken.try_get("held")?, taken.try_get("backend")?))
        };
        // A server that fell silent must not hold up the reader for ever.
        let (held, backend): (bool, i32) = bounded(deadline, asked).await?;
        if !held && !failpoints::mutant("mutant.M12") {
            let closed = async { Ok(sqlx::Connection::close(connection).await?) };
            bounded(deadline, closed).await?;
            return Ok(None);
        }
        let session = Arc::new(Mutex::new(Some(connection)));
        let mut touching = JoinSet::new();
        touching.spawn(touch(Arc::downgrade(&session), backend));
        Ok(Some(Self {
            session,
            _touching: touching,
            deadline,
        }))
    }

    /// The session, for the reader's statements.
    pub(super) async fn session(&self) -> Result<MappedMutexGuard<'_, PgConnection>, Error> {
        let session = MutexGuard::try_map(self.session.lock().await, Option::as_mut);
        session.map_err(|_| {
            Error::InUse(
                "the session that held the lock of this reader is over; another daemon may read now"
                    .to_owned(),
            )
        })
    }
}

/// Keeps a session from falling silent as long as its reader is there, and gives it up where it is another one than
/// took the lock, or answers no more.
async fn touch(session: Weak<Session>, backend: i32) {
    loop {
        sleep(TOUCH).await;
        let Some(session) = session.upgrade() else {
            return;
        };
        // One that is in use is not silent.
        let Ok(mut session) = session.try_lock() else {
            continue;
        };
        let Some(connection) = session.as_mut() else {
            return;
        };
        let asked = sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(connection);
        if !matches!(timeout(SILENCE, asked).await, Ok(Ok(pid)) if pid == backend) {
            *session = None;
            return;
        }
    }
}

/// Runs statements on the session of a reader, within the deadline. After a deadline the reader must be dropped, and with
/// it connection and lock.
macro_rules! locked {
    ($reader:expr, $connection:ident => $work:expr) => {{
        let locked = &$reader.0;
        let mut session = locked.session().await?;
        let $connection = &mut *session;
        crate::store::postgres::bounded(locked.deadline, $work).await
    }};
}
pub(super) use locked;
