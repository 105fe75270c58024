create table outbox (
    id              uuid primary key default gen_random_uuid(),
    call_id         uuid,
    type            text not null,
    destination     text not null check (destination in ('queue', 'url')),
    address         text not null,
    event           jsonb not null,
    created_at      timestamptz not null default clock_timestamp(),
    next_attempt_at timestamptz not null default clock_timestamp(),
    attempts        int not null default 0,
    delivered_at    timestamptz,
    abandoned_at    timestamptz,
    last_error      text
);

create index outbox_due on outbox (next_attempt_at) where delivered_at is null and abandoned_at is null;
create index outbox_of_call on outbox (call_id);

comment on table outbox is 'Outcome events that are to be delivered, at least once, written with the change that they tell.';
comment on column outbox.event is 'The CloudEvent; its id is this row''s id and stays the same over retries.';
comment on column outbox.address is 'Queue name or URL, or the address of webhook_config.url.';

create function queue_outcome_event(event_type text, call calls, from_status text) returns void language plpgsql as $$
declare
    attempt call_attempts;
    data jsonb;
    target record;
    event_id uuid;
begin
    select * into attempt from call_attempts where call_id = call.id order by n desc limit 1;
    data := jsonb_strip_nulls(jsonb_build_object(
        'call_id', call.id, 'source', call.source, 'id', call.event_id, 'status', call.status, 'previous_status', from_status,
        'reason', call.status_reason, 'detail', call.status_detail, 'platform', call.platform, 'lead_id', call.lead_id, 'user_id', call.user_id,
        'attempt_id', attempt.id, 'attempt', attempt.n, 'platform_call_id', attempt.platform_call_id,
        'duration_seconds', attempt.duration_seconds, 'answered_by', attempt.answered_by, 'ended_by', attempt.ended_by,
        'cost_amount', attempt.cost_amount::text, 'cost_currency', attempt.cost_currency,
        'recording_url', attempt.recording_url, 'transcript', attempt.transcript, 'summary', attempt.summary
    )) || jsonb_build_object('metadata', call.metadata);
    for target in select 'queue' as destination, call.outcome_queue as address where call.outcome_queue is not null
                  union all select 'url', call.outcome_url where call.outcome_url is not null
    loop
        event_id := gen_random_uuid();
        insert into outbox (id, call_id, type, destination, address, event)
        values (event_id, call.id, event_type, target.destination, target.address, jsonb_build_object(
            'specversion', '1.0', 'id', event_id, 'source', 'voxd', 'type', event_type, 'subject', call.id,
            'time', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'datacontenttype', 'application/json', 'data', data));
    end loop;
end $$;

comment on function queue_outcome_event is 'Puts one outcome event about a call into the outbox, for each of its addresses.';

create function follow_status() returns trigger language plpgsql as $$
begin
    insert into call_events (call_id, kind, from_status, to_status, source, detail)
    values (new.id, 'status', old.status, new.status, new.status_source,
            jsonb_strip_nulls(jsonb_build_object('reason', new.status_reason, 'detail', new.status_detail,
                'scheduled_for', case when new.status = 'scheduled' then new.scheduled_for end)));
    update thread_messages set status = new.status, updated_at = new.updated_at where call_id = new.id;
    if new.outcome_queue is not null or new.outcome_url is not null then
        perform queue_outcome_event('voice.call.status_changed', new, old.status);
        if new.finished_at is not null then
            perform queue_outcome_event('voice.call.finished', new, old.status);
        end if;
    end if;
    return null;
end $$;

comment on function follow_status is 'Writes the timeline, the thread message and the outcome events with every change of a call''s status.';

create trigger follow_status after update on calls for each row when (old.status is distinct from new.status) execute function follow_status();
