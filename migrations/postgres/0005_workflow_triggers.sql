-- Workflows of GHL that wait for a trigger of an app, each until GHL says that it is deleted.
create table subscriptions (
    app_id      text   not null,
    location_id text   not null,
    -- GHL's.
    id          text   not null,
    trigger_key text   not null,
    company_id  text,
    workflow_id text,
    -- As GHL sent them, JSON.
    filters     text   not null,
    -- Where the workflow is started.
    target_url  text   not null,
    changed_at  bigint not null,
    primary key (app_id, location_id, id)
);
