create table conversation_turns (
    id          uuid primary key,
    session_id  uuid not null,
    owner       text not null,
    n           int not null check (n >= 1),
    speaker     text not null check (speaker in ('user', 'assistant')),
    text        text not null,
    chunk_id    uuid,
    start_ms    bigint check (start_ms >= 0),
    end_ms      bigint check (end_ms >= start_ms),
    duration_ms bigint not null check (duration_ms >= 0),
    confidence  double precision check (confidence between 0 and 1),
    words       jsonb not null default '[]' check (jsonb_typeof(words) = 'array'),
    language    text,
    voice       text,
    engine      text,
    interrupted boolean not null default false,
    at          timestamptz not null default clock_timestamp(),
    unique (session_id, n),
    check ((start_ms is null) = (end_ms is null)),
    foreign key (session_id, owner) references call_sessions (id, owner) on delete cascade,
    foreign key (chunk_id, session_id) references audio_chunks (id, session_id) on delete set null (chunk_id)
);

create index conversation_turns_of_chunk on conversation_turns (chunk_id) where chunk_id is not null;

comment on table conversation_turns is 'What was said in a session, and by whom.';
comment on column conversation_turns.owner is 'The session''s owner; a turn of another''s session cannot be stored.';
comment on column conversation_turns.n is 'From 1, in the order of the session.';
comment on column conversation_turns.chunk_id is 'The sound that it was heard in.';
comment on column conversation_turns.start_ms is 'On the session''s clock of sound; null where it is not part of that sound.';
comment on column conversation_turns.duration_ms is 'How long the speaking took.';
comment on column conversation_turns.confidence is '0 to 1; null where the engine does not say, and for what was synthesized.';
comment on column conversation_turns.words is 'Array of {word, start_ms, end_ms, confidence}, on the session''s clock of sound.';
comment on column conversation_turns.interrupted is 'The person spoke, and the rest was not played.';
