-- Backfills and looks at installations are few among the calls, and have a page of their own.
create index follow_ups_of_hookwell on follow_ups (id) where substr(rule, 1, 9) = 'hookwell.';
