-- A call that ends as it is accepted (rejected, expired) has an outcome to tell as any other.

create or replace function note_acceptance() returns trigger language plpgsql as $$
begin
    insert into call_events (call_id, kind, to_status, source, detail)
    values (new.id, 'status', new.status, new.status_source,
            jsonb_strip_nulls(jsonb_build_object('reason', new.status_reason, 'detail', new.status_detail, 'scheduled_for', new.scheduled_for)));
    if new.finished_at is not null and (new.outcome_queue is not null or new.outcome_url is not null) then
        perform queue_outcome_event('voice.call.status_changed', new, null);
        perform queue_outcome_event('voice.call.finished', new, null);
    end if;
    return null;
end $$;

comment on function note_acceptance is 'Writes the first line of a call''s timeline, and the outcome of a call that ends as it is accepted.';
