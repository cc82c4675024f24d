-- The same columns as migrations/postgres/0012_restored.sql, with the same meaning.
alter table log_head add column skipped integer not null default 0;
alter table gaps add column is_restore integer not null default false;
