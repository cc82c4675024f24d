-- When the daemons could last take webhooks: one row.
create table acceptance (
    id       smallint primary key check (id = 1),
    until_at bigint not null
);

-- Times in which none could, and what GHL sent then may be lost.
create table gaps (
    since_at    bigint primary key,
    until_at    bigint not null,
    -- When what changed in it was asked for; none while that is to come, or where it is too short.
    repaired_at bigint
);
