//! The outbox: outcome events on their way out. Rows are written by triggers, with the change that they tell.

use std::time::Duration;

use chrono::SecondsFormat;
use serde_json::{Value, json};
use uuid::Uuid;

use super::accept::{NewRejected, storable};
use super::{Result, Store};
use crate::call::status::text_enum;
use crate::clock;

text_enum! {
    /// Which way an event goes.
    Destination {
        Queue = "queue",
        Url = "url",
    }
}

/// An event whose turn it is, claimed for a while.
#[derive(Debug, Clone)]
pub struct DueEvent {
    /// The event's own id, the same over all tries.
    pub id: Uuid,
    pub call_id: Option<Uuid>,
    /// Queue name or URL, or the address of `webhook_config.url`.
    pub address: String,
    /// The CloudEvent as JSON, byte for byte the same over all tries.
    pub body: String,
    /// Tries so far, this one included.
    pub attempts: u32,
    /// Since it was written.
    pub age: Duration,
}

/// How many events are claimed, for how long, and from whom.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    pub destination: Destination,
    /// After this an unfinished try is due again.
    pub hold: Duration,
    pub limit: usize,
    /// At most so many of one host (`host:port` of a URL; a queue's whole address).
    pub per_host: usize,
    /// Hosts that are left out this time.
    pub without: &'a [String],
}

/// A try that failed.
#[derive(Debug, Clone)]
pub struct FailedTry {
    pub id: Uuid,
    /// `None`: given up.
    pub again_in: Option<Duration>,
    /// What people see.
    pub error: String,
}

/// The events that are not delivered yet, of one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxState {
    pub destination: Destination,
    pub pending: i64,
    pub oldest_seconds: f64,
}

/// Rows looked at in one claim, so that a long backlog for one host does not make claims slow.
const WINDOW: i64 = 1000;

impl Store {
    /// Claims events that are due.
    pub async fn claim_outbox(&self, claim: &Claim<'_>) -> Result<Vec<DueEvent>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"
                with due as (
                    select id, next_attempt_at, coalesce(substring(address from '^[a-z]+://([^/?#]*)'), address) as host
                    from outbox
                    where delivered_at is null and abandoned_at is null and destination = $1 and next_attempt_at <= statement_timestamp()
                      and coalesce(substring(address from '^[a-z]+://([^/?#]*)'), address) <> all($5)
                    order by next_attempt_at limit $6
                ), ranked as (
                    select id, row_number() over (partition by host order by next_attempt_at) as place from due
                ), chosen as (
                    select o.id from outbox o join ranked r on r.id = o.id
                    where r.place <= $4 and o.delivered_at is null and o.abandoned_at is null and o.next_attempt_at <= statement_timestamp()
                    order by o.next_attempt_at limit $3 for no key update of o skip locked
                )
                update outbox o set next_attempt_at = clock_timestamp() + make_interval(secs => $2), attempts = o.attempts + 1
                from chosen where o.id = chosen.id
                returning o.id, o.call_id, o.address, o.event::text as "body!", o.attempts, o.created_at,
                    extract(epoch from clock_timestamp() - o.created_at)::float8 as "age!"
                "#,
                claim.destination.as_str(),
                claim.hold.as_secs_f64(),
                claim.limit as i64,
                claim.per_host as i64,
                claim.without,
                WINDOW,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            let mut rows = rows;
            rows.sort_by_key(|row| row.created_at);
            Ok(rows
                .into_iter()
                .map(|row| DueEvent {
                    id: row.id,
                    call_id: row.call_id,
                    address: row.address,
                    body: row.body,
                    attempts: row.attempts.max(0) as u32,
                    age: Duration::from_secs_f64(row.age.max(0.0)),
                })
                .collect())
        })
        .await
    }

    /// These events arrived.
    pub async fn outbox_delivered(&self, ids: &[Uuid]) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update outbox set delivered_at = clock_timestamp(), last_error = null where id = any($1) and delivered_at is null",
                ids,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// These tries failed: the events are due again later, or given up.
    pub async fn outbox_failed(&self, tries: &[FailedTry]) -> Result<()> {
        let ids: Vec<Uuid> = tries.iter().map(|failed| failed.id).collect();
        let waits: Vec<Option<f64>> =
            tries.iter().map(|failed| failed.again_in.map(|wait| wait.as_secs_f64())).collect();
        let errors: Vec<String> =
            tries.iter().map(|failed| storable(Some(&failed.error)).unwrap_or_default()).collect();
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update outbox o
                 set last_error = f.error,
                     next_attempt_at = case when f.wait is null then o.next_attempt_at else clock_timestamp() + make_interval(secs => f.wait) end,
                     abandoned_at = case when f.wait is null then clock_timestamp() end
                 from unnest($1::uuid[], $2::float8[], $3::text[]) as f(id, wait, error)
                 where o.id = f.id and o.delivered_at is null and o.abandoned_at is null",
                &ids,
                &waits as &[Option<f64>],
                &errors,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// For gauges; both destinations, always.
    pub async fn outbox_state(&self) -> Result<Vec<OutboxState>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"select d.destination as "destination!", count(o.id) as "pending!",
                          coalesce(extract(epoch from clock_timestamp() - min(o.created_at))::float8, 0) as "oldest!"
                   from unnest(array['queue', 'url']) as d(destination)
                   left join outbox o on o.destination = d.destination and o.delivered_at is null and o.abandoned_at is null
                   group by d.destination order by d.destination"#
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows
                .into_iter()
                .filter_map(|row| {
                    let destination = row.destination.parse().ok()?;
                    Some(OutboxState { destination, pending: row.pending, oldest_seconds: row.oldest })
                })
                .collect())
        })
        .await
    }

    /// Queues `voice.job.rejected` for messages that were not valid jobs. The event's id follows from the queue and the
    /// message, so a redelivery of the same message queues nothing new.
    pub async fn queue_job_rejected(&self, outcome_queue: &str, rejected: &[NewRejected]) -> Result<()> {
        let events: Vec<(Uuid, Value)> = rejected.iter().map(rejected_event).collect();
        let (ids, events): (Vec<Uuid>, Vec<Value>) = events.into_iter().unzip();
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "insert into outbox (id, type, destination, address, event)
                 select e.id, 'voice.job.rejected', 'queue', $1, e.event from unnest($2::uuid[], $3::jsonb[]) as e(id, event)
                 on conflict (id) do nothing",
                outcome_queue,
                &ids,
                &events,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }
}

fn rejected_event(message: &NewRejected) -> (Uuid, Value) {
    let name = format!("voxd:rejected:{}:{}", message.queue, message.message_id);
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let rejection = &message.rejection;
    let event = json!({
        "specversion": "1.0", "id": id, "source": "voxd", "type": "voice.job.rejected", "subject": message.message_id,
        "time": clock::now().to_rfc3339_opts(SecondsFormat::Micros, true), "datacontenttype": "application/json",
        "data": {
            "queue": message.queue, "message_id": message.message_id,
            "source": storable(rejection.source.as_deref()), "id": storable(rejection.event_id.as_deref()),
            "reason": rejection.reason, "field_path": storable(Some(&rejection.field_path)),
            "detail": storable(Some(&rejection.detail)),
        },
    });
    (id, event)
}
