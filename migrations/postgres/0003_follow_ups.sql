-- Installations of the apps and their tokens, and the API calls that events call for.

-- A third reader: it plans calls and follows the life of installations. What came before it was there is
-- not planned for.
insert into cursors (reader, position) select 'planner', position from log_head;

create table installations (
    app_id             text   not null,
    -- The location, or the company of a company-wide installation.
    tenant             text   not null,
    account            text   not null check (account in ('location', 'company')),
    -- Of a location; not known where the INSTALL did not say it ("install to future locations").
    company_id         text,
    state              text   not null check (state in ('installed', 'uninstalled')),
    -- Counts installs.
    generation         bigint not null,
    -- GHL's time of the newest event that was applied: an older one changes nothing.
    changed_at         bigint not null,
    installed_at       bigint,
    uninstalled_at     bigint,
    company_name       text,
    user_id            text,
    plan_id            text,
    version_id         text,
    white_label_domain text,
    primary key (app_id, tenant)
);
create index installations_of_a_company on installations (app_id, company_id);

-- Sealed: the key is not in the store. One row for each token that is used or refreshed.
create table tokens (
    app_id                 text   not null,
    tenant                 text   not null,
    account                text   not null check (account in ('location', 'company')),
    company_id             text,
    access_token           bytea  not null,
    refresh_token          bytea,
    -- For one more try where the answer to a refresh was lost.
    previous_refresh_token bytea,
    scope                  text   not null,
    obtained_at            bigint not null,
    expires_at             bigint not null,
    state                  text   not null check (state in ('usable', 'reauthorise')),
    -- Raised by every change: whoever began a refresh ends it under that number or not at all.
    version                bigint not null,
    -- Until when a refresh that was begun may be under way.
    refreshing_until       bigint,
    -- Refreshes in a row whose outcome nobody knows.
    unknown_refreshes      bigint not null default 0,
    primary key (app_id, tenant)
);

-- Hashes of what an authorisation in a browser comes back with; each is good once and for ten minutes.
create table oauth_states (
    state_hash  bytea  primary key,
    app_id      text   not null,
    cookie_hash bytea  not null,
    expires_at  bigint not null
);

-- One row for each event and rule; those with the same rule and record run one after the other.
create table follow_ups (
    id          bigint generated always as identity primary key,
    position    bigint not null,
    rule        text   not null,
    app_id      text   not null,
    tenant      text   not null,
    entity_id   text,
    -- pending: to be made; done; dead: parked for a person; cancelled: the app was uninstalled;
    -- merged: another call of the same rule and record is made for both.
    state       text   not null check (state in ('pending', 'done', 'dead', 'cancelled', 'merged')),
    -- When it may be made; while it is claimed, when the claim ends.
    due_at      bigint not null,
    claimed     boolean not null default false,
    -- Counts claims: whoever was late changes nothing.
    lease       bigint not null default 0,
    -- Calls that counted.
    attempt     bigint not null default 0,
    -- What the next call has to know of the ones before, as JSON.
    progress    text   not null default '{}',
    planned_at  bigint not null,
    ended_at    bigint,
    -- Of the last call.
    status      bigint,
    reason      text,
    detail      text,
    unique (position, rule)
);
create index follow_ups_due on follow_ups (app_id, tenant, due_at) where state = 'pending';
create index follow_ups_of_a_record on follow_ups (rule, app_id, tenant, entity_id, id) where state = 'pending';
create index follow_ups_ended on follow_ups (ended_at) where state in ('done', 'cancelled', 'merged');
create index follow_ups_dead on follow_ups (id) where state = 'dead';

-- One row for each app and tenant with calls: what was spent (see src/budget.rs), and when to look again.
create table call_budgets (
    app_id    text   not null,
    tenant    text   not null,
    budget    text   not null default '',
    -- None where nothing waits.
    next_at   bigint,
    -- Who waits longest is served first.
    served_at bigint not null default 0,
    primary key (app_id, tenant)
) with (fillfactor = 50);
create index call_budgets_next on call_budgets (served_at) where next_at is not null;
