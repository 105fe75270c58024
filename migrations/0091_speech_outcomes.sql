create function guard_speech_job() returns trigger language plpgsql as $$
begin
    if old.status in ('completed', 'failed') then
        raise exception 'speech job % has ended', old.id using errcode = 'restrict_violation';
    end if;
    new.updated_at := clock_timestamp();
    if new.status in ('completed', 'failed') then
        new.finished_at := clock_timestamp();
        new.input := null;
        new.lease_owner := null;
        new.lease_until := null;
        delete from speech_job_chunks where job_id = new.id;
    end if;
    return new;
end $$;

comment on function guard_speech_job is 'A job that has ended stays as it is, and keeps no more than its result.';

create trigger guard_speech_job before update on speech_jobs for each row execute function guard_speech_job();

create function tell_speech_outcome() returns trigger language plpgsql as $$
declare
    event_id uuid := gen_random_uuid();
    event_type text := case new.kind when 'transcribe' then 'voice.audio.transcribed' else 'voice.speech.synthesized' end;
    told jsonb := coalesce(new.result, '{}');
begin
    if length(told::text) > 200000 then
        told := (told - 'words' - 'utterances') || '{"words_omitted": true}';
    end if;
    if new.output is not null and length(new.output) <= 131072 then
        told := told || jsonb_build_object('audio', translate(encode(new.output, 'base64'), E'\n', ''));
    end if;
    insert into outbox (id, type, destination, address, event)
    values (event_id, event_type, 'queue', new.outcome_queue, jsonb_build_object(
        'specversion', '1.0', 'id', event_id, 'source', 'voxd', 'type', event_type, 'subject', new.id,
        'time', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'datacontenttype', 'application/json',
        'data', told || jsonb_strip_nulls(jsonb_build_object(
            'job_id', new.id, 'source', new.source, 'id', new.event_id, 'status', new.status,
            'reason', new.status_reason, 'detail', new.status_detail, 'engine', new.engine
        )) || jsonb_build_object('metadata', new.metadata)));
    return null;
end $$;

comment on function tell_speech_outcome is 'Puts the outcome event of an audio job into the outbox, with its end.';

create trigger tell_speech_outcome after update on speech_jobs for each row
    when (new.status in ('completed', 'failed') and new.outcome_queue is not null) execute function tell_speech_outcome();
