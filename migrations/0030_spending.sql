-- What calls cost, summed as it becomes known, so that nobody has to add up attempts to know what a day cost.

-- Credits are a unit of their own.
alter table call_attempts drop constraint call_attempts_cost_currency_check;
alter table call_attempts add constraint call_attempts_cost_currency_check check (cost_currency ~ '^[A-Z]{3,12}$');
comment on column call_attempts.cost_currency is 'ISO 4217, or the platform''s own unit, e.g. CREDITS.';

create table spending (
    scope    text not null check (scope in ('platform', 'user')),
    name     text not null,
    currency text not null,
    day      date not null,
    shard    smallint not null,
    amount   numeric(20, 6) not null,
    primary key (scope, name, currency, day, shard)
) with (fillfactor = 50);

comment on table spending is 'The cost of all attempts by platform and by user, for each day (UTC) of the attempts'' right to send: reported, else estimated. Written by a trigger.';
comment on column spending.name is 'The platform, or calls.user_id.';
comment on column spending.shard is 'Several rows for one sum, so that writers do not wait for each other.';

create function note_cost() returns trigger language plpgsql as $$
begin
    insert into spending (scope, name, currency, day, shard, amount)
    select whose.scope, whose.name, cost.currency, (new.committed_at at time zone 'UTC')::date, pg_backend_pid() % 8, sum(cost.amount)
    from (values ('platform', new.platform), ('user', (select user_id from calls where id = new.call_id))) as whose(scope, name),
         (values (new.cost_currency, new.cost_amount), (old.cost_currency, -old.cost_amount)) as cost(currency, amount)
    where whose.name is not null and cost.amount is not null
    group by whose.scope, whose.name, cost.currency
    having sum(cost.amount) <> 0
    order by whose.scope, whose.name, cost.currency
    on conflict (scope, name, currency, day, shard) do update set amount = spending.amount + excluded.amount;
    return null;
end $$;

comment on function note_cost is 'Adds what an attempt''s cost has become, and takes off what it was before.';

create trigger note_cost after update on call_attempts for each row
    when (old.cost_amount is distinct from new.cost_amount or old.cost_currency is distinct from new.cost_currency)
    execute function note_cost();

insert into spending (scope, name, currency, day, shard, amount)
select whose.scope, whose.name, a.cost_currency, (a.committed_at at time zone 'UTC')::date, 0, sum(a.cost_amount)
from call_attempts a join calls c on c.id = a.call_id,
     lateral (values ('platform', a.platform), ('user', c.user_id)) as whose(scope, name)
where a.cost_amount is not null and whose.name is not null
group by 1, 2, 3, 4;
