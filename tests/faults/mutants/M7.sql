-- The defect M7: positions from a sequence and no lock, as an outbox polled by `id > cursor` has them.
-- A position is taken at the insert and becomes visible at the commit, so a reader can pass one that
-- commits later.
create sequence if not exists m7_positions;
create or replace function append_events(
    event_keys_in text[], app_ids text[], event_types text[], company_ids text[], location_ids text[],
    entity_ids text[], origins text[], signatures text[], received_ats bigint[], body_hashes bytea[],
    bodies bytea[]
) returns table (ord bigint, outcome text, log_position bigint, final_key text)
language plpgsql
as $$
begin
    return query
    with incoming as (
        select i.*, nextval('m7_positions') as place
        from unnest(event_keys_in, app_ids, event_types, company_ids, location_ids, entity_ids,
                    origins, signatures, received_ats, body_hashes, bodies) with ordinality
            as i(event_key, app_id, event_type, company_id, location_id, entity_id,
                 origin, signature, received_at, body_hash, body, ord)
    ), keys_added as (
        insert into event_keys (event_key, app_id, position, received_at, body_hash)
        select i.event_key, i.app_id, i.place, i.received_at, i.body_hash from incoming i
        on conflict do nothing
        returning event_keys.position as place
    ), events_added as (
        insert into events (position, event_key, app_id, event_type, company_id, location_id, entity_id,
                            origin, signature, received_at, body_hash, body)
        select i.place, i.event_key, i.app_id, i.event_type, i.company_id, i.location_id,
               i.entity_id, i.origin, i.signature, i.received_at, i.body_hash, i.body
        from incoming i join keys_added k on k.place = i.place
    )
    select i.ord, case when k.place is null then 'duplicate' else 'new' end, i.place, i.event_key
    from incoming i left join keys_added k on k.place = i.place
    order by i.ord;
    -- Whoever commits first need not have the smaller positions.
    update log_head set position = greatest(position, (select last_value from m7_positions));
end;
$$;
