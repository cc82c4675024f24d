-- What people did, for whoever asks later. Rows are only ever added; retention takes none.
create table audit (
    id       bigint generated always as identity primary key,
    at       bigint not null,
    -- A name of admin.token_file, or the user who ran a command.
    who      text   not null,
    action   text   not null,
    subject  text   not null,
    affected bigint not null
);
