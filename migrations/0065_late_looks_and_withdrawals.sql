alter table call_attempts
    add column late_looks int not null default 0,
    add column withdrawn_because text check (withdrawn_because in ('window', 'expired'));
comment on column call_attempts.late_looks is 'Looks after the end of the call, for a cost that the platform tells later.';
comment on column call_attempts.withdrawn_because is 'Why the platform was asked to take the call back from its queue; written before it is asked.';
