-- A rate is a count in any stretch of time, so what counts is when requests left, not when they could have: replicas tell it,
-- and a slot that nobody used is free again.

alter table platform_pace
    add column next_slot bigint not null default 0,
    add column slots bigint[] not null default '{}',
    add column slots_until float8[] not null default '{}',
    add check (cardinality(slots) = cardinality(slots_until));

comment on column platform_pace.next_at is 'When the latest slot was or will be, by this server''s clock.';
comment on column platform_pace.next_slot is 'The number of the next slot that is given out.';
comment on column platform_pace.slots is 'The latest slots, oldest first, without those that were not used.';
comment on column platform_pace.slots_until is 'The latest time, in seconds since 1970, at which the request of each of them reached the platform.';
