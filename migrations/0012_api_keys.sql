create table api_keys (
    id            text primary key check (id ~ '^[a-z0-9]{8,32}$'),
    secret_sha256 bytea not null check (length(secret_sha256) = 32),
    role          text not null check (role in ('user', 'operator', 'service')),
    owner         text not null check (length(owner) between 1 and 256),
    created_at    timestamptz not null default now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);

comment on table api_keys is 'Who may use the HTTP interface. The key itself is shown once and never stored.';
comment on column api_keys.secret_sha256 is 'SHA-256 of the secret part of vx_<id>_<secret>.';
comment on column api_keys.owner is 'Whose key it is; every session query carries it.';
