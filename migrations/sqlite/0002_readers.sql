-- The same tables as migrations/postgres/0002_readers.sql, with the same meaning, and one reader more.

create table held_tenants (
    tenant text    primary key,
    reason text    not null,
    detail text    not null,
    since  integer not null,
    events integer not null
) strict, without rowid;

create table held_events (
    position integer primary key,
    tenant   text    not null
) strict;
create index held_events_in_order on held_events (tenant, position);

-- The reader that writes keys into event_keys, many at once and in order. Up to its cursor they are there.
insert into cursors (reader, position) select 'keys', position from log_head;
