-- What came of calls that were not the last of their follow-up, or were parked: the follow-up itself knows its last one.
create table follow_up_attempts (
    follow_up_id bigint  not null references follow_ups (id) on delete cascade,
    at           bigint  not null,
    status       integer,
    reason       text,
    detail       text,
    primary key (follow_up_id, at)
);
