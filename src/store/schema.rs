//! Migrations, and what to say about a schema that is not this binary's.
//!
//! The files are in `migrations/`, one folder a backend, the same numbers and names in both. Applied
//! ones never change.

use super::Error;

/// The schema version this binary was built for: the number of its migrations.
const SCHEMA_VERSION: usize = 14;

/// How many migrations the store has seen; 0 for an empty one.
macro_rules! applied_migrations {
    ($connection:expr) => {{
        let found: Result<i64, sqlx::Error> =
            sqlx::query_scalar("select count(*) from _sqlx_migrations where success")
                .fetch_one($connection)
                .await;
        match found {
            Ok(count) => usize::try_from(count)
                .map_err(|_| crate::store::Error::Corrupt("_sqlx_migrations"))?,
            // The table is made by the first migration.
            Err(sqlx::Error::Database(_)) => 0,
            Err(error) => return Err(error.into()),
        }
    }};
}
pub(super) use applied_migrations;

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
            "0014_partitions"
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
    let numbered = (1..).zip(files).map(|(number, (name, sql))| {
        let sql = AssertSqlSafe(sql).into_sql_str();
        let name = name.split_once('_').map_or(name, |(_, name)| name);
        Migration::new(number, name.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(numbered.collect())
}

pub(super) fn migration_error(error: sqlx::migrate::MigrateError) -> Error {
    use sqlx::migrate::MigrateError;
    match error {
        MigrateError::VersionMissing(version) => Error::Schema(format!(
            "the store's schema has migration {version}, which this hookwell ({}) does not know; \
             run the version that made it or a newer one",
            env!("CARGO_PKG_VERSION")
        )),
        MigrateError::VersionMismatch(version) => Error::Schema(format!(
            "migration {version} of the store differs from this hookwell's; it was made by another build"
        )),
        MigrateError::Execute(source) => Error::Unavailable(source),
        other => Error::Migration(other),
    }
}

pub(super) fn expect_schema(applied: usize) -> Result<(), Error> {
    use std::cmp::Ordering;
    match applied.cmp(&SCHEMA_VERSION) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(Error::Schema(format!(
            "the store's schema is at {applied}, this hookwell needs {SCHEMA_VERSION}; run `hookwell migrate`"
        ))),
        Ordering::Greater => Err(Error::Schema(format!(
            "the store's schema is at {applied}, this hookwell knows {SCHEMA_VERSION}; run the version that made it or a newer one"
        ))),
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
}
