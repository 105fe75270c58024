//! The do-not-call list. Its enforcement is the trigger `number_may_be_called` on `call_attempts`.
//!
//! Locks are taken in the order queued calls of the numbers → number locks → rows, as [`Store::spend`] takes them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::read::{Before, Numbers};
use super::{Result, Store, StoreError};
use crate::call::{PhoneNumber, phone};
use crate::telemetry::metrics;

/// Numbers that go into one transaction, at most: each takes a lock of Postgres's shared table until the commit.
pub const BATCH: usize = 500;

/// Why numbers are not to be called, and who says so.
#[derive(Debug, Clone)]
pub struct Suppressing<'a> {
    /// `api`, `cli`, `import`, or `platform:NAME`.
    pub source: &'a str,
    pub because: &'a str,
    pub who: &'a str,
    /// `None`: for good.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What suppressing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// Numbers that were not on the list, or not for so long.
    pub changed: u64,
    /// Calls that were queued for them, cancelled.
    pub cancelled: Vec<Uuid>,
}

/// One number of the list.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Suppression {
    /// The middle is masked unless the whole number was asked for.
    pub number: String,
    #[serde(skip)]
    pub id: Uuid,
    /// `api`, `cli`, `import`, or `platform:NAME`.
    pub source: String,
    pub because: String,
    pub who: String,
    pub at: DateTime<Utc>,
    /// Null: for good.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Puts numbers on the list and cancels every call that is queued for them (`do_not_call`), in one transaction.
    ///
    /// Never shortens what is on the list already. At most [`BATCH`] numbers.
    pub async fn suppress(&self, numbers: &[PhoneNumber], why: &Suppressing<'_>) -> Result<Suppressed> {
        let numbers: Vec<String> = numbers.iter().map(|number| number.as_e164().to_owned()).collect();
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let suppressed = suppress(&mut tx, &numbers, why).await?;
            tx.commit().await?;
            conn.done();
            Ok(suppressed)
        })
        .await
    }

    /// Suppresses the number of a call. `None`: there is no such call.
    pub async fn suppress_number_of(&self, call_id: Uuid, why: &Suppressing<'_>) -> Result<Option<Suppressed>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let number = sqlx::query_scalar!("select to_number from calls where id = $1", call_id)
                .fetch_optional(&mut *tx)
                .await?;
            let suppressed = match number {
                Some(number) => Some(suppress(&mut tx, &[number], why).await?),
                None => None,
            };
            tx.commit().await?;
            conn.done();
            Ok(suppressed)
        })
        .await
    }

    /// Suppresses the numbers of attempts that their platform refused with `do_not_call`. Safe to repeat.
    pub async fn suppress_refused(&self, attempt_ids: &[Uuid]) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            for attempt_id in attempt_ids {
                let because = "the platform refused a call: the number is on its do-not-call list";
                opt_out(&mut tx, *attempt_id, "delivery", because).await?;
            }
            tx.commit().await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// Takes a number off the list. Returns whether it was on it. Calls that were cancelled stay so.
    pub async fn unsuppress(&self, number: &PhoneNumber, source: &str, who: &str, because: &str) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let removed = sqlx::query!(
                "with gone as (delete from suppressions where number = $1 returning number, expires_at)
                 insert into suppression_events (number, action, source, because, who, expires_at)
                 select number, 'removed', $2, $3, $4, expires_at from gone",
                number.as_e164(),
                source,
                because,
                who,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(removed == 1)
        })
        .await
    }

    /// Newest first.
    pub async fn list_suppressions(
        &self,
        number: Option<&PhoneNumber>,
        before: Option<Before>,
        limit: i64,
        numbers: Numbers,
    ) -> Result<Vec<Suppression>> {
        let mut rows = self
            .unit(async {
                let mut conn = self.conn().await?;
                let rows = sqlx::query_as!(
                    Suppression,
                    "select number, id, source, because, who, at, expires_at from suppressions
                     where ($1::text is null or number = $1) and ($2::timestamptz is null or (at, id) < ($2, $3))
                     order by at desc, id desc limit $4",
                    number.map(PhoneNumber::as_e164),
                    before.map(|before| before.at),
                    before.map(|before| before.id),
                    limit,
                )
                .fetch_all(&mut *conn)
                .await?;
                conn.done();
                Ok(rows)
            })
            .await?;
        if numbers == Numbers::Masked {
            rows.iter_mut().for_each(|row| row.number = phone::mask(&row.number));
        }
        Ok(rows)
    }

    /// The list in the order of its numbers, whole, after `after`: for an export in pages.
    pub async fn suppressions_after(&self, after: &str, limit: i64) -> Result<Vec<Suppression>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query_as!(
                Suppression,
                "select number, id, source, because, who, at, expires_at from suppressions where number > $1 order by number limit $2",
                after,
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows)
        })
        .await
    }
}

/// As [`Store::suppress`], within the caller's transaction, which must not hold an attempt of these numbers changed.
pub(super) async fn suppress(
    tx: &mut sqlx::PgConnection,
    numbers: &[String],
    why: &Suppressing<'_>,
) -> Result<Suppressed> {
    if numbers.len() > BATCH {
        return Err(StoreError::Refused(format!("{} numbers at once, at most {BATCH}", numbers.len())));
    }
    sqlx::query!(
        "select id from calls where to_number = any($1) and status in ('accepted', 'scheduled') order by id for no key update",
        numbers,
    )
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query!(
        "select pg_advisory_xact_lock(number_lock(number)) from (select distinct n as number from unnest($1::text[]) n order by 1 offset 0) sorted",
        numbers,
    )
    .fetch_all(&mut *tx)
    .await?;
    let changed = sqlx::query!(
        "with changed as (
             insert into suppressions as s (number, source, because, who, expires_at)
             select distinct n, $2, $3, $4, $5::timestamptz from unnest($1::text[]) n order by n
             on conflict (number) do update
             set source = excluded.source, because = excluded.because, who = excluded.who, at = clock_timestamp(), expires_at = excluded.expires_at
             where s.expires_at is not null and (excluded.expires_at is null or excluded.expires_at > s.expires_at)
             returning number, expires_at, (xmax = 0) as is_new
         )
         insert into suppression_events (number, action, source, because, who, expires_at)
         select number, case when is_new then 'added' else 'extended' end, $2, $3, $4, expires_at from changed",
        numbers,
        why.source,
        why.because,
        why.who,
        why.expires_at,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    // What was accepted meanwhile and is about to be sent is left to the trigger: its sender waits for our lock.
    let cancelled = sqlx::query!(
        "with queued as (
             select id from calls where to_number = any($1) and status in ('accepted', 'scheduled')
                 and is_suppressed(to_number)
             for no key update skip locked
         )
         update calls c
         set status = 'cancelled', status_reason = 'do_not_call', status_detail = $2, status_source = $3, fence = fence + 1
         from queued where c.id = queued.id
         returning c.id, c.platform",
        numbers,
        format!("the number was put on the do-not-call list: {}", why.because),
        why.who,
    )
    .fetch_all(&mut *tx)
    .await?;
    metrics::SUPPRESSIONS.add([source_label(why.source)], changed);
    for call in &cancelled {
        metrics::CALLS_FINISHED.inc([call.platform.as_str(), "cancelled"]);
    }
    Ok(Suppressed { changed, cancelled: cancelled.into_iter().map(|row| row.id).collect() })
}

/// A platform's report that the person of this attempt opted out; a line in its call's timeline tells it.
pub(super) async fn opt_out(tx: &mut sqlx::PgConnection, attempt_id: Uuid, who: &str, because: &str) -> Result<()> {
    let attempt = sqlx::query!("select to_number, platform from call_attempts where id = $1", attempt_id)
        .fetch_one(&mut *tx)
        .await?;
    let source = format!("platform:{}", attempt.platform);
    let why = Suppressing { source: &source, because, who, expires_at: None };
    let suppressed = suppress(tx, &[attempt.to_number], &why).await?;
    if suppressed.changed > 0 {
        sqlx::query!(
            "insert into call_events (call_id, attempt_id, kind, source, detail)
             select call_id, id, 'opt_out', $2, jsonb_build_object('because', $3::text, 'cancelled', $4::int) from call_attempts where id = $1",
            attempt_id,
            who,
            because,
            suppressed.cancelled.len() as i32,
        )
        .execute(tx)
        .await?;
    }
    Ok(())
}

fn source_label(source: &str) -> &str {
    source.split_once(':').map_or(source, |(kind, _)| kind)
}
