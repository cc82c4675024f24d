-- The same tables as migrations/postgres/0001_log.sql, with the same meaning. What differs: positions
-- are handed out by the one writer inside its transaction (SQLite has one), so there is no function.

create table log_head (
    only_row integer primary key check (only_row = 1),
    position integer not null
) strict;
insert into log_head (only_row, position) values (1, 0);

create table events (
    position    integer primary key,
    event_key   text    not null,
    app_id      text    not null,
    event_type  text    not null,
    company_id  text,
    location_id text,
    entity_id   text,
    origin      text    not null,
    signature   text,
    received_at integer not null,
    body_hash   blob    not null,
    body        blob    not null
) strict;

create table event_keys (
    event_key   text    not null,
    app_id      text    not null,
    position    integer not null,
    received_at integer not null,
    body_hash   blob    not null,
    primary key (event_key, app_id)
) strict, without rowid;

create table cursors (
    reader    text    primary key,
    position  integer not null default 0,
    published integer not null default 0
) strict;
insert into cursors (reader) values ('relay');

create table dead_letters (
    position   integer primary key,
    reason     text    not null,
    detail     text    not null,
    parked_at  integer not null,
    retries    integer not null default 0,
    state      text    not null check (state in ('parked', 'retry'))
) strict;

create table quarantine (
    id               integer primary key autoincrement,
    fingerprint      blob    not null unique,
    reason           text    not null,
    path             text    not null,
    signature        text,
    legacy_signature text,
    first_seen_at    integer not null,
    last_seen_at     integer not null,
    attempts         integer not null,
    body             blob    not null
) strict;
