-- The log in partitions, so that what is old goes as a whole: dropping one costs the same however much is in it, and its
-- disk space is the system's again. A partition holds [from_position, upto_position); the daemons add the next one before
-- it is wanted.
create table event_partitions (
    from_position bigint primary key,
    upto_position bigint not null unique,
    -- The table.
    name          text   not null,
    -- When it was made: how fast the log grows says how large the next one is to be.
    made_at       bigint not null
);

-- Nothing is appended meanwhile.
select position from log_head where only_row for update;
drop view events_readable;
alter table events rename to events_before;
alter index events_pkey rename to events_before_pkey;

create table events (
    position    bigint primary key,
    event_key   text   not null,
    app_id      text   not null,
    event_type  text   not null,
    company_id  text,
    location_id text,
    entity_id   text,
    origin      text   not null,
    signature   text,
    received_at bigint not null,
    body_hash   bytea  not null,
    body        bytea  not null
) partition by range (position);

-- What outlives its partition: dead letters, held events and those of open calls. And what comes where there is none.
create table events_kept partition of events default;

do $$
declare
    head bigint;
    at   bigint := extract(epoch from clock_timestamp()) * 1000000;
    size bigint := 250000;
    first bigint;
begin
    select position into head from log_head;
    if head = 0 then
        drop table events_before;
    else
        -- With a constraint that says so, the log is read once and not twice.
        execute format('alter table events_before add constraint events_before_upto check (position <= %s)', head);
        execute format('alter table events attach partition events_before for values from (minvalue) to (%s)', head + 1);
        alter table events_before drop constraint events_before_upto;
        insert into event_partitions values (0, head + 1, 'events_before', at);
    end if;
    for n in 0..1 loop
        first := head + 1 + n * size;
        execute format('create table events_%s partition of events for values from (%s) to (%s)', first, first, first + size);
        insert into event_partitions values (first, first + size, format('events_%s', first), at);
    end loop;
end;
$$;

-- The log with readable times, for people with psql.
create view events_readable as
select position, to_timestamp(received_at / 1e6) as received_at, event_type, app_id, location_id,
       company_id, entity_id, event_key, origin, octet_length(body) as body_bytes
from events;

-- A hookwell that does not know of partitions would add none.
update compatibility set oldest = 15;
