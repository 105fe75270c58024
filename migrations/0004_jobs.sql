create table jobs (
    source       text not null check (length(source) <= 256),
    event_id     text not null check (length(event_id) between 1 and 256),
    type         text not null,
    content_hash bytea not null check (length(content_hash) = 32),
    subject_id   uuid not null,
    accepted_at  timestamptz not null default now(),
    primary key (source, event_id)
);

comment on table jobs is 'The name of every job ever accepted: a repeat changes nothing, another body under the same name is refused. Keep at least 400 days.';
comment on column jobs.content_hash is 'SHA-256 over type and data as canonical JSON.';
comment on column jobs.subject_id is 'What the job made or concerns: a call''s id.';
