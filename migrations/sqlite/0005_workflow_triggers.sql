-- The same table as migrations/postgres/0005_workflow_triggers.sql, with the same meaning.
create table subscriptions (
    app_id      text    not null,
    location_id text    not null,
    id          text    not null,
    trigger_key text    not null,
    company_id  text,
    workflow_id text,
    filters     text    not null,
    target_url  text    not null,
    changed_at  integer not null,
    primary key (app_id, location_id, id)
) strict, without rowid;
