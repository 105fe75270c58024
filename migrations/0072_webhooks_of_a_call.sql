-- One call's story is told with its webhooks.
create index webhook_inbox_of_attempt on webhook_inbox (attempt_id, received_at desc) where attempt_id is not null;
