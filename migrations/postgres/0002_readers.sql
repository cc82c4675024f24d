-- Tenants whose events RabbitMQ refuses while it takes those of others. Their events wait here, behind the
-- cursor, in order, and are tried again; nobody else waits for them.
create table held_tenants (
    -- The location, else the company; empty for events without either.
    tenant text   primary key,
    reason text   not null,
    detail text   not null,
    since  bigint not null,
    -- How many rows of held_events are its own.
    events bigint not null
) with (fillfactor = 50);

create table held_events (
    position bigint primary key,
    tenant   text   not null
);
create index held_events_in_order on held_events (tenant, position);
