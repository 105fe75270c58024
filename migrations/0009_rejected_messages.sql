create table rejected_messages (
    id          uuid primary key,
    queue       text not null,
    message_id  text not null,
    source      text,
    event_id    text,
    reason      text not null check (reason in ('not_utf8', 'not_json', 'schema', 'unknown_type', 'too_large', 'key_reused')),
    field_path  text not null,
    detail      text not null,
    body        bytea not null,
    received_at timestamptz not null default clock_timestamp(),
    unique (queue, message_id)
);

create index rejected_messages_newest on rejected_messages (received_at desc);

comment on table rejected_messages is 'Messages that are not valid jobs, kept whole. A copy goes to the queue''s dead-letter queue before the message is deleted.';
comment on column rejected_messages.field_path is 'JSON pointer to the offending field; empty for the whole message.';
comment on column rejected_messages.body is 'The message''s body, byte for byte.';
