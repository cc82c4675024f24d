-- Claims are few among the calls that wait: those that are over are found without reading the rest.
create index follow_ups_claimed on follow_ups (app_id, tenant, due_at) where claimed;

-- The next look at the calls of anybody.
create index call_budgets_next_at on call_budgets (next_at) where next_at is not null;
