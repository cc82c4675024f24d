//! Refuses a pooler that lends its sessions by the transaction: pgbouncer with `pool_mode = transaction`, for one.
//!
//! A lock that a reader takes there belongs to whoever gets that session next, and what a session is set to is lost.
//! Nothing in the protocol says so. But the session of a connection that is between two transactions is free, and the
//! next to be lent is either that one, also to another connection, or in turn each of the others: so it shows.

use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};

use super::super::Error;

/// Others that use the pooler may take the free session first.
const TRIES: usize = 3;

/// Takes two connections that nothing was done with so far.
pub(super) async fn refuse_shared_sessions(
    one: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        let before = backend(one).await?;
        let after = backend(one).await?;
        if before != after || after == backend(other).await? {
            return Err(Error::SharedSessions);
        }
    }
    Ok(())
}

/// Which session answers. Not prepared: a statement's name may be taken in a session that was lent before.
async fn backend(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let row = connection
        .fetch_one(sqlx::raw_sql("select pg_backend_pid()::text"))
        .await?;
    row.try_get(0)
}
