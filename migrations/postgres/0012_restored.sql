-- Positions that were never given to an event: after a restore the log goes on behind those that were given out since
-- the copy. Accepted = position - skipped. And the time that such a copy lacks: GHL was told 200 and does not come again.
alter table log_head add column skipped bigint not null default 0;
alter table gaps add column is_restore boolean not null default false;
