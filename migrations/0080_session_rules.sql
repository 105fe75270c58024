-- The transition table of sessions, as src/session/status.rs holds it; a test compares the two.

create function legal_session_transition(old text, new text) returns boolean
language sql immutable parallel safe
return case old
    when 'active' then new in ('paused', 'ended', 'failed')
    when 'paused' then new in ('active', 'ended', 'failed')
    else false
end;

comment on function legal_session_transition is 'Whether a session may go from one status to another. ended and failed are never left.';
