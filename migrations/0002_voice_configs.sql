create table voice_configs (
    name       text primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    config     jsonb not null check (jsonb_typeof(config) = 'object'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table voice_configs is 'Stored voice configurations; a job names one, and takes a copy of it when it is accepted.';
comment on column voice_configs.config is 'The configuration as in a job''s inline voice_config.';
