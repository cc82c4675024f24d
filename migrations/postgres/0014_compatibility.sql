-- The oldest schema whose binaries may run on this one. A later migration that they could not live with raises it, see
-- migrations/README.md.
create table compatibility (
    only_row boolean primary key default true check (only_row),
    oldest bigint not null
);
insert into compatibility (oldest) values (14);
