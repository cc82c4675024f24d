-- The same table as migrations/postgres/0009_replays.sql, with the same meaning.
create table replays (
    id         integer primary key autoincrement,
    asked_at   integer not null,
    who        text    not null,
    event_type text,
    tenant     text,
    after      integer not null,
    upto       integer not null,
    rate       integer not null,
    matched    integer not null,
    state      text    not null check (state in ('running', 'done', 'cancelled')),
    position   integer not null,
    published  integer not null default 0,
    failed     integer not null default 0,
    detail     text,
    ended_at   integer
) strict;
create index replays_running on replays (id) where state = 'running';
