-- What the version after this one might add, for both stores: columns where the daemons of this one read and write, and a table.
alter table events add column next_note text;
alter table cursors add column next_count integer not null default 0;
create table next_things (id integer primary key);
