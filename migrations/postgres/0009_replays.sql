-- Events that a person wants published again: those in (after, upto] that the filters let through and that were
-- published once. `position` is how far the relay is; `matched` how many there were when it was asked for.
create table replays (
    id         bigint generated always as identity primary key,
    asked_at   bigint not null,
    who        text   not null,
    event_type text,
    tenant     text,
    after      bigint not null,
    upto       bigint not null,
    rate       bigint not null,
    matched    bigint not null,
    state      text   not null check (state in ('running', 'done', 'cancelled')),
    position   bigint not null,
    published  bigint not null default 0,
    failed     bigint not null default 0,
    detail     text,
    ended_at   bigint
);
create index replays_running on replays (id) where state = 'running';
