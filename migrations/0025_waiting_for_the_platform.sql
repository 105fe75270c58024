-- Calls that wait for their platform (its rate, its cap, its breaker) wait in a line of their own: lanes take them in turns
-- over source and user, and the search for due calls does not wade through them.

drop index calls_due;
create index calls_due on calls (scheduled_for)
    where status = 'scheduled' and (status_reason is null or status_reason not in ('rate', 'cap', 'breaker'));
create index calls_in_line on calls (platform, source, (coalesce(user_id, tenant, '')), scheduled_for, id)
    where status = 'scheduled' and status_reason in ('rate', 'cap', 'breaker');

-- Who waits, each name once, beginning behind `after` and going round; at most so many. Each step is one look into the index,
-- however many calls a name has.
create function sources_in_line(of_platform text, after text, most int) returns setof text language plpgsql stable rows 4 as $$
declare
    here text := after;
    next text;
    round boolean := false;
begin
    for step in 0..most loop
        select c.source into next from calls c
        where c.platform = of_platform and c.source > here and c.status = 'scheduled' and c.status_reason in ('rate', 'cap', 'breaker')
          and (c.lease_until is null or c.lease_until < statement_timestamp())
        order by c.source limit 1;
        if not found and not round then
            round := true;
            select c.source into next from calls c
            where c.platform = of_platform and c.status = 'scheduled' and c.status_reason in ('rate', 'cap', 'breaker')
          and (c.lease_until is null or c.lease_until < statement_timestamp())
            order by c.source limit 1;
        end if;
        exit when next is null or (round and next > after) or step = most;
        return next next;
        here := next;
    end loop;
end $$;

create function users_in_line(of_platform text, of_source text, after text, most int) returns setof text language plpgsql stable rows 4 as $$
declare
    here text := after;
    next text;
    round boolean := false;
begin
    for step in 0..most loop
        select coalesce(c.user_id, c.tenant, '') into next from calls c
        where c.platform = of_platform and c.source = of_source and coalesce(c.user_id, c.tenant, '') > here
          and c.status = 'scheduled' and c.status_reason in ('rate', 'cap', 'breaker')
          and (c.lease_until is null or c.lease_until < statement_timestamp())
        order by coalesce(c.user_id, c.tenant, '') limit 1;
        if not found and not round then
            round := true;
            select coalesce(c.user_id, c.tenant, '') into next from calls c
            where c.platform = of_platform and c.source = of_source
              and c.status = 'scheduled' and c.status_reason in ('rate', 'cap', 'breaker')
          and (c.lease_until is null or c.lease_until < statement_timestamp())
            order by coalesce(c.user_id, c.tenant, '') limit 1;
        end if;
        exit when next is null or (round and next > after) or step = most;
        return next next;
        here := next;
    end loop;
end $$;

comment on function sources_in_line is 'Sources with calls in line for a platform, in turns.';
comment on function users_in_line is 'Users (or tenants) of a source with calls in line for a platform, in turns.';

create table platform_pace (
    platform text primary key,
    next_at  timestamptz not null default 'epoch'
);

comment on table platform_pace is 'One row per platform with a limit. Whoever spends rights to send locks it first, so that limits are exact over all replicas.';
comment on column platform_pace.next_at is 'When the next create request may leave, by this server''s clock.';

create table platform_minutes (
    platform text not null,
    minute   timestamptz not null,
    calls    int not null,
    primary key (platform, minute)
);

comment on table platform_minutes is 'Rights to send that were spent in each minute, of platforms with a limit per hour or day. Kept for a little more than a day.';

create table number_pace (
    platform  text not null,
    to_number text not null,
    last_at   timestamptz not null,
    primary key (platform, to_number)
);

comment on table number_pace is 'When a right to call this number was last spent, of platforms with number_spacing. Kept for a week.';
