//! The log on Postgres (rows P).

use crate::checker::Invariant;
use crate::harness::store::execute;
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

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
            run.disk().cut();
            run.store().server().server.kill9();
            run.disk().restore().await;
            run.store().server().server.restart().await;
            run.look_after_crash().await;
            run.more(100).await;
        },
    )
    .await;
}
