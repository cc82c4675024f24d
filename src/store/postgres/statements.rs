//! The statements that both stores share, in Postgres's dialect.

use super::super::sql::{
    budget_statements, call_list_statements, census_statements, claim_statements,
    erasure_statements, event_columns, gap_statements, held_statements, installation_statements,
    listing_statements, planning_statements, replay_statements, retention_statements,
    shared_statements, subscription_statements, token_statements,
};
shared_statements!(sqlx::PgConnection, sqlx::postgres::PgRow);
held_statements!(sqlx::Postgres, sqlx::PgConnection, sqlx::postgres::PgRow);
retention_statements!(sqlx::Postgres, sqlx::PgConnection, sqlx::postgres::PgRow);
erasure_statements!(
    sqlx::Postgres,
    sqlx::PgConnection,
    sqlx::postgres::PgRow,
    ("position(", " in e.body) > 0")
);
planning_statements!(sqlx::Postgres, sqlx::PgConnection, sqlx::postgres::PgRow);
replay_statements!(sqlx::Postgres, sqlx::PgConnection, sqlx::postgres::PgRow);
installation_statements!(sqlx::PgConnection, sqlx::postgres::PgRow);
token_statements!(sqlx::PgConnection, sqlx::postgres::PgRow);
subscription_statements!(sqlx::PgConnection, sqlx::postgres::PgRow);
call_list_statements!(sqlx::Postgres, sqlx::PgConnection, sqlx::postgres::PgRow);
census_statements!(
    sqlx::Postgres,
    sqlx::PgConnection,
    sqlx::postgres::PgRow,
    "greatest"
);
listing_statements!(
    sqlx::Postgres,
    sqlx::PgConnection,
    sqlx::postgres::PgRow,
    ("position(", " in e.body) > 0")
);
gap_statements!(
    sqlx::Postgres,
    sqlx::PgConnection,
    sqlx::postgres::PgRow,
    " for update"
);
budget_statements!(sqlx::PgConnection, sqlx::postgres::PgRow);
claim_statements!(
    sqlx::Postgres,
    sqlx::PgConnection,
    sqlx::postgres::PgRow,
    " for update",
    " for update skip locked"
);
