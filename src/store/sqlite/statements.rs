//! The statements that both stores share, in SQLite's dialect.

use super::super::sql::{
    budget_statements, call_list_statements, census_statements, claim_statements,
    erasure_statements, event_columns, gap_statements, held_statements, installation_statements,
    listing_statements, planning_statements, replay_statements, retention_statements,
    shared_statements, subscription_statements, token_statements,
};
shared_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
held_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow
);
retention_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow
);
erasure_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow,
    ("instr(e.body, ", ") > 0")
);
planning_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow
);
replay_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow
);
installation_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
token_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
subscription_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
call_list_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow
);
census_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow,
    "max"
);
listing_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow,
    ("instr(e.body, ", ") > 0")
);
gap_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow,
    ""
);
// There is one writer: nothing to lock.
budget_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
claim_statements!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    sqlx::sqlite::SqliteRow,
    "",
    ""
);
