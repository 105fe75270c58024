//! Audio jobs: acceptance, leases, what is recognized so far, and the end. The end's outcome event is written by a trigger.

use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::accept::{Acceptance, storable};
use super::{Result, Store, StoreError};
use crate::call::status::text_enum;
use crate::job::{ContentHash, JobKey};

text_enum! {
    /// What an audio job asks for.
    SpeechJobKind {
        Transcribe = "transcribe",
        Synthesize = "synthesize",
    }
}

/// A job on its way in.
#[derive(Debug, Clone)]
pub struct NewSpeechJob {
    pub id: Uuid,
    pub key: JobKey,
    pub hash: ContentHash,
    pub event_type: &'static str,
    pub kind: SpeechJobKind,
    /// The event's data, without the recording.
    pub request: Value,
    /// The recording, where it came in the message.
    pub input: Option<Vec<u8>>,
    pub metadata: Map<String, Value>,
    pub outcome_queue: Option<String>,
    pub traceparent: Option<String>,
}

/// A job that this replica holds the lease of.
#[derive(Debug, Clone)]
pub struct LeasedSpeechJob {
    pub id: Uuid,
    pub fence: i64,
    pub kind: SpeechJobKind,
    pub request: Value,
    /// This time included.
    pub tries: u32,
}

/// Something of a recording, heard.
#[derive(Debug, Clone, PartialEq)]
pub struct HeardChunk {
    pub n: i32,
    pub from_ms: i64,
    pub to_ms: i64,
    pub utterances: Value,
}

/// How a job ends.
#[derive(Debug, Clone)]
pub struct SpeechResult {
    pub engine: String,
    pub result: Value,
    pub output: Option<Vec<u8>>,
}

impl Store {
    /// All or none.
    pub async fn accept_speech_jobs(&self, jobs: &[NewSpeechJob]) -> Result<Vec<Acceptance>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let mut acceptances = Vec::with_capacity(jobs.len());
            for job in jobs {
                let inserted = sqlx::query!(
                    "insert into jobs (source, event_id, type, content_hash, subject_id) values ($1, $2, $3, $4, $5) on conflict do nothing",
                    job.key.source,
                    job.key.id,
                    job.event_type,
                    &job.hash.0[..],
                    job.id,
                )
                .execute(&mut *tx)
                .await?
                .rows_affected();
                if inserted == 0 {
                    let known = sqlx::query!(
                        "select content_hash, subject_id from jobs where source = $1 and event_id = $2",
                        job.key.source,
                        job.key.id,
                    )
                    .fetch_one(&mut *tx)
                    .await?;
                    let same = known.content_hash == job.hash.0;
                    acceptances.push(if same { Acceptance::Repeat { call_id: known.subject_id } } else { Acceptance::KeyReused });
                    continue;
                }
                sqlx::query!(
                    "insert into speech_jobs (id, source, event_id, kind, request, input, metadata, outcome_queue, traceparent)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                    job.id,
                    job.key.source,
                    job.key.id,
                    job.kind.as_str(),
                    job.request,
                    job.input.as_deref(),
                    Value::Object(job.metadata.clone()),
                    job.outcome_queue,
                    job.traceparent,
                )
                .execute(&mut *tx)
                .await?;
                acceptances.push(Acceptance::New);
            }
            tx.commit().await?;
            conn.done();
            Ok(acceptances)
        })
        .await
    }

    /// Takes up jobs that are due, or whose holder's lease ran out.
    pub async fn claim_speech_jobs(
        &self,
        replica: Uuid,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<LeasedSpeechJob>> {
        let rows = self
            .unit(async {
                let mut conn = self.conn().await?;
                let rows = sqlx::query!(
                    "with due as (
                         select id, due_at as since from speech_jobs
                         where status in ('accepted', 'scheduled') and due_at <= statement_timestamp()
                         order by due_at limit $3 for no key update skip locked
                     ), orphaned as (
                         select id, lease_until as since from speech_jobs
                         where status = 'running' and lease_until < statement_timestamp()
                         order by lease_until limit $3 for no key update skip locked
                     ), chosen as (
                         select id from (select * from due union all select * from orphaned) both_kinds order by since limit $3
                     )
                     update speech_jobs j
                     set status = 'running', status_reason = null, status_detail = null, fence = fence + 1, tries = tries + 1,
                         lease_owner = $1, lease_until = clock_timestamp() + make_interval(secs => $2)
                     from chosen where j.id = chosen.id
                     returning j.id, j.fence, j.kind, j.request, j.tries",
                    replica,
                    lease.as_secs_f64(),
                    limit as i64,
                )
                .fetch_all(&mut *conn)
                .await?;
                conn.done();
                Ok(rows)
            })
            .await?;
        rows.into_iter()
            .map(|row| {
                let kind =
                    row.kind.parse().map_err(|_| StoreError::Refused(format!("{} is no kind of job", row.kind)))?;
                Ok(LeasedSpeechJob {
                    id: row.id,
                    fence: row.fence,
                    kind,
                    request: row.request,
                    tries: row.tries.max(0) as u32,
                })
            })
            .collect()
    }

    /// The recording that came in the message.
    pub async fn speech_job_input(&self, id: Uuid) -> Result<Option<Vec<u8>>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let input =
                sqlx::query_scalar!("select input from speech_jobs where id = $1", id).fetch_one(&mut *conn).await?;
            conn.done();
            Ok(input)
        })
        .await
    }

    /// Notes whose sound is being heard, and gives what is heard of it already. `None`: overtaken.
    pub async fn begin_sound(
        &self,
        job: &LeasedSpeechJob,
        sound_hash: &[u8; 32],
        duration: Duration,
    ) -> Result<Option<Vec<HeardChunk>>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let held = sqlx::query!(
                "select sound_hash from speech_jobs where id = $1 and fence = $2 and status = 'running' for no key update",
                job.id,
                job.fence,
            )
            .fetch_optional(&mut *tx)
            .await?;
            let Some(held) = held else {
                tx.rollback().await?;
                conn.done();
                return Ok(None);
            };
            if held.sound_hash.as_deref() != Some(&sound_hash[..]) {
                sqlx::query!("delete from speech_job_chunks where job_id = $1", job.id).execute(&mut *tx).await?;
                sqlx::query!(
                    "update speech_jobs set sound_hash = $2, duration_ms = $3, done_ms = 0 where id = $1",
                    job.id,
                    &sound_hash[..],
                    duration.as_millis() as i64,
                )
                .execute(&mut *tx)
                .await?;
            }
            let chunks = sqlx::query_as!(
                HeardChunk,
                "select n, from_ms, to_ms, utterances from speech_job_chunks where job_id = $1 order by n",
                job.id,
            )
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            conn.done();
            Ok(Some(chunks))
        })
        .await
    }

    /// Returns whether the job was still ours.
    pub async fn keep_chunk(&self, job: &LeasedSpeechJob, chunk: &HeardChunk) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let kept = sqlx::query!(
                "with mine as (
                     update speech_jobs set done_ms = $5 where id = $1 and fence = $2 and status = 'running' returning id
                 )
                 insert into speech_job_chunks (job_id, n, from_ms, to_ms, utterances) select id, $3, $4, $5, $6 from mine",
                job.id,
                job.fence,
                chunk.n,
                chunk.from_ms,
                chunk.to_ms,
                chunk.utterances,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(kept == 1)
        })
        .await
    }

    /// Returns whether the job is still ours.
    pub async fn renew_speech_job(&self, job: &LeasedSpeechJob, lease: Duration) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let renewed = sqlx::query!(
                "update speech_jobs set lease_until = clock_timestamp() + make_interval(secs => $3)
                 where id = $1 and fence = $2 and status = 'running'",
                job.id,
                job.fence,
                lease.as_secs_f64(),
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(renewed == 1)
        })
        .await
    }

    /// Returns whether the job was still ours.
    pub async fn complete_speech_job(&self, job: &LeasedSpeechJob, done: &SpeechResult) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let ended = sqlx::query!(
                "update speech_jobs set status = 'completed', engine = $3, result = $4, output = $5, done_ms = coalesce(duration_ms, 0)
                 where id = $1 and fence = $2 and status = 'running'",
                job.id,
                job.fence,
                done.engine,
                done.result,
                done.output.as_deref(),
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(ended == 1)
        })
        .await
    }

    /// Ends the job, or (with `again_in`) lets it wait. Returns whether it was still ours.
    pub async fn speech_job_failed(
        &self,
        job: &LeasedSpeechJob,
        reason: &str,
        detail: &str,
        again_in: Option<Duration>,
    ) -> Result<bool> {
        let detail = storable(Some(detail));
        self.unit(async {
            let mut conn = self.conn().await?;
            let told = sqlx::query!(
                "update speech_jobs
                 set status = case when $5::float8 is null then 'failed' else 'scheduled' end, status_reason = $3, status_detail = $4,
                     due_at = clock_timestamp() + make_interval(secs => coalesce($5, 0)), lease_owner = null, lease_until = null
                 where id = $1 and fence = $2 and status = 'running'",
                job.id,
                job.fence,
                reason,
                detail,
                again_in.map(|wait| wait.as_secs_f64()),
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(told == 1)
        })
        .await
    }

    /// Gives back what this replica holds, for others to take up at once; that was no try.
    pub async fn release_speech_jobs(&self, replica: Uuid) -> Result<u64> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let released = sqlx::query!(
                "update speech_jobs set status = 'scheduled', due_at = clock_timestamp(), tries = greatest(tries - 1, 0),
                     lease_owner = null, lease_until = null, fence = fence + 1
                 where lease_owner = $1 and status = 'running'",
                replica,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(released)
        })
        .await
    }
}
