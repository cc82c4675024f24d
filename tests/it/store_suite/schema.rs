//! Migrations: once, however many ask for them, and never backwards.

use hookwell::store::Store;
use sqlx::Connection;

use super::postgres;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, StoreUrl, fresh_postgres_url, run_cli, store, store_url,
};

/// What the version after this one does to a store, where this one may still run on it, and where not.
const NEXT: &str = include_str!("../../faults/migrations/next.sql");
const NEXT_BREAKING: &str = include_str!("../../faults/migrations/next_breaking.sql");

/// Brings the store to the next version, as that one would; returns this one's number and that one's.
async fn migrate_to_next(url: &StoreUrl, sql: &str) -> (i64, i64) {
    let known = store::migrations();
    let next = known + 1;
    store::execute_on(url, sql).await;
    let noted = format!(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values ({next}, 'next', true, '', 0)"
    );
    store::execute_on(url, &noted).await;
    (known, next)
}

#[tokio::test]
async fn on_a_newer_schema_that_allows_it_everything_runs_and_says_so() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let config = DaemonConfig::new(url.url());
        assert!(run_cli(&["migrate"], &config).status.success());
        let (known, next) = migrate_to_next(&url, NEXT).await;

        let newer =
            format!("the schema is at {next}, newer than this hookwell's {known}, and lets it run");
        let migrated = run_cli(&["migrate"], &config);
        assert!(migrated.status.success(), "{backend:?}: {migrated:?}");
        assert_eq!(
            String::from_utf8_lossy(&migrated.stdout),
            format!("Nothing to do: {newer}.\n"),
            "{backend:?}"
        );

        let mut daemon = Daemon::start(&config).await;
        let ghl = Ghl::new();
        let mut client = ghl.client(&daemon).await;
        let body = ghl.body("ContactCreate", "l1", 1);
        assert_eq!(client.post(&ghl, &body).await.unwrap().status, 200);
        let status = run_cli(&["status"], &config);
        let said = String::from_utf8_lossy(&status.stdout);
        assert!(said.starts_with(&newer), "{backend:?}: {said}");
        let status = run_cli(&["status", "--json"], &config);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(
            (
                &status["schema"],
                &status["schema_known"],
                &status["accepted"]
            ),
            (&next.into(), &known.into(), &1.into()),
            "{backend:?}"
        );
        let doctor = run_cli(&["doctor"], &config);
        let said = String::from_utf8_lossy(&doctor.stdout);
        let finding = format!("warning  schema         {next}, newer than this version's {known}");
        assert!(said.contains(&finding), "{backend:?}: {said}");
        assert!(daemon.terminate().await.success());
        let log = daemon.log();
        let warned = "the store's schema is newer than this hookwell's, and lets it run";
        assert!(log.contains(warned), "{backend:?}: {log}");
    }
}

#[tokio::test]
async fn a_newer_schema_that_does_not_allow_it_is_refused() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let config = DaemonConfig::new(url.url());
        assert!(run_cli(&["migrate"], &config).status.success());
        let (known, next) = migrate_to_next(&url, NEXT_BREAKING).await;

        let refusal = format!(
            "the store's schema is at {next}, for a hookwell that knows {next} or newer; this one ({}) knows {known}. \
             Run the newer hookwell again, or restore the backup from before the upgrade: \
             deploy/OPERATIONS.md, \"A refused downgrade\"",
            env!("CARGO_PKG_VERSION"),
        );
        let (code, log) = Daemon::try_start(&config).await.err().unwrap();
        assert_eq!(code, Some(69), "{backend:?}: {log}");
        assert!(log.contains(&refusal), "{backend:?}: {log}");
        for command in [&["migrate"][..], &["status"], &["events", "list"]] {
            let output = run_cli(command, &config);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(69), "{backend:?} {command:?}");
            assert_eq!(
                said,
                format!("hookwell: {refusal}\n"),
                "{backend:?} {command:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_store_without_a_schema_is_refused_by_commands_that_read() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let config = DaemonConfig::new(url.url());
        let output = run_cli(&["status"], &config);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{backend:?}: {said}");
        assert!(said.contains("hookwell migrate"), "{backend:?}: {said}");
        assert!(run_cli(&["migrate"], &config).status.success());
        assert!(run_cli(&["status"], &config).status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_when_three_start_together() {
    let url = fresh_postgres_url().await;
    let stores = [
        postgres(&url).await,
        postgres(&url).await,
        postgres(&url).await,
    ];
    let (a, b, c) = tokio::join!(
        stores[0].migrate(),
        stores[1].migrate(),
        stores[2].migrate()
    );
    for ran in [a, b, c] {
        ran.unwrap();
    }
    for store in &stores {
        assert_eq!(store.migrate().await.unwrap().ran, 0);
        store.schema().await.unwrap();
    }

    let url = fresh_postgres_url().await;
    let configs = [(); 3].map(|()| DaemonConfig::new(&url));
    let (a, b, c) = tokio::join!(
        Daemon::start(&configs[0]),
        Daemon::start(&configs[1]),
        Daemon::start(&configs[2])
    );
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    let applied: Vec<i64> =
        sqlx::query_scalar("select version from _sqlx_migrations order by version")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(applied, (1..=store::migrations()).collect::<Vec<_>>());
    for mut daemon in [a, b, c] {
        assert!(daemon.terminate().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_read_work_beside_a_running_daemon_on_sqlite() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url());
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let mut client = ghl.client(&daemon).await;
    let commands = [&["status"][..], &["events", "list"]].map(|command| {
        let config = config.clone();
        tokio::task::spawn_blocking(move || {
            for _ in 0..5 {
                let output = run_cli(command, &config);
                assert!(output.status.success(), "{output:?}");
            }
        })
    });
    let mut posted = 0;
    while !commands.iter().all(|command| command.is_finished()) {
        let body = ghl.body("ContactCreate", "l1", posted);
        assert_eq!(client.post(&ghl, &body).await.unwrap().status, 200);
        posted += 1;
    }
    for command in commands {
        command.await.unwrap();
    }
    let output = run_cli(&["status", "--json"], &config);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["accepted"], posted);
}
