alter table call_attempts add column handles jsonb not null default '{}' check (jsonb_typeof(handles) = 'object');
comment on column call_attempts.handles is 'What the create answer gave beside the call''s id and what reaches the call later (a control address, a carrier''s id).';
