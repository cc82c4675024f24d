-- The same table as migrations/postgres/0011_attempts.sql, with the same meaning.
create table follow_up_attempts (
    follow_up_id integer not null references follow_ups (id) on delete cascade,
    at           integer not null,
    status       integer,
    reason       text,
    detail       text,
    primary key (follow_up_id, at)
) strict, without rowid;
