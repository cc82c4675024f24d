//! Somebody else at the file (L-07, L-08).

use std::str::FromStr;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::cut;
use crate::harness::{Daemon, DaemonConfig, run_cli};
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

/// L-07: a second daemon, and a migration, want the file of a running one, by its name and by another.
pub async fn second_daemon(lab: Lab) -> Outcome {
    let mut run = lab.setup().start().await;
    run.more(100).await;
    let file = run
        .store()
        .url
        .strip_prefix("sqlite://")
        .unwrap()
        .to_owned();
    let link = run.folder().join("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let folder = std::path::Path::new(&file).parent().unwrap();
    let roundabout = folder.join("../store/hookwell.db");
    for name in [
        file.as_str(),
        link.to_str().unwrap(),
        roundabout.to_str().unwrap(),
    ] {
        let mut config = run.config().clone();
        config.store_url = format!("sqlite://{name}");
        run.fault(FaultKind::Other, "a second daemon", async |run| {
            let second = Daemon::launch(&config).await.err();
            let (code, log) = second.unwrap_or_default();
            let clear = code == Some(69) && log.contains("another hookwell");
            run.expect(
                &format!("a second daemon ends with 69, not {code:?}"),
                clear,
            );
            let code = migrate(config).await;
            run.expect(
                &format!("a migration ends with 69, not {code:?}"),
                code == Some(69),
            );
            run.more(50).await;
        })
        .await;
    }
    run.judge().await
}

async fn migrate(config: DaemonConfig) -> Option<i32> {
    let ran = tokio::task::spawn_blocking(move || run_cli(&["migrate"], &config));
    ran.await.unwrap().status.code()
}

/// L-08: somebody changes the file's journal while the daemon runs, and while it does not. Whatever it is
/// then, the daemon runs on a write-ahead log, and nothing is lost when the power goes.
pub async fn journal_changed(lab: Lab) -> Outcome {
    let mut run = lab.setup().on_a_disk().start().await;
    for _ in 0..lab.times(1, 5) {
        for journal in [SqliteJournalMode::Delete, SqliteJournalMode::Truncate] {
            run.more(100).await;
            run.fault(
                FaultKind::DaemonStop,
                "the journal is changed",
                async |run| {
                    // Others have it open: SQLite refuses.
                    let refused = change(run, journal).await.is_err();
                    run.expect("the journal of an open file stays", refused);
                    run.stop_daemon().await;
                    change(run, journal).await.unwrap();
                    run.start_daemon().await;
                    let now = journal_now(run).await;
                    run.expect(&format!("the journal is wal, not {now}"), now == "wal");
                    run.more(50).await;
                },
            )
            .await;
            cut(&mut run).await;
        }
    }
    run.judge().await
}

async fn change(run: &Run, journal: SqliteJournalMode) -> sqlx::Result<()> {
    let options = SqliteConnectOptions::from_str(&run.store().url)?;
    let connection = options
        .busy_timeout(std::time::Duration::from_millis(200))
        .journal_mode(journal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Off)
        .connect()
        .await?;
    connection.close().await
}

async fn journal_now(run: &Run) -> String {
    let mut connection = SqliteConnection::connect(&run.store().url).await.unwrap();
    let journal = sqlx::query_scalar("pragma journal_mode");
    journal.fetch_one(&mut connection).await.unwrap()
}
