create table audio_chunks (
    id            uuid primary key,
    session_id    uuid not null,
    owner         text not null,
    n             int not null check (n >= 1),
    source        text not null check (source in ('upload', 'stream')),
    format        text not null check (format in ('wav', 'pcm16', 'mulaw', 'alaw', 'opus')),
    bytes         bigint not null check (bytes >= 0),
    start_ms      bigint not null check (start_ms >= 0),
    duration_ms   bigint not null check (duration_ms >= 0),
    truncated     boolean not null default false,
    transcription text,
    confidence    double precision check (confidence between 0 and 1),
    words         jsonb not null default '[]' check (jsonb_typeof(words) = 'array'),
    language      text,
    engine        text,
    billed_ms     bigint not null default 0 check (billed_ms >= 0),
    audio         bytea,
    received_at   timestamptz not null default clock_timestamp(),
    unique (session_id, n),
    unique (id, session_id),
    foreign key (session_id, owner) references call_sessions (id, owner) on delete cascade
);

create index audio_chunks_with_audio on audio_chunks (received_at) where audio is not null;

comment on table audio_chunks is 'What was heard in a session, piece by piece.';
comment on column audio_chunks.owner is 'The session''s owner; a chunk of another''s session cannot be stored.';
comment on column audio_chunks.n is 'From 1, in the order of the session.';
comment on column audio_chunks.source is 'upload: a whole recording; stream: a stretch of live sound.';
comment on column audio_chunks.start_ms is 'Where it begins on the session''s clock of sound.';
comment on column audio_chunks.truncated is 'The file ended before the sound that it promised.';
comment on column audio_chunks.transcription is 'Empty where nothing was said; null where nobody listened.';
comment on column audio_chunks.confidence is '0 to 1; null where the engine does not say.';
comment on column audio_chunks.words is 'Array of {word, start_ms, end_ms, confidence}; times from the chunk''s beginning.';
comment on column audio_chunks.billed_ms is 'Sound that the engine counts.';
comment on column audio_chunks.audio is 'The bytes as they came, where the user''s configuration records them; removed after sessions.keep_audio.';
