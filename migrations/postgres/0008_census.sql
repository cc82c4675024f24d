-- What is counted to notice that webhooks fail or stop.

-- Answers to webhooks in each hour, by all daemons: GHL pauses a URL of which too few are 2xx in three days.
create table webhook_answers (
    hour   bigint primary key,
    ok     bigint not null,
    failed bigint not null
);

-- When each tenant was last heard of, and the longest it was silent before, lately.
create table tenants (
    tenant      text   primary key,
    first_at    bigint not null,
    last_at     bigint not null,
    longest_gap bigint not null
);

-- How far they are counted. Retention does not wait for it.
insert into cursors (reader, position) select 'census', position from log_head;
