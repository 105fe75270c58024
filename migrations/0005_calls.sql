create table calls (
    id             uuid primary key,
    source         text not null,
    event_id       text not null,
    status         text not null check (status in ('accepted', 'scheduled', 'sending', 'in_doubt', 'unknown', 'placed', 'ringing', 'in_progress',
                       'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled', 'rejected', 'expired')),
    status_reason  text,
    status_detail  text,
    status_source  text not null,
    platform       text not null,
    platforms      text[] not null,
    to_number      text not null check (to_number ~ '^\+[1-9][0-9]{6,14}$'),
    lead_id        text,
    user_id        text,
    tenant         text,
    request        jsonb not null,
    metadata       jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    outcome_url    text,
    outcome_queue  text,
    not_before     timestamptz,
    expires_at     timestamptz,
    scheduled_for  timestamptz,
    order_key      text,
    order_seq      numeric(40),
    sent_in_order  boolean not null default false,
    send_tries     int not null default 0 check (send_tries >= 0),
    outcomes       int not null default 0 check (outcomes >= 0),
    next_because   text not null default 'first',
    cancel_requested_at timestamptz,
    cancel_reason  text,
    lease_owner    uuid,
    lease_until    timestamptz,
    fence          bigint not null default 0,
    traceparent    text,
    created_at     timestamptz not null default clock_timestamp(),
    updated_at     timestamptz not null default clock_timestamp(),
    finished_at    timestamptz,
    unique (source, event_id),
    foreign key (source, event_id) references jobs,
    check ((order_key is null) = (order_seq is null)),
    check (status <> 'scheduled' or scheduled_for is not null)
) with (fillfactor = 70);

create index calls_due on calls (scheduled_for) where status = 'scheduled';
create index calls_orphaned on calls (lease_until) where status in ('accepted', 'sending');
create index calls_open on calls (created_at) where status not in ('completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled', 'rejected', 'expired');
create index calls_in_order on calls (order_key, order_seq) where order_key is not null and not sent_in_order;
create index calls_newest on calls (created_at desc, id desc);
create index calls_by_lead on calls (lead_id, created_at desc) where lead_id is not null;
create index calls_waiting_for_number on calls (to_number, created_at) where status = 'scheduled' and status_reason = 'number_busy';
create index calls_by_metadata on calls using gin (metadata jsonb_path_ops) with (fastupdate = on);

comment on table calls is 'One row for each call that somebody asked for; its status is the outcome so far.';
comment on column calls.status_reason is 'Why, in a stable vocabulary: number_busy, retry, not_before, do_not_call, …';
comment on column calls.status_detail is 'The same for a person to read.';
comment on column calls.status_source is 'Who set the status: queue, api, delivery, sweeper, webhook, poller, reconciler, operator:NAME.';
comment on column calls.platform is 'The platform of the next or the latest attempt, one of platforms.';
comment on column calls.request is 'What is to be said, with the voice configuration as it was at acceptance.';
comment on column calls.order_key is 'Queue and message group of a FIFO queue; calls of one key are sent in the order of order_seq.';
comment on column calls.sent_in_order is 'This call holds nobody of its order_key back any more: its create request was answered, is in doubt, or will never be sent.';
comment on column calls.send_tries is 'Sends that never reached the platform.';
comment on column calls.outcomes is 'Attempts that ended in an outcome; what retry.max_attempts counts.';
comment on column calls.next_because is 'The reason or evidence that the next attempt will name.';
comment on column calls.fence is 'Rises with every change of lease owner; a writer with an older one was overtaken.';

create function guard_call() returns trigger language plpgsql as $$
begin
    if new.status is distinct from old.status and not legal_call_transition(old.status, new.status) then
        raise exception 'call %: % cannot become %', old.id, old.status, new.status using errcode = 'check_violation';
    end if;
    if new.fence < old.fence then
        raise exception 'call %: the fence cannot go back', old.id using errcode = 'check_violation';
    end if;
    new.updated_at := clock_timestamp();
    if new.status in ('completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled', 'rejected', 'expired') then
        new.finished_at := coalesce(old.finished_at, new.updated_at);
        new.sent_in_order := true;
        new.lease_owner := null;
        new.lease_until := null;
    end if;
    return new;
end $$;

comment on function guard_call is 'Holds the transition table; keeps updated_at and finished_at.';

create trigger guard before update on calls for each row execute function guard_call();
