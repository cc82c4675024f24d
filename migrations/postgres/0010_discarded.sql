-- Events that were to be published and that a person gave up on: dead letters and held events that were discarded or
-- erased. Accepted = published + pending + parked + discarded.
alter table cursors add column discarded bigint not null default 0;
