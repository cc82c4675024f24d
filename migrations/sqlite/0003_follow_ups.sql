-- The same tables as migrations/postgres/0003_follow_ups.sql, with the same meaning.

insert into cursors (reader, position) select 'planner', position from log_head;

create table installations (
    app_id             text    not null,
    tenant             text    not null,
    account            text    not null check (account in ('location', 'company')),
    company_id         text,
    state              text    not null check (state in ('installed', 'uninstalled')),
    generation         integer not null,
    changed_at         integer not null,
    installed_at       integer,
    uninstalled_at     integer,
    company_name       text,
    user_id            text,
    plan_id            text,
    version_id         text,
    white_label_domain text,
    primary key (app_id, tenant)
) strict, without rowid;
create index installations_of_a_company on installations (app_id, company_id);

create table tokens (
    app_id                 text    not null,
    tenant                 text    not null,
    account                text    not null check (account in ('location', 'company')),
    company_id             text,
    access_token           blob    not null,
    refresh_token          blob,
    previous_refresh_token blob,
    scope                  text    not null,
    obtained_at            integer not null,
    expires_at             integer not null,
    state                  text    not null check (state in ('usable', 'reauthorise')),
    version                integer not null,
    refreshing_until       integer,
    unknown_refreshes      integer not null default 0,
    primary key (app_id, tenant)
) strict, without rowid;

create table oauth_states (
    state_hash  blob    primary key,
    app_id      text    not null,
    cookie_hash blob    not null,
    expires_at  integer not null
) strict, without rowid;

create table follow_ups (
    id          integer primary key autoincrement,
    position    integer not null,
    rule        text    not null,
    app_id      text    not null,
    tenant      text    not null,
    entity_id   text,
    state       text    not null check (state in ('pending', 'done', 'dead', 'cancelled', 'merged')),
    due_at      integer not null,
    claimed     integer not null default false,
    lease       integer not null default 0,
    attempt     integer not null default 0,
    progress    text    not null default '{}',
    planned_at  integer not null,
    ended_at    integer,
    status      integer,
    reason      text,
    detail      text,
    unique (position, rule)
) strict;
create index follow_ups_due on follow_ups (app_id, tenant, due_at) where state = 'pending';
create index follow_ups_of_a_record on follow_ups (rule, app_id, tenant, entity_id, id) where state = 'pending';
create index follow_ups_ended on follow_ups (ended_at) where state in ('done', 'cancelled', 'merged');
create index follow_ups_dead on follow_ups (id) where state = 'dead';

create table call_budgets (
    app_id    text    not null,
    tenant    text    not null,
    budget    text    not null default '',
    next_at   integer,
    served_at integer not null default 0,
    primary key (app_id, tenant)
) strict, without rowid;
create index call_budgets_next on call_budgets (served_at) where next_at is not null;
