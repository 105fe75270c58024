create table call_events (
    id          bigint generated always as identity primary key,
    call_id     uuid not null,
    attempt_id  uuid,
    at          timestamptz not null default clock_timestamp(),
    kind        text not null,
    from_status text,
    to_status   text,
    source      text not null,
    detail      jsonb not null default '{}'
);

create index call_events_of_call on call_events (call_id, id);

comment on table call_events is 'The timeline of each call, append-only. Status changes are written by a trigger, so that none is missing.';
comment on column call_events.kind is 'status, attempt, webhook, poll, look_up, cancel_requested, settled, contradiction, …';
comment on column call_events.source is 'Who did or saw it; as calls.status_source.';

create trigger append_only before update or delete on call_events for each row execute function refuse_change();
create trigger never_emptied before truncate on call_events for each statement execute function refuse_change();

create function note_acceptance() returns trigger language plpgsql as $$
begin
    insert into call_events (call_id, kind, to_status, source, detail)
    values (new.id, 'status', new.status, new.status_source,
            jsonb_strip_nulls(jsonb_build_object('reason', new.status_reason, 'detail', new.status_detail, 'scheduled_for', new.scheduled_for)));
    return null;
end $$;

comment on function note_acceptance is 'Writes the first line of a call''s timeline.';

create trigger note_acceptance after insert on calls for each row execute function note_acceptance();
