create table suppressions (
    number     text primary key check (number ~ '^\+[1-9][0-9]{6,14}$'),
    id         uuid not null unique default gen_random_uuid(),
    source     text not null check (length(source) between 1 and 256),
    because    text not null check (length(because) between 1 and 500),
    who        text not null check (length(who) between 1 and 256),
    at         timestamptz not null default clock_timestamp(),
    expires_at timestamptz
);

create index suppressions_newest on suppressions (at desc, id desc);

comment on table suppressions is 'Numbers that are not called: the do-not-call list. No right to send is given for them (trigger number_may_be_called).';
comment on column suppressions.source is 'How it came: api, cli, import, or platform:NAME.';
comment on column suppressions.who is 'Who put it there: operator:NAME, webhook, poller, reconciler, delivery.';
comment on column suppressions.expires_at is 'From then on it holds no more; null: for good.';

create table suppression_events (
    id         bigint generated always as identity primary key,
    number     text not null,
    at         timestamptz not null default clock_timestamp(),
    action     text not null check (action in ('added', 'extended', 'removed')),
    source     text not null,
    because    text not null,
    who        text not null,
    expires_at timestamptz
);

create index suppression_events_of_number on suppression_events (number, id);

comment on table suppression_events is 'Every change of the do-not-call list, with who and why; append-only.';

create trigger append_only before update or delete on suppression_events for each row execute function refuse_change();
create trigger never_emptied before truncate on suppression_events for each statement execute function refuse_change();

-- What an opt-out cancels, found by its number.
create index calls_queued_by_number on calls (to_number) where status in ('accepted', 'scheduled');

-- The attempts that count against a number's caps.
create index attempts_by_number on call_attempts (to_number, committed_at desc);

alter table call_attempts add column number_caps jsonb;
comment on column call_attempts.number_caps is 'The caps that held for its number as it was sent: [{attempts, seconds}]; null: none.';

create function number_lock(number text) returns bigint
language sql immutable parallel safe
return hashtextextended(number, 7233);

comment on function number_lock is 'Key of the advisory lock that rights to send and suppressions of one number take turns by.';

create function is_suppressed(called text) returns boolean language sql stable
return exists (select from suppressions s where s.number = called and (s.expires_at is null or s.expires_at > clock_timestamp()));

comment on function is_suppressed is 'Whether a number is on the do-not-call list.';

create function number_free_at(called text, caps jsonb) returns timestamptz language sql stable
return (
    select max(nth.committed_at + make_interval(secs => cap.seconds))
    from jsonb_to_recordset(caps) as cap(attempts int, seconds float8)
    cross join lateral (
        select a.committed_at from call_attempts a
        where a.to_number = called and a.state not in ('not_sent', 'refused', 'absent')
            and a.committed_at > clock_timestamp() - make_interval(secs => cap.seconds)
        order by a.committed_at desc offset cap.attempts - 1 limit 1
    ) nth
);

comment on function number_free_at is 'When a number may be called again by these caps, or null when it may be now. What never reached the person does not count.';

-- The last word before a right to send exists. Whoever suppresses a number holds the same lock until its commit, and each
-- statement of this function sees what was committed before it began: an opt-out that commits first is always seen, and one
-- that comes later waits for this transaction. A look without the lock, or in the statement that inserts, would miss the
-- opt-out that commits meanwhile.
create function number_may_be_called() returns trigger language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock(number_lock(new.to_number));
    if exists (select from suppressions s where s.number = new.to_number and (s.expires_at is null or s.expires_at > clock_timestamp())) then
        return null;
    end if;
    if new.number_caps is not null and (select number_free_at(new.to_number, new.number_caps)) is not null then
        return null;
    end if;
    return new;
end $$;

comment on function number_may_be_called is 'Keeps attempts from suppressed numbers, and beyond their numbers'' caps: the row is left out.';

create trigger number_may_be_called before insert on call_attempts for each row execute function number_may_be_called();
