-- The same table as migrations/postgres/0014_compatibility.sql, with the same meaning.
create table compatibility (
    only_row integer primary key check (only_row = 1),
    oldest integer not null
) strict;
insert into compatibility (only_row, oldest) values (1, 14);
