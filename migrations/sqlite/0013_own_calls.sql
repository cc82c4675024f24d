-- The same index as migrations/postgres/0013_own_calls.sql, with the same meaning.
create index follow_ups_of_hookwell on follow_ups (id) where substr(rule, 1, 9) = 'hookwell.';
