create table thread_messages (
    id           uuid primary key,
    call_id      uuid not null unique references calls,
    lead_id      text,
    user_id      text,
    channel      text not null check (channel in ('voice')),
    message_type text not null,
    content      text not null,
    status       text not null,
    metadata     jsonb not null default '{}',
    created_at   timestamptz not null default clock_timestamp(),
    updated_at   timestamptz not null default clock_timestamp()
) with (fillfactor = 80);

create index thread_messages_of_lead on thread_messages (lead_id, created_at desc) where lead_id is not null;

comment on table thread_messages is 'The messages exchanged with a lead, over all channels; voice is the one channel so far.';
comment on column thread_messages.status is 'The status of its call.';
