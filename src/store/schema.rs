//! Migrations, and what to say about a schema that is not this binary's.
//!
//! The files are in `migrations/`, one folder a backend, the same numbers and names in both. Applied
//! ones never change. A newer schema may be one that this binary can run on: `compatibility` says so.

use super::Error;

/// The schema version this binary was built for: the number of its migrations.
const SCHEMA_VERSION: usize = 15;

/// The store's schema and this binary's, where this binary may run on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The store's version.
    pub version: i64,
    /// The version this binary was built for.
    pub known: i64,
}

impl Schema {
    /// Whether a newer hookwell was here.
    pub fn is_newer(self) -> bool {
        self.version > self.known
    }
}

/// What a migration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// How many files ran.
    pub ran: i64,
    /// What the store has now.
    pub schema: Schema,
}

/// What the store says of its schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Its version, 0 for an empty store.
    pub(super) version: i64,
    /// The oldest version whose binaries may run on it.
    pub(super) oldest: i64,
}

impl Found {
    /// Refuses a schema that this binary must not touch.
    pub(super) fn expect_compatible(self) -> Result<(), Error> {
        let (Self { version, oldest }, known) = (self, known());
        if version <= known || oldest <= known {
            return Ok(());
        }
        Err(Error::Schema(format!(
            "the store's schema is at {version}, for a hookwell that knows {oldest} or newer; this one ({}) knows {known}. \
             Run the newer hookwell again, or restore the backup from before the upgrade: deploy/OPERATIONS.md, \"A refused downgrade\"",
            env!("CARGO_PKG_VERSION")
        )))
    }

    /// Refuses a schema that this binary cannot run on.
    pub(super) fn expect_usable(self) -> Result<Schema, Error> {
        self.expect_compatible()?;
        let (version, known) = (self.version, known());
        if version < known {
            return Err(Error::Schema(format!(
                "the store's schema is at {version}, this hookwell needs {known}; run `hookwell migrate`"
            )));
        }
        Ok(Schema { version, known })
    }

    /// What was done since, from a schema that was compatible.
    pub(super) fn migrated_to(self, now: Self) -> Result<Migrated, Error> {
        let schema = now.expect_usable()?;
        Ok(Migrated {
            // Not what a newer one did meanwhile.
            ran: (schema.known - self.version).max(0),
            schema,
        })
    }
}

/// The schema version this binary was built for.
pub(super) fn known() -> i64 {
    SCHEMA_VERSION as i64 + i64::from(next().is_some())
}

/// What the version after this one has besides, where a build for the fault bench plays it.
fn next() -> Option<(&'static str, &'static str)> {
    #[cfg(feature = "failpoints")]
    {
        let adds = include_str!("../../tests/faults/migrations/next.sql");
        let breaks = include_str!("../../tests/faults/migrations/next_breaking.sql");
        for (point, sql) in [("schema.next", adds), ("schema.next_breaking", breaks)] {
            if crate::failpoints::plays(point) {
                return Some(("next", sql));
            }
        }
    }
    None
}

/// Whether a statement failed because its table is not there.
pub(super) fn is_without_table(error: &sqlx::Error) -> bool {
    const UNDEFINED_TABLE: &str = "42P01";
    match error {
        sqlx::Error::Database(error) => {
            error.code().as_deref() == Some(UNDEFINED_TABLE)
                || error.message().starts_with("no such table")
        }
        _ => false,
    }
}

/// Asks a connection for [`Found`].
macro_rules! found {
    ($connection:expr) => {{
        let newest: Result<Option<i64>, sqlx::Error> =
            sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
                .fetch_one(&mut *$connection)
                .await;
        let version = match newest {
            Ok(version) => version.unwrap_or(0),
            // It is made by the first migration.
            Err(error) if crate::store::schema::is_without_table(&error) => 0,
            Err(error) => return Err(error.into()),
        };
        let oldest = match version > crate::store::schema::known() {
            true => {
                sqlx::query_scalar("select oldest from compatibility")
                    .fetch_one(&mut *$connection)
                    .await?
            }
            false => version,
        };
        crate::store::schema::Found { version, oldest }
    }};
}
pub(super) use found;

/// The migrations of a backend, by the name of its folder.
macro_rules! migrations {
    ($backend:literal) => {
        crate::store::schema::migrations!(
            $backend,
            "0001_log",
            "0002_readers",
            "0003_follow_ups",
            "0004_open_calls",
            "0005_workflow_triggers",
            "0006_gaps",
            "0007_audit",
            "0008_census",
            "0009_replays",
            "0010_discarded",
            "0011_attempts",
            "0012_restored",
            "0013_own_calls",
            "0014_compatibility",
            "0015_partitions"
        )
    };
    ($backend:literal, $($name:literal),*) => {
        crate::store::schema::migrator([
            $(($name, include_str!(concat!("../../migrations/", $backend, "/", $name, ".sql")))),*
        ])
    };
}
pub(super) use migrations;

/// Files in order, under names such as `0001_log`.
pub(super) fn migrator(
    files: [(&'static str, &'static str); SCHEMA_VERSION],
) -> sqlx::migrate::Migrator {
    use sqlx::migrate::{Migration, MigrationType, Migrator};
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    let numbered = (1..).zip(files.into_iter().chain(next()));
    let migrations = numbered.map(|(number, (name, sql))| {
        let sql = AssertSqlSafe(sql).into_sql_str();
        let name = name.split_once('_').map_or(name, |(_, name)| name);
        Migration::new(number, name.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // `Found` judges newer ones, before and after: one may also come while this runs.
    migrator.set_ignore_missing(true);
    migrator
}

pub(super) fn migration_error(error: sqlx::migrate::MigrateError) -> Error {
    use sqlx::migrate::MigrateError;
    match error {
        MigrateError::VersionMismatch(version) => Error::Schema(format!(
            "migration {version} of the store differs from this hookwell's; it was made by another build"
        )),
        MigrateError::Execute(source) => Error::Unavailable(source),
        other => Error::Migration(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn every_migration_that_is_there_is_known() {
        let known = [
            ("postgres", migrations!("postgres")),
            ("sqlite", migrations!("sqlite")),
        ];
        for (backend, known) in known {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/");
            let files = std::fs::read_dir(format!("{folder}{backend}")).unwrap();
            let mut names: Vec<_> = files
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            let known: Vec<_> = known
                .iter()
                .map(|one| format!("{:04}_{}.sql", one.version, one.description))
                .collect();
            assert_eq!(known, names);
        }
    }

    /// Whether a version before could not live with it, as far as the SQL shows.
    fn takes_away(sql: &str) -> bool {
        statements(sql).iter().any(|words| match words.as_slice() {
            ["drop", what, ..] => *what != "index",
            ["create", "or", "replace", ..] => true,
            ["alter", rest @ ..] => rest
                .iter()
                .any(|word| ["drop", "rename", "alter"].contains(word)),
            _ => false,
        })
    }

    /// The words of each statement.
    fn statements(sql: &str) -> Vec<Vec<&str>> {
        let without_comments = sql.lines().map(|line| line.split("--").next().unwrap());
        let mut statements = vec![Vec::new()];
        for word in without_comments.flat_map(str::split_whitespace) {
            statements
                .last_mut()
                .unwrap()
                .push(word.trim_end_matches(';'));
            if word.ends_with(';') {
                statements.push(Vec::new());
            }
        }
        statements
    }

    #[test]
    fn what_takes_something_away_is_told_from_what_adds() {
        for (sql, expected) in [
            ("-- drop table a;\ncreate table a (drop_at bigint);", false),
            ("create index i on a (b);\ndrop index j;", false),
            (
                "alter table a add column b bigint not null default 0;",
                false,
            ),
            ("create table b (c bigint);\ndrop table a;", true),
            ("alter table a\n    drop column b;", true),
            ("alter table a rename column b to c;", true),
            ("alter table a alter column b type text;", true),
            ("drop function f;", true),
            (
                "create or replace function f() returns void language sql as $$ $$;",
                true,
            ),
        ] {
            assert_eq!(takes_away(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_migration_that_takes_something_away_says_whom_it_still_suits() {
        let migrations = [migrations!("postgres"), migrations!("sqlite")];
        for one in migrations.iter().flat_map(|known| known.iter()) {
            // `compatibility` came with 14.
            if one.version <= 14 || !takes_away(one.sql.as_str()) {
                continue;
            }
            let own = one.version.to_string();
            let raises = ["update", "compatibility", "set", "oldest", "=", &own];
            assert!(
                statements(one.sql.as_str()).iter().any(|it| *it == raises),
                "{:04}_{} takes something away: see migrations/README.md",
                one.version,
                one.description
            );
        }
    }
}
