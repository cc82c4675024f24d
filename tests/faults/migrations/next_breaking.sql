-- What the version after this one might take away: the versions before it may not run on that.
alter table quarantine rename column reason to next_reason;
-- Its own number. The row of this migration comes with its end.
update compatibility set oldest = (select max(version) + 1 from _sqlx_migrations);
