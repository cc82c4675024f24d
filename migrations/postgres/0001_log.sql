-- The log, the keys that make a repeated delivery one event, the readers' cursors, and what is kept
-- for a person to look at. Applied migrations never change; a change is a new file.

-- One row. Updating it hands out positions without gaps, and its row lock puts appends in line.
create table log_head (
    only_row boolean primary key default true check (only_row),
    position bigint not null
) with (fillfactor = 10);
insert into log_head (position) values (0);

-- Append-only. Delivery never updates a row. Times are microseconds since 1970 (UTC).
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
);

-- Outlives the bodies: GHL retries for about three days and people resend by hand for thirty.
create table event_keys (
    event_key   text   not null,
    app_id      text   not null,
    position    bigint not null,
    received_at bigint not null,
    body_hash   bytea  not null,
    primary key (event_key, app_id)
);

-- How far each reader is. `published` and `parked` are what the reader did with the events behind it.
create table cursors (
    reader    text   primary key,
    position  bigint not null default 0,
    published bigint not null default 0
) with (fillfactor = 10);
insert into cursors (reader) values ('relay');

-- Events that could not be published. The event itself stays in the log while its row is here.
create table dead_letters (
    position   bigint  primary key,
    reason     text    not null,
    detail     text    not null,
    parked_at  bigint  not null,
    retries    integer not null default 0,
    -- parked: waits for a person; retry: a person asked for it, the relay takes it next.
    state      text    not null check (state in ('parked', 'retry'))
);

-- Requests that were refused, for an operator who wants to know why. Bounded by the writer of rows.
create table quarantine (
    id               bigint generated always as identity primary key,
    fingerprint      bytea   not null unique,
    reason           text    not null,
    path             text    not null,
    signature        text,
    legacy_signature text,
    first_seen_at    bigint  not null,
    last_seen_at     bigint  not null,
    attempts         bigint  not null,
    body             bytea   not null
);

-- Appends a batch in one call. Precondition: no two rows of a batch share (app_id, event_key).
--
-- The first statement locks the one row of log_head, so batches commit one after the other and a
-- position becomes visible only after every smaller one: a reader's cursor never skips a late commit.
-- No client round trip happens while the lock is held. Under READ COMMITTED the second statement sees
-- everything that was committed before the lock was had.
--
-- outcome: 'new'; 'duplicate' (this key came with these bytes before); 'altered' (the key is known
-- with other bytes: kept under <key>~<first 16 hex digits of the hash>).
create function append_events(
    event_keys_in text[], app_ids text[], event_types text[], company_ids text[], location_ids text[],
    entity_ids text[], origins text[], signatures text[], received_ats bigint[], body_hashes bytea[],
    bodies bytea[]
) returns table (ord bigint, outcome text, log_position bigint, final_key text)
language plpgsql
-- Statistics of a table that grows from nothing mislead the planner: every look-up here is by key. A
-- statement that still needed a sequential scan would look dear enough to be compiled, which takes
-- seconds under the lock, so there is none, and no JIT.
set enable_seqscan = off
set jit = off
as $$
declare
    head bigint;
begin
    select h.position into head from log_head h where h.only_row for update;

    -- Nearly always nothing of a batch is known. Then there is nothing to judge, and one row says it all:
    -- ord 0, and the position before the first one.
    perform 1
    from unnest(event_keys_in, app_ids) as i(event_key, app_id)
    where exists (select 1 from event_keys k where k.event_key = i.event_key and k.app_id = i.app_id)
    limit 1;
    if not found then
        insert into event_keys (event_key, app_id, position, received_at, body_hash)
        select i.event_key, i.app_id, head + i.ord, i.received_at, i.body_hash
        from unnest(event_keys_in, app_ids, received_ats, body_hashes) with ordinality
            as i(event_key, app_id, received_at, body_hash, ord);
        insert into events (position, event_key, app_id, event_type, company_id, location_id, entity_id,
                            origin, signature, received_at, body_hash, body)
        select head + i.ord, i.event_key, i.app_id, i.event_type, i.company_id, i.location_id,
               i.entity_id, i.origin, i.signature, i.received_at, i.body_hash, i.body
        from unnest(event_keys_in, app_ids, event_types, company_ids, location_ids, entity_ids,
                    origins, signatures, received_ats, body_hashes, bodies) with ordinality
            as i(event_key, app_id, event_type, company_id, location_id, entity_id,
                 origin, signature, received_at, body_hash, body, ord);
        update log_head set position = head + cardinality(event_keys_in) where only_row;
        return query select 0::bigint, 'new'::text, head, null::text;
        return;
    end if;

    return query
    with incoming as (
        select i.*
        from unnest(event_keys_in, app_ids, event_types, company_ids, location_ids, entity_ids,
                    origins, signatures, received_ats, body_hashes, bodies) with ordinality
            as i(event_key, app_id, event_type, company_id, location_id, entity_id,
                 origin, signature, received_at, body_hash, body, ord)
    ), known as (
        select i.ord, i.event_key, i.app_id, i.body_hash,
               (select k.body_hash from event_keys k
                where k.event_key = i.event_key and k.app_id = i.app_id) as known_hash
        from incoming i
    ), named as (
        select k.ord, k.app_id, k.known_hash,
               k.known_hash is not null and k.known_hash <> k.body_hash as is_altered,
               case when k.known_hash is not null and k.known_hash <> k.body_hash
                    then k.event_key || '~' || left(encode(k.body_hash, 'hex'), 16)
                    else k.event_key end as final_key
        from known k
    ), judged as (
        select n.ord, n.final_key, n.is_altered,
               case when n.is_altered
                    then not exists (select 1 from event_keys k
                                     where k.event_key = n.final_key and k.app_id = n.app_id)
                    else n.known_hash is null end as is_new
        from named n
    ), placed as (
        select j.ord, j.final_key, j.is_altered, j.is_new,
               case when j.is_new
                    then head + sum(case when j.is_new then 1 else 0 end) over (order by j.ord)
               end::bigint as log_position
        from judged j
    ), keys_added as (
        insert into event_keys (event_key, app_id, position, received_at, body_hash)
        select p.final_key, i.app_id, p.log_position, i.received_at, i.body_hash
        from placed p join incoming i on i.ord = p.ord
        where p.is_new
    ), events_added as (
        insert into events (position, event_key, app_id, event_type, company_id, location_id, entity_id,
                            origin, signature, received_at, body_hash, body)
        select p.log_position, p.final_key, i.app_id, i.event_type, i.company_id, i.location_id,
               i.entity_id, i.origin, i.signature, i.received_at, i.body_hash, i.body
        from placed p join incoming i on i.ord = p.ord
        where p.is_new
        order by p.ord
    ), head_moved as (
        update log_head set position = head + (select count(*) from placed where is_new)
        where only_row and exists (select 1 from placed where is_new)
    )
    select p.ord,
           case when p.is_new and p.is_altered then 'altered' when p.is_new then 'new' else 'duplicate' end,
           p.log_position, p.final_key
    from placed p
    order by p.ord;
end;
$$;

-- The log with readable times, for people with psql.
create view events_readable as
select position, to_timestamp(received_at / 1e6) as received_at, event_type, app_id, location_id,
       company_id, entity_id, event_key, origin, octet_length(body) as body_bytes
from events;
