-- The same column as migrations/postgres/0010_discarded.sql, with the same meaning.
alter table cursors add column discarded integer not null default 0;
