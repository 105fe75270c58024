-- Whether a cost was reported or estimated belongs to it.

create or replace function queue_outcome_event(event_type text, call calls, from_status text) returns void language plpgsql as $$
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
        'cost_amount', attempt.cost_amount::text, 'cost_currency', attempt.cost_currency, 'cost_source', attempt.cost_source,
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
