create table call_attempts (
    id               uuid primary key,
    call_id          uuid not null references calls,
    n                int not null check (n >= 1),
    because          text not null,
    platform         text not null,
    to_number        text not null,
    from_number      text,
    platform_call_id text,
    state            text not null default 'sending' check (state in ('sending', 'not_sent', 'refused', 'in_doubt', 'absent', 'unknown', 'placed',
                         'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')),
    verdict          text check (verdict in ('not_sent', 'refused', 'in_doubt', 'placed')),
    reason           text,
    detail           text,
    http_status      int,
    fence            bigint not null,
    lease_owner      uuid not null,
    committed_at     timestamptz not null default clock_timestamp(),
    settled_at       timestamptz not null,
    answered_at      timestamptz,
    ended_at         timestamptz,
    started_at       timestamptz,
    duration_seconds int check (duration_seconds >= 0),
    cost_amount      numeric(14, 6),
    cost_currency    text check (cost_currency ~ '^[A-Z]{3}$'),
    cost_source      text check (cost_source in ('reported', 'estimated')),
    answered_by      text,
    ended_by         text,
    recording_url    text,
    transcript       jsonb,
    summary          text,
    disposition      text,
    error_message    text,
    raw_status       text,
    end_requested_at timestamptz,
    next_look_at     timestamptz,
    looks            int not null default 0,
    absences         int not null default 0,
    last_absence_at  timestamptz,
    evidence         jsonb,
    unique (call_id, n),
    check ((n = 1) = (because = 'first')),
    check ((cost_amount is null) = (cost_currency is null)),
    check (state <> 'absent' or evidence is not null)
) with (fillfactor = 70);

-- The database, not the code, refuses a second call.
create unique index one_live_attempt on call_attempts (call_id)
    where state in ('sending', 'in_doubt', 'unknown', 'placed', 'ringing', 'in_progress');
create unique index one_live_attempt_per_number on call_attempts (to_number)
    where state in ('sending', 'in_doubt', 'unknown', 'placed', 'ringing', 'in_progress');
create index attempts_live_by_platform on call_attempts (platform)
    where state in ('sending', 'in_doubt', 'placed', 'ringing', 'in_progress');
create index attempts_to_look_at on call_attempts (next_look_at) where next_look_at is not null;
create index attempts_by_platform_call on call_attempts (platform, platform_call_id) where platform_call_id is not null;

comment on table call_attempts is 'Each row is the right to send one create-call request, spent before the first byte left, and what became of it.';
comment on column call_attempts.because is '"first", or the reason or evidence that authorizes a further attempt.';
comment on column call_attempts.settled_at is 'From then on no sender can be at work: end of lease + request time-out + margin. Absence is proven by listings after it.';
comment on column call_attempts.verdict is 'What the answer to the create request meant.';
comment on column call_attempts.next_look_at is 'When the reconciler (in doubt) or the poller (placed) asks the platform next; null: never.';
comment on column call_attempts.absences is 'Complete listings after settled_at, at least listing_interval apart, that did not hold the call.';
comment on column call_attempts.evidence is 'The listings that prove absence, or who settled it and why.';
comment on column call_attempts.cost_source is 'reported by the platform, or estimated from our price table.';

create function guard_attempt() returns trigger language plpgsql as $$
begin
    if new.state is distinct from old.state and not legal_attempt_transition(old.state, new.state) then
        raise exception 'attempt %: % cannot become %', old.id, old.state, new.state using errcode = 'check_violation';
    end if;
    if new.call_id <> old.call_id or new.n <> old.n or new.to_number <> old.to_number or new.platform <> old.platform or new.because <> old.because then
        raise exception 'attempt %: its identity cannot change', old.id using errcode = 'check_violation';
    end if;
    if new.platform_call_id is distinct from old.platform_call_id and old.platform_call_id is not null then
        raise exception 'attempt %: its platform call id cannot change', old.id using errcode = 'check_violation';
    end if;
    return new;
end $$;

comment on function guard_attempt is 'Holds the transition table of attempts and what never changes about them.';

create trigger guard before update on call_attempts for each row execute function guard_attempt();

create function attempt_begins_sending() returns trigger language plpgsql as $$
begin
    raise exception 'attempt %: begins as sending, not as %', new.id, new.state using errcode = 'check_violation';
end $$;

create trigger begins_sending before insert on call_attempts for each row when (new.state <> 'sending') execute function attempt_begins_sending();

create trigger never_deleted before delete on call_attempts for each row execute function refuse_change();
