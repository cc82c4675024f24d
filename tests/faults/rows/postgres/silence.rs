//! A server that says nothing (P-06, P-07).

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use super::{WITHIN, answers};
use crate::harness::{DaemonConfig, eventually};
use crate::lab::packets::LostPackets;
use crate::lab::servers::port;
use crate::lab::{Lab, Outcome, RATE, Run};
use crate::records::FaultKind;

/// What a post may take at most, with the deadlines of [`deadlines`].
const ANSWERED: u64 = 5_000_000;
/// Sessions of one daemon, with those of which the server is still to learn that they ended.
const SESSIONS: i64 = 8;

fn deadlines(config: DaemonConfig) -> DaemonConfig {
    config
        .set("store", "statement_timeout = \"2s\"")
        .set("http", "commit_deadline = \"2s\"")
        .set("broker", "retry_max = \"1s\"")
}

/// Ten minutes, in seconds.
const LONG: u64 = 600;

/// P-06: the server is stopped in its tracks, and goes on.
pub async fn frozen(lab: Lab) -> Outcome {
    let setup = lab.setup().own_postgres().daemon(deadlines);
    let mut run = setup.plan(|plan| plan.deadline_us = ANSWERED).start().await;
    run.arrived(200).await;
    let seconds: &[u64] = match lab.whole {
        true => &[5, 60, LONG],
        false => &[5],
    };
    for seconds in seconds {
        if *seconds == LONG {
            // As many wait to be posted again as after a minute, not ten times that.
            run.load().set_rate(RATE * 60.0 / LONG as f64);
        }
        run.fault(FaultKind::Store, "SIGSTOP of Postgres", async |run| {
            run.store().server().server.freeze();
            run.refused(20).await;
            run.readiness(503).await;
            sleep(Duration::from_secs(*seconds)).await;
            run.store().server().server.thaw();
            comes_back(run).await;
        })
        .await;
        run.load().set_rate(RATE);
        run.arrived(200).await;
    }
    run.judge().await
}

/// P-07: packets between daemon and server get lost without a word, and no longer.
pub async fn packets_lost(lab: Lab) -> Outcome {
    let setup = lab.setup().own_postgres().daemon(deadlines);
    let setup = setup.plan(|plan| plan.deadline_us = ANSWERED);
    let mut run = setup.without_daemon().start().await;
    // Straight to it: a proxy between them would acknowledge what the server never gets.
    run.config().store_url = run.store().url.clone();
    run.start_daemon().await;
    run.arrived(200).await;
    run.fault(FaultKind::Store, "packets to Postgres lost", async |run| {
        let lost = LostPackets::of(port(&run.store().url));
        run.refused(20).await;
        run.readiness(503).await;
        // In the whole row longer than the kernel tries to tell the server that a session has ended:
        // the server then has to find out for itself that nobody is there, or the reader's lock is held
        // for hours.
        sleep(Duration::from_secs(lab.times(5, 130) as u64)).await;
        drop(lost);
        comes_back(run).await;
    })
    .await;
    run.arrived(200).await;
    run.judge().await
}

/// The daemon takes events soon, and leaves nothing behind at the server.
async fn comes_back(run: &mut Run) {
    answers(run).await;
    let took = run.takes_again().await;
    run.expect(
        &format!("events are taken again within 5 s, not {took:?}"),
        took < Duration::from_secs(5),
    );
    run.readiness(200).await;
    let mut connection = PgConnection::connect(&run.store().url).await.unwrap();
    eventually("given-up sessions end at the server", WITHIN, async || {
        let count = "select count(*) from pg_stat_activity where application_name = 'hookwell'";
        let count = sqlx::query_scalar::<_, i64>(count);
        let count = count.fetch_one(&mut connection).await.unwrap();
        (count <= SESSIONS).then_some(())
    })
    .await;
}
