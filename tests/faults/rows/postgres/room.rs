//! The server's disk is full, or fails (P-08, P-09).

use std::process::Stdio;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{WITHIN, answers, committing, recovered};
use crate::abilities::command;
use crate::harness::eventually;
use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

/// P-08: the disk with data and write-ahead log is full, until tables cannot grow; then until the
/// write-ahead log cannot, and the server goes down.
pub async fn disk_full(lab: Lab) -> Outcome {
    let mut run = lab.setup().on_a_disk().start().await;
    for _ in 0..lab.times(1, 5) {
        run.more(300).await;
        for server_goes_down in [false, true] {
            run.fault(FaultKind::Store, "disk full", async |run| {
                run.disk().fill();
                run.refused(100).await;
                if server_goes_down {
                    fill_the_log(&run.store().url).await;
                    run.readiness(503).await;
                } else {
                    let seen = run.turns_unready(Duration::from_secs(10)).await;
                    run.expect("readyz says that it takes nothing", seen);
                }
                run.disk().empty();
                if server_goes_down {
                    run.store().server().server.restart().await;
                    answers(run).await;
                }
                let took = run.takes_again().await;
                run.expect(
                    &format!("it goes on by itself within 10 s, not {took:?}"),
                    took < Duration::from_secs(10),
                );
                run.look_after_crash().await;
            })
            .await;
            run.readiness(200).await;
            run.more(100).await;
        }
    }
    run.judge().await
}

/// Writes until there is no room for another segment: the server panics.
async fn fill_the_log(url: &str) {
    const MEBIBYTE: &str = "select pg_logical_emit_message(false, 'filler', repeat('x', 1048576))";
    let mut connection = PgConnection::connect(url).await.unwrap();
    eventually("the server goes down", WITHIN, async || {
        let wrote = connection.execute(AssertSqlSafe(MEBIBYTE)).await;
        wrote.is_err().then_some(())
    })
    .await;
}

/// P-09: the disk answers an error to the fdatasync of a commit. The server panics, as it must.
pub async fn sync_fails(lab: Lab) -> Outcome {
    let mut run = lab.setup().own_postgres().start().await;
    for _ in 0..lab.times(3, 20) {
        run.more(100).await;
        run.fault(FaultKind::Store, "EIO from fdatasync", async |run| {
            let mut witness = PgConnection::connect(&run.store().url).await.unwrap();
            let backend = committing(&mut witness).await.to_string();
            let mut strace = command("strace")
                .args(["-qq", "-o", "/dev/null", "-e", "trace=fdatasync"])
                .args(["-e", "inject=fdatasync:error=EIO:when=1", "-p", &backend])
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            recovered(run, witness).await;
            // It ends with what it traces.
            strace.wait().unwrap();
            run.look_after_crash().await;
            run.more(50).await;
        })
        .await;
    }
    run.judge().await
}
