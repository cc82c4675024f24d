//! Senders that hang up must not cost anybody else an event.
//!
//! With sqlx 0.9.0 a future dropped between `begin` and `commit` can leave its pooled connection inside
//! an open transaction, and the next user's insert then vanishes with a 200 already sent. hookwell's
//! requests own no database future; this is the test of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::Connection;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::harness::ghl::PATH;
use crate::harness::{Backend, Daemon, DaemonConfig, Ghl, eventually, store_url};

const CLIENTS: u64 = 12;
const LOAD: Duration = Duration::from_secs(3);
const ENOUGH_WITHIN: Duration = Duration::from_secs(60);

async fn every_answered_event_is_in_the_log(backend: Backend) {
    let url = store_url(backend).await;
    let daemon = Daemon::start(&DaemonConfig::new(url.url())).await;
    let stop = Arc::new(AtomicBool::new(false));
    let hung_up = Arc::new(AtomicUsize::new(0));
    let polite_answers = Arc::new(AtomicUsize::new(0));
    let mut impolite = JoinSet::new();
    let mut polite = JoinSet::new();
    for n in 0..CLIENTS {
        let (ended, hung_up, address) = (Arc::clone(&stop), Arc::clone(&hung_up), daemon.address());
        impolite.spawn(async move {
            let ghl = Ghl::new();
            let mut turn = n;
            while !ended.load(Ordering::Relaxed) {
                let request = ghl.request_bytes(PATH, &ghl.body("ContactUpdate", "rude", turn));
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(&request).await.unwrap();
                // From at once to after the commit, so that every moment of it is hit.
                sleep(Duration::from_micros(turn * 137 % 1_500)).await;
                drop(stream);
                hung_up.fetch_add(1, Ordering::Relaxed);
                turn += 1;
            }
        });
        let (ended, address) = (Arc::clone(&stop), daemon.address());
        let count = Arc::clone(&polite_answers);
        polite.spawn(async move {
            let ghl = Ghl::new();
            let mut client = crate::harness::Client::connect(address).await.unwrap();
            let mut answered = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let id = uuid::Uuid::new_v4().to_string();
                let body = ghl.body_with_id("ContactCreate", "polite", n, &id);
                if client.post(&ghl, &body).await.unwrap().status == 200 {
                    answered.push(id);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            answered
        });
    }
    sleep(LOAD).await;
    // A busy machine takes longer to do as much.
    crate::harness::eventually("enough happened", ENOUGH_WITHIN, async || {
        let done = [&polite_answers, &hung_up].map(|count| count.load(Ordering::Relaxed));
        done.iter().all(|count| 200 < *count).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let answered: Vec<String> = polite.join_all().await.into_iter().flatten().collect();
    impolite.join_all().await;
    let known = keys_in(url.url()).await;
    let lost: Vec<_> = answered.iter().filter(|id| !known.contains(*id)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} answered 200 and not in the log",
        lost.len(),
        answered.len()
    );
    if backend == Backend::Postgres {
        // Seen twice or more, one by one, a session is stuck and not just busy.
        eventually("no session is idle in a transaction", LOAD, async || {
            (idle_in_transaction(url.url()).await == 0).then_some(())
        })
        .await;
    }
    // And it goes on: nobody left a lock behind.
    let ghl = Ghl::new();
    let body = ghl.body("ContactCreate", "after", 0);
    assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    let commit_errors = daemon.metric("hookwell_commit_errors_total").await;
    assert_eq!(commit_errors, Some(0.0));
}

async fn keys_in(url: &str) -> HashSet<String> {
    const ALL: &str = "select event_key from events";
    let keys: Vec<String> = if url.starts_with("postgres") {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(ALL).fetch_all(&mut connection).await
    } else {
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(ALL).fetch_all(&mut connection).await
    }
    .unwrap();
    keys.into_iter().collect()
}

async fn idle_in_transaction(url: &str) -> i64 {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity \
         where datname = current_database() and state like 'idle in transaction%'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_hang_up_cost_nobody_an_event_on_postgres() {
    every_answered_event_is_in_the_log(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_hang_up_cost_nobody_an_event_on_sqlite() {
    every_answered_event_is_in_the_log(Backend::Sqlite).await;
}
