create table call_sessions (
    id                uuid primary key,
    owner             text not null check (length(owner) between 1 and 256),
    caller_id         text not null check (length(caller_id) between 1 and 200),
    status            text not null default 'active' check (status in ('active', 'paused', 'ended', 'failed')),
    reason            text,
    detail            text,
    transport         text not null default 'http' check (transport in ('http', 'websocket', 'webrtc', 'media_stream')),
    replica_id        uuid not null,
    config            jsonb not null check (jsonb_typeof(config) = 'object'),
    metadata          jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    started_at        timestamptz not null default clock_timestamp(),
    last_active_at    timestamptz not null default clock_timestamp(),
    paused_at         timestamptz,
    paused_seconds    double precision not null default 0 check (paused_seconds >= 0),
    ended_at          timestamptz,
    duration_seconds  double precision check (duration_seconds >= 0),
    heard_ms          bigint not null default 0 check (heard_ms >= 0),
    chunks            int not null default 0 check (chunks >= 0),
    turns             int not null default 0 check (turns >= 0),
    ticket_sha256     bytea check (length(ticket_sha256) = 32),
    ticket_expires_at timestamptz,
    unique (id, owner),
    check ((status = 'paused') = (paused_at is not null)),
    check ((status in ('ended', 'failed')) = (ended_at is not null)),
    check ((ended_at is null) = (duration_seconds is null)),
    check (status not in ('ended', 'failed') or reason is not null),
    check ((ticket_sha256 is null) = (ticket_expires_at is null))
) with (fillfactor = 70);

create index call_sessions_live on call_sessions (owner) where status in ('active', 'paused');
create index call_sessions_newest on call_sessions (owner, started_at desc, id desc);
create index call_sessions_ended on call_sessions (ended_at) where ended_at is not null;

comment on table call_sessions is 'One row for each live voice session; rows are deleted sessions.keep_sessions after the end.';
comment on column call_sessions.owner is 'Whose session it is (the owner of the API key); every query carries it.';
comment on column call_sessions.caller_id is 'The caller in the words of whoever began the session.';
comment on column call_sessions.reason is 'Why it ended, in a stable vocabulary: client, idle, too_long, replica_stopped, replica_lost, …';
comment on column call_sessions.detail is 'The same for a person to read; with the reason client in the client''s own words.';
comment on column call_sessions.transport is 'How sound comes in: http is by whole recordings.';
comment on column call_sessions.replica_id is 'The process that holds the session; when it dies the session fails.';
comment on column call_sessions.config is 'The voice configuration as it was when the session began.';
comment on column call_sessions.last_active_at is 'The last sound, speech or command; sessions.idle_timeout counts from here.';
comment on column call_sessions.paused_at is 'The beginning of the pause that is going on.';
comment on column call_sessions.paused_seconds is 'All pauses that are over.';
comment on column call_sessions.duration_seconds is 'From started_at to ended_at without the pauses; null until it has ended.';
comment on column call_sessions.heard_ms is 'Sound heard so far: where the next chunk begins on the session''s clock of sound.';
comment on column call_sessions.chunks is 'Audio chunks so far; numbers the next one.';
comment on column call_sessions.turns is 'Conversation turns so far; numbers the next one.';
comment on column call_sessions.ticket_sha256 is 'Hash of the ticket that opens the session''s WebSocket once; null when there is none, or it was used.';

create function session_duration_seconds(started_at timestamptz, until timestamptz, paused_seconds double precision) returns double precision
language sql immutable parallel safe
return greatest(extract(epoch from until - started_at)::double precision - paused_seconds, 0);

comment on function session_duration_seconds is 'How long a session was active: pauses are excluded.';

create function guard_session() returns trigger language plpgsql as $$
declare
    now_ timestamptz := clock_timestamp();
begin
    if new.id <> old.id or new.owner <> old.owner or new.started_at <> old.started_at then
        raise exception 'session %: id, owner and start cannot change', old.id using errcode = 'check_violation';
    end if;
    if new.status = old.status then
        return new;
    end if;
    if not legal_session_transition(old.status, new.status) then
        raise exception 'session %: % cannot become %', old.id, old.status, new.status using errcode = 'check_violation';
    end if;
    if new.status in ('ended', 'failed') then
        new.ended_at := greatest(coalesce(new.ended_at, now_), old.started_at, old.paused_at);
        new.ticket_sha256 := null;
        new.ticket_expires_at := null;
    end if;
    if old.status = 'paused' then
        new.paused_seconds := old.paused_seconds
            + extract(epoch from coalesce(new.ended_at, now_) - old.paused_at)::double precision;
        new.paused_at := null;
    elsif new.status = 'paused' then
        new.paused_at := now_;
    end if;
    if new.ended_at is not null then
        new.duration_seconds := session_duration_seconds(new.started_at, new.ended_at, new.paused_seconds);
    end if;
    return new;
end $$;

comment on function guard_session is 'Holds the transition table; keeps the pauses, the end and the duration of a session.';

create trigger guard before update on call_sessions for each row execute function guard_session();
