-- A webhook may name a call only by the platform's id (ElevenLabs' failures do), and come before that id is known here: before
-- the create request's answer is recorded, or while its attempt is in doubt.

alter table webhook_inbox add column platform_call_id text, add column retry_at timestamptz;
comment on column webhook_inbox.platform_call_id is 'From the body, where it names one.';
comment on column webhook_inbox.retry_at is 'Not taken into account before then: an unanswered create request may have made its call.';

create index webhook_inbox_of_no_attempt on webhook_inbox (platform, platform_call_id)
    where attempt_id is null and platform_call_id is not null;

create function take_early_webhooks() returns trigger language plpgsql as $$
begin
    -- Those under way too: the update waits for them, and sees what became of them.
    update webhook_inbox set attempt_id = new.id, applied_at = null, error = null, retry_at = null
    where platform = new.platform and platform_call_id = new.platform_call_id and attempt_id is null;
    return null;
end $$;

comment on function take_early_webhooks is 'What was told about a call before we knew that it is ours is taken into account now.';

create trigger take_early_webhooks after update of platform_call_id on call_attempts for each row
    when (old.platform_call_id is null and new.platform_call_id is not null) execute function take_early_webhooks();
