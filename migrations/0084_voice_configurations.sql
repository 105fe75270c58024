create table voice_configurations (
    owner      text primary key check (length(owner) between 1 and 256),
    config     jsonb not null check (jsonb_typeof(config) = 'object'),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);

comment on table voice_configurations is 'How each user wants to be heard and spoken to; a session takes a copy when it begins.';
comment on column voice_configurations.owner is 'The owner of the API keys that it is for.';
comment on column voice_configurations.config is 'language, model, punctuation, phrases, voice, speaking_rate, record_audio.';
