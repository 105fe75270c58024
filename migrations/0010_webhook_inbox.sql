create table webhook_inbox (
    id          uuid primary key,
    platform    text not null,
    received_at timestamptz not null default clock_timestamp(),
    body        bytea not null,
    body_sha256 bytea not null generated always as (sha256(body)) stored,
    verified_by text not null,
    attempt_id  uuid,
    updates     jsonb,
    applied_at  timestamptz,
    error       text,
    unique (platform, body_sha256)
);

create index webhook_inbox_unapplied on webhook_inbox (received_at) where applied_at is null;

comment on table webhook_inbox is 'Every verified webhook, before anything is made of it. An exact repeat is refused by the unique key.';
comment on column webhook_inbox.attempt_id is 'From the address or the body, where either names one.';
comment on column webhook_inbox.updates is 'The webhook in our words; null where it could not be read.';
comment on column webhook_inbox.applied_at is 'When it was taken into account; also set, with an error, when nothing can be made of it.';
