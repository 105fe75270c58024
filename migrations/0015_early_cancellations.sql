create table early_cancellations (
    source       text not null,
    event_id     text not null,
    requested_by text not null,
    reason       text not null,
    requested_at timestamptz not null default clock_timestamp(),
    primary key (source, event_id)
);

comment on table early_cancellations is 'Cancellations that came before the job they name (a standard queue keeps no order): the right to send such a call is never given.';
