//! A fresh store for each test: a new database on the shared Postgres, or a new SQLite file.

use hookwell::event::Position;
use hookwell::store::{Parked, Settled};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::{OwnService, required};

/// The kinds of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// The cursor's move to `upto`, with nothing held.
pub fn done(upto: i64, published: i64, parked: &[Parked]) -> Settled {
    Settled {
        upto: Position(upto),
        published,
        parked: parked.to_vec(),
        held: Vec::new(),
    }
}

/// A SQLite file that is removed with its folder.
pub struct SqliteFile {
    dir: TempDir,
}

impl SqliteFile {
    /// The place for one; the file itself is not there yet.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hookwell-sqlite-")
            .tempdir()
            .unwrap();
        Self { dir }
    }

    /// Its `sqlite://` URL.
    pub fn url(&self) -> String {
        format!("sqlite://{}/hookwell.db", self.dir.path().display())
    }
}

/// The URL of a fresh store, which goes when this value goes.
pub struct StoreUrl {
    url: String,
    _file: Option<SqliteFile>,
}

impl StoreUrl {
    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A fresh store.
pub async fn store_url(backend: Backend) -> StoreUrl {
    match backend {
        Backend::Sqlite => {
            let file = SqliteFile::new();
            StoreUrl {
                url: file.url(),
                _file: Some(file),
            }
        }
        Backend::Postgres => StoreUrl {
            url: fresh_postgres_url().await,
            _file: None,
        },
    }
}

/// A fresh, empty database on the shared server. It stays until the server is removed.
pub async fn fresh_postgres_url() -> String {
    fresh_database(&required("HOOKWELL_TEST_POSTGRES_URL")).await
}

/// A fresh, empty database on the server of `url`.
pub async fn fresh_database(url: &str) -> String {
    let name = format!("hookwell_test_{}", uuid::Uuid::new_v4().simple());
    execute(url, &format!("create database {name}")).await;
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// Runs statements of the test's own on a Postgres.
pub async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url)
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}; `bash tests/run.sh` starts a Postgres"));
    connection
        .execute(AssertSqlSafe(sql.to_owned()))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.unwrap();
}

/// How many migrations there are.
pub fn migrations() -> i64 {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
    std::fs::read_dir(folder).unwrap().count() as i64
}

/// Runs statements of the test's own on whichever store it is.
pub async fn execute_on(store: &StoreUrl, sql: &str) {
    if !store.url().starts_with("sqlite:") {
        return execute(store.url(), sql).await;
    }
    let mut connection = sqlx::SqliteConnection::connect(store.url()).await.unwrap();
    let done = connection.execute(AssertSqlSafe(sql.to_owned())).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.unwrap();
}

/// A Postgres of the test's own, to be stopped or killed. `PG_URL` is its URL.
pub async fn own_postgres() -> OwnService {
    OwnService::start("postgres").await
}
