-- The same table as migrations/postgres/0007_audit.sql, with the same meaning.
create table audit (
    id       integer primary key autoincrement,
    at       integer not null,
    who      text    not null,
    action   text    not null,
    subject  text    not null,
    affected integer not null
) strict;
