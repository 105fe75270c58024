create table replicas (
    id           uuid primary key,
    host         text not null,
    version      text not null,
    roles        text[] not null,
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
);

comment on table replicas is 'Running processes, by heartbeat. Rates are shared by the workers that are alive.';
comment on column replicas.heartbeat_at is 'Refreshed every third of worker.lease; older than the lease means dead.';
