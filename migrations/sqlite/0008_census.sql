-- The same tables as migrations/postgres/0008_census.sql, with the same meaning.
create table webhook_answers (
    hour   integer primary key,
    ok     integer not null,
    failed integer not null
) strict;

create table tenants (
    tenant      text    primary key,
    first_at    integer not null,
    last_at     integer not null,
    longest_gap integer not null
) strict, without rowid;

insert into cursors (reader, position) select 'census', position from log_head;
