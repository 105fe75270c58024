create table budgets (
    id        bigint generated always as identity primary key,
    user_id   text not null check (length(user_id) between 1 and 256),
    removed   boolean not null default false,
    currency  text not null check (currency ~ '^[A-Z]{3,12}$'),
    per_day   numeric(14, 6) check (per_day >= 0),
    per_month numeric(14, 6) check (per_month >= 0),
    set_by    text not null,
    because   text not null,
    set_at    timestamptz not null default clock_timestamp()
);

create index budgets_of_user on budgets (user_id, id desc);

comment on table budgets is 'What the calls of one user.id may cost, append-only: the newest row of a user holds. Users without one have the default of the settings.';
comment on column budgets.removed is 'The user has the default again.';
comment on column budgets.per_day is 'Null: no limit.';

create trigger append_only before update or delete on budgets for each row execute function refuse_change();

create table reservations (
    attempt_id     uuid primary key,
    platform       text not null,
    user_id        text,
    currency       text not null,
    amount         numeric(14, 6) not null check (amount >= 0),
    day            date not null,
    reserved_until timestamptz not null
);

comment on table reservations is 'What calls under way are counted as against budgets until their cost is known. Made before the right to send, gone when the attempt ends.';
comment on column reservations.day is 'UTC; the period that it counts in.';
comment on column reservations.reserved_until is 'Without an attempt it counts until then: whoever made it may have died before the right was spent.';

create function end_reservation() returns trigger language plpgsql as $$
begin
    delete from reservations where attempt_id = new.id;
    return null;
end $$;

comment on function end_reservation is 'An attempt that has ended counts as what it cost.';

create trigger end_reservation after update on call_attempts for each row
    when (old.state is distinct from new.state and new.state not in ('sending', 'in_doubt', 'unknown', 'placed', 'ringing', 'in_progress'))
    execute function end_reservation();
