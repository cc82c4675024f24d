//! The log on Postgres (rows P): the server dies.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::checker::Invariant;
use crate::harness::eventually;
use crate::harness::services::send_signal;
use crate::harness::store::execute;
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

pub mod answers;
pub mod room;
pub mod settings;
pub mod silence;

const WITHIN: Duration = Duration::from_secs(60);

/// P-01: the backend that is about to commit is killed; the postmaster then starts all of them anew.
pub async fn backend_killed(lab: Lab) -> Outcome {
    let mut run = lab.setup().own_postgres().start().await;
    // A commit takes long enough to be met in its midst.
    set(&run, "commit_siblings = 0").await;
    set(&run, "commit_delay = 20000").await;
    for _ in 0..lab.times(5, 50) {
        run.more(100).await;
        run.fault(FaultKind::Store, "kill -9 of a backend", async |run| {
            let mut witness = PgConnection::connect(&run.store().url).await.unwrap();
            send_signal("KILL", &[committing(&mut witness).await]);
            recovered(run, witness).await;
            run.look_after_crash().await;
            run.more(50).await;
        })
        .await;
    }
    run.judge().await
}

/// The backend that is at work on an append.
async fn committing(connection: &mut PgConnection) -> u32 {
    const AT_WORK: &str = "select pid from pg_stat_activity where application_name = 'hookwell' \
         and state = 'active' and query like '%append_events%' \
         and clock_timestamp() - query_start > interval '5 ms' limit 1";
    let pid = eventually("a backend commits", WITHIN, async || {
        let pid = sqlx::query_scalar::<_, i32>(AT_WORK);
        pid.fetch_optional(&mut *connection).await.unwrap()
    });
    u32::try_from(pid.await).unwrap()
}

/// Waits until the server has gone down with `witness`, and is back.
async fn recovered(run: &Run, mut witness: PgConnection) {
    eventually("every session ends", WITHIN, async || {
        witness.ping().await.is_err().then_some(())
    })
    .await;
    answers(run).await;
}

/// Waits until the server takes sessions.
async fn answers(run: &Run) {
    eventually("Postgres takes sessions", WITHIN, async || {
        PgConnection::connect(&run.store().url).await.ok().map(drop)
    })
    .await;
}

/// P-02: the postmaster is killed under load and started again.
pub async fn killed(lab: Lab) -> Outcome {
    let mut run = lab.setup().own_postgres().start().await;
    for _ in 0..lab.times(3, 20) {
        run.more(200).await;
        run.fault(FaultKind::Store, "kill -9 of the postmaster", async |run| {
            run.store().server().server.kill9_parent();
            run.store().server().server.restart().await;
            run.look_after_crash().await;
            run.more(50).await;
        })
        .await;
    }
    run.judge().await
}

/// P-03: the power of the disk with Postgres's data is cut under load.
pub async fn power_cut(lab: Lab) -> Outcome {
    let mut run = lab.setup().on_a_disk().start().await;
    for _ in 0..lab.times(3, 20) {
        cut(&mut run).await;
    }
    run.judge().await
}

/// The same where a commit does not wait for the disk. A bench that does not see the loss sees nothing.
pub async fn power_cut_without_synchronous_commit(lab: Lab) -> Outcome {
    let setup = lab.setup().on_a_disk().failpoints("mutant.M2=return");
    let mut run = setup.start().await;
    cut(&mut run).await;
    run.judge()
        .await
        .must_violate(Invariant::DurableBeforeAnswer)
}

/// The same where the server only pretends to.
pub async fn power_cut_without_fsync(lab: Lab) -> Outcome {
    let setup = lab.setup().on_a_disk().failpoints("mutant.M2=return");
    let mut run = setup.start().await;
    // So that a server comes back at all, with the tables.
    execute(&run.store().url, "checkpoint").await;
    set(&run, "fsync = off").await;
    cut(&mut run).await;
    run.judge()
        .await
        .must_violate(Invariant::DurableBeforeAnswer)
}

async fn set(run: &Run, setting: &str) {
    let url = &run.store().url;
    execute(url, &format!("alter system set {setting}")).await;
    execute(url, "select pg_reload_conf()").await;
}

async fn cut(run: &mut Run) {
    run.more(400).await;
    run.fault(
        FaultKind::PowerCut,
        "power cut under Postgres",
        async |run| {
            run.cut_power().await;
            run.disk().restore().await;
            run.store().server().server.restart().await;
            run.look_after_crash().await;
            run.more(100).await;
        },
    )
    .await;
}
