-- The transition tables, as src/call/status.rs holds them; a test compares the two.

create function legal_call_transition(old text, new text) returns boolean
language sql immutable parallel safe
return case old
    when 'accepted'    then new in ('scheduled', 'sending', 'rejected', 'expired', 'failed', 'cancelled')
    when 'scheduled'   then new in ('sending', 'rejected', 'expired', 'placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'sending'     then new in ('scheduled', 'expired', 'in_doubt', 'placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'in_doubt'    then new in ('scheduled', 'unknown', 'placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'unknown'     then new in ('scheduled', 'placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'placed'      then new in ('scheduled', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'ringing'     then new in ('scheduled', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'in_progress' then new in ('scheduled', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    else false
end;

comment on function legal_call_transition is 'Whether a call may go from one status to another. A terminal status is never left.';

create function legal_attempt_transition(old text, new text) returns boolean
language sql immutable parallel safe
return case old
    when 'sending'     then new in ('not_sent', 'refused', 'in_doubt', 'placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'in_doubt'    then new in ('absent', 'unknown', 'placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'unknown'     then new in ('absent', 'placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'absent'      then new in ('placed', 'ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'placed'      then new in ('ringing', 'in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'ringing'     then new in ('in_progress', 'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    when 'in_progress' then new in ('completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
    else false
end;

comment on function legal_attempt_transition is 'Whether an attempt may go from one state to another.';

-- Dialling rests on what Postgres acknowledged (promise P4).
create function durability_problem() returns text
language sql stable
return case
    when current_setting('fsync') = 'off' then 'fsync is off'
    when current_setting('full_page_writes') = 'off' then 'full_page_writes is off'
    when current_setting('synchronous_commit') = 'off' then 'synchronous_commit is off'
end;

comment on function durability_problem is 'Why this server would lose acknowledged commits, or null when it keeps them.';

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;

comment on function refuse_change is 'Trigger of append-only tables.';
