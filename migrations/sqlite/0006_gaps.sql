-- The same tables as migrations/postgres/0006_gaps.sql, with the same meaning.
create table acceptance (
    id       integer primary key check (id = 1),
    until_at integer not null
) strict;

create table gaps (
    since_at    integer primary key,
    until_at    integer not null,
    repaired_at integer
) strict;
