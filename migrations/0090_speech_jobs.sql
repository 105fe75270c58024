create table speech_jobs (
    id            uuid primary key,
    source        text not null,
    event_id      text not null,
    kind          text not null check (kind in ('transcribe', 'synthesize')),
    status        text not null default 'accepted' check (status in ('accepted', 'running', 'scheduled', 'completed', 'failed')),
    status_reason text,
    status_detail text,
    request       jsonb not null,
    input         bytea,
    tries         int not null default 0,
    due_at        timestamptz not null default clock_timestamp(),
    lease_owner   uuid,
    lease_until   timestamptz,
    fence         bigint not null default 0,
    engine        text,
    sound_hash    bytea check (length(sound_hash) = 32),
    duration_ms   bigint,
    done_ms       bigint not null default 0,
    result        jsonb,
    output        bytea,
    metadata      jsonb not null default '{}',
    outcome_queue text,
    traceparent   text,
    created_at    timestamptz not null default clock_timestamp(),
    updated_at    timestamptz not null default clock_timestamp(),
    finished_at   timestamptz,
    unique (source, event_id),
    check ((status = 'running') = (lease_until is not null)),
    check ((status in ('completed', 'failed')) = (finished_at is not null)),
    check (status <> 'completed' or result is not null)
);

create index speech_jobs_due on speech_jobs (due_at) where status in ('accepted', 'scheduled');
create index speech_jobs_running on speech_jobs (lease_until) where status = 'running';

comment on table speech_jobs is 'Audio jobs from the queue: recordings to transcribe, texts to synthesize. One row for one job, for ever.';
comment on column speech_jobs.request is 'The data of the event, without the recording.';
comment on column speech_jobs.input is 'The recording that came in the message; gone when the job has ended.';
comment on column speech_jobs.tries is 'How often a replica took it up, this time included.';
comment on column speech_jobs.fence is 'Rises with every lease: whoever writes with an older one was overtaken.';
comment on column speech_jobs.sound_hash is 'SHA-256 of the decoded samples. Chunks belong to this sound.';
comment on column speech_jobs.done_ms is 'How much of duration_ms is recognized and kept in speech_job_chunks.';
comment on column speech_jobs.result is 'What the outcome event tells.';
comment on column speech_jobs.output is 'The synthesized sound, where the job named no address for it.';

create table speech_job_chunks (
    job_id     uuid not null references speech_jobs on delete cascade,
    n          int not null,
    from_ms    bigint not null,
    to_ms      bigint not null,
    utterances jsonb not null,
    kept_at    timestamptz not null default clock_timestamp(),
    primary key (job_id, n)
);

comment on table speech_job_chunks is 'What is recognized of a long recording that is not yet heard to its end. A crash does not pay for it twice.';
