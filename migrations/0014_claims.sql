-- What sweeps ask for again and again must be found by index alone, however many calls wait for tomorrow.

create index calls_expiring on calls (expires_at) where expires_at is not null and status in ('accepted', 'scheduled');

-- An accepted call without an end of its lease would never be claimed.
update calls set lease_until = clock_timestamp() where status = 'accepted' and lease_until is null;
alter table calls add constraint accepted_calls_can_be_claimed check (status <> 'accepted' or lease_until is not null);

