//! A server that does not keep what it acknowledges, migrations, and a pooler (P-11, P-14, P-17).

use std::process::Output;

use super::set;
use crate::harness::run_cli;
use crate::harness::store::execute;
use crate::lab::{Lab, Outcome, Run};
use crate::proved;
use crate::records::FaultKind;

/// P-11: whoever turned durability off, the daemon does not start, and says what is off.
pub async fn not_durable(lab: Lab) -> Outcome {
    let mut run = lab.setup().own_postgres().without_daemon().start().await;
    let (_, database) = run.store().url.rsplit_once('/').unwrap();
    let database = format!("alter database \"{database}\"");
    for (who, setting) in [
        ("alter role current_user", "synchronous_commit"),
        (database.as_str(), "synchronous_commit"),
        ("alter system", "synchronous_commit"),
        ("alter system", "fsync"),
        ("alter system", "full_page_writes"),
    ] {
        let what = format!("{who} set {setting} = off");
        run.fault(FaultKind::Store, &what, async |run| {
            change(run, &what).await;
            let refused = run.launch_daemon().await.err();
            run.end_was_meant();
            let refused = refused.unwrap_or_default();
            let clear = refused.starts_with("Some(69)") && refused.contains(setting);
            run.expect(&format!("no start after {what}"), clear);
            change(run, &format!("{who} reset {setting}")).await;
        })
        .await;
    }
    run.start_daemon().await;
    run.more(100).await;
    run.judge().await
}

async fn change(run: &Run, sql: &str) {
    execute(&run.store().url, sql).await;
    execute(&run.store().url, "select pg_reload_conf()").await;
}

/// The same under a running daemon, for the setting that a session can hold on to: nothing is lost when the
/// power goes.
pub async fn not_durable_while_running(lab: Lab) -> Outcome {
    let mut run = lab.setup().on_a_disk().start().await;
    run.more(200).await;
    set(&run, "synchronous_commit = off").await;
    run.more(400).await;
    run.fault(FaultKind::PowerCut, "power cut", async |run| {
        run.cut_power().await;
        run.disk().restore().await;
        run.store().server().server.restart().await;
        run.look_after_crash().await;
        // A session that begins now is another matter: it finds durability off, and is not used.
        run.refused(10).await;
        set(run, "synchronous_commit = on").await;
        run.more(100).await;
    })
    .await;
    run.judge().await
}

/// P-14: three daemons and three commands migrate the same empty database at once.
pub async fn migrated_at_once(lab: Lab) -> Outcome {
    let mut run = lab.setup().without_daemon().start().await;
    let config = run.config().clone();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let config = config.clone();
            tokio::task::spawn_blocking(move || run_cli(&["migrate"], &config))
        })
        .collect();
    run.start_three_at_once().await;
    for other in others {
        let Output { status, stderr, .. } = other.await.unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        run.expect(&format!("migrate ends with 0: {said}"), status.success());
    }
    run.fault(FaultKind::Other, "migrate beside a daemon", async |run| {
        let config = run.config().clone();
        let again = tokio::task::spawn_blocking(move || run_cli(&["migrate"], &config));
        let status = again.await.unwrap().status;
        run.expect(
            "a migration beside the daemon ends with 0",
            status.success(),
        );
    })
    .await;
    run.arrived(200).await;
    run.judge().await
}

/// P-17: pgbouncer keeps sessions or lends them.
pub async fn pooled(lab: Lab) -> Outcome {
    Outcome::proved(&lab, proved::POOLER)
}
