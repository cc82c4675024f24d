//! A fresh session in place of one that is of no use any more, or of little.
//!
//! A refusal closes the channel: its session is replaced at once. One on which messages are rejected still serves
//! everybody else (see [`Session::rejected_since`]): its successor is opened beside it, since that takes time
//! for each queue and binding, and it goes when that stands.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Relay;
use crate::broker::{self, Session};
use crate::telemetry::Chain;

/// How long a session is kept on which messages are rejected.
const REJECTED_FOR: Duration = Duration::from_secs(15);
/// The same, where nothing else was ever taken on it, as after the leader of a queue was lost.
const NOTHING_BUT_REJECTED_FOR: Duration = Duration::from_secs(1);

/// The session that is being opened beside the one in use, if any. Dropping it gives that up.
#[derive(Default)]
pub(super) struct Successor {
    opening: JoinSet<Result<Session, broker::Error>>,
    failed_at: Option<Instant>,
}

impl Relay {
    /// Opens a session and counts the attempt.
    pub(super) async fn open_session(&self) -> Result<Session, broker::Error> {
        // On a task of its own: tokio panics where the system gives no thread to look a name up on. Dropping this ends it.
        let mut opening = JoinSet::new();
        self.begin_to_open(&mut opening);
        match opening.join_next().await {
            Some(opened) => self.opened(opened),
            None => Err(broker::Error::Closed),
        }
    }

    fn begin_to_open(&self, opening: &mut JoinSet<Result<Session, broker::Error>>) {
        let settings = self.settings.broker.clone();
        opening.spawn(async move { Session::open(&settings).await });
    }

    /// What came of an attempt, which is counted.
    fn opened(
        &self,
        ended: Result<Result<Session, broker::Error>, JoinError>,
    ) -> Result<Session, broker::Error> {
        let opened = ended.unwrap_or_else(|error| Err(broker::Error::Opening(error)));
        let outcome = if opened.is_ok() { "ok" } else { "error" };
        let connects = &self.metrics.broker_connects;
        connects.with_label_values(&[outcome]).inc();
        opened
    }

    /// A fresh session in place of one that is of no use any more.
    pub(super) async fn replace_session(&self, session: &mut Session) -> Result<(), broker::Error> {
        session.close().await;
        *session = self.open_session().await?;
        Ok(())
    }

    /// Begins to open a successor for a session that goes on rejecting, or puts it in place when it stands. Does
    /// not wait for it. Nothing may be in flight.
    pub(super) async fn succeed_session(&self, session: &mut Session, successor: &mut Successor) {
        if let Some(opened) = successor.opening.try_join_next() {
            match self.opened(opened) {
                Ok(fresh) => {
                    session.close().await;
                    *session = fresh;
                    successor.failed_at = None;
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "no fresh session with RabbitMQ; the one there is goes on");
                    successor.failed_at = Some(Instant::now());
                }
            }
            return;
        }
        let patience = match session.has_confirmed() {
            true => REJECTED_FOR,
            false => NOTHING_BUT_REJECTED_FOR,
        };
        let since = session.rejected_since().max(successor.failed_at);
        if session.rejected_since().is_none()
            || since.is_some_and(|since| since.elapsed() < patience)
        {
            return;
        }
        if successor.opening.is_empty() {
            tracing::info!("RabbitMQ goes on rejecting messages; trying a fresh session");
            self.begin_to_open(&mut successor.opening);
        }
    }
}
