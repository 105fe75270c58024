-- A call that waits for one thing and then for another stays scheduled; its timeline tells both.

create function follow_hold() returns trigger language plpgsql as $$
begin
    insert into call_events (call_id, kind, source, detail)
    values (new.id, 'held', new.status_source,
            jsonb_strip_nulls(jsonb_build_object('reason', new.status_reason, 'detail', new.status_detail, 'scheduled_for', new.scheduled_for)));
    return null;
end $$;

comment on function follow_hold is 'Writes the timeline when a scheduled call goes on waiting for another reason. The waits of the sending itself (order, cap) come and go and are left out.';

create trigger follow_hold after update on calls for each row
    when (old.status = 'scheduled' and new.status = 'scheduled' and old.status_reason is distinct from new.status_reason
          and new.status_reason not in ('order', 'cap'))
    execute function follow_hold();
