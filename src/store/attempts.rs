//! The send protocol's two commits: the right to send is spent before the first byte, and the answer is recorded after.
//!
//! Both take batches: one statement and one commit for all that is ready at the moment.

use std::time::Duration;

use uuid::Uuid;

use super::accept::storable;
use super::{Result, Store, StoreError};
use crate::call::{AttemptState, CallStatus, Verdict};

/// A wish to send: spend the right of this call, which we hold the lease of.
#[derive(Debug, Clone)]
pub struct Intent {
    pub call_id: Uuid,
    pub fence: i64,
    /// Made before sending; travels in the platform's metadata and in the webhook address.
    pub attempt_id: Uuid,
    pub platform: String,
    pub from_number: Option<String>,
}

/// How long a right to send lasts and when nobody can be using it any more.
#[derive(Debug, Clone, Copy)]
pub struct IntentTimes {
    pub lease: Duration,
    /// lease + request time-out + margin
    pub settled_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentOutcome {
    /// Committed: exactly one request may be sent.
    Spent,
    /// Another attempt to this number is live.
    NumberBusy,
    /// An earlier call of the same message group is not answered yet.
    Behind,
    /// The account's live calls are at the cap.
    AtCap,
    Expired,
    /// Its cancellation came before the call itself.
    CancelledAhead,
    /// Cancelled, settled or taken over by somebody else: nothing of ours any more.
    Overtaken,
}

/// What became of a spent right, and what the call does next.
#[derive(Debug, Clone)]
pub struct Answered {
    pub call_id: Uuid,
    pub attempt_id: Uuid,
    pub fence: i64,
    pub state: AttemptState,
    pub verdict: Verdict,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub http_status: Option<u16>,
    pub platform_call_id: Option<String>,
    pub call_status: CallStatus,
    pub call_reason: Option<String>,
    pub call_detail: Option<String>,
    /// For `scheduled`: from now.
    pub scheduled_in: Option<Duration>,
    /// For `scheduled`: what the next attempt will name.
    pub next_because: Option<String>,
    /// For `scheduled`: where the next attempt goes.
    pub next_platform: Option<String>,
    /// When the platform is asked about it: looked up in doubt, polled when placed.
    pub look_in: Option<Duration>,
}

impl Store {
    /// Spends the right to send for each of `intents` that may have it, in one commit.
    ///
    /// `cap`: at most so many live attempts on the platform (all intents of one batch go to one platform then), held by an
    /// advisory lock for the statement's transaction; 0: no cap.
    pub async fn spend(
        &self,
        replica: Uuid,
        intents: &[Intent],
        times: IntentTimes,
        cap: u32,
    ) -> Result<Vec<IntentOutcome>> {
        let call_ids: Vec<Uuid> = intents.iter().map(|intent| intent.call_id).collect();
        let fences: Vec<i64> = intents.iter().map(|intent| intent.fence).collect();
        let attempt_ids: Vec<Uuid> = intents.iter().map(|intent| intent.attempt_id).collect();
        let platforms: Vec<String> = intents.iter().map(|intent| intent.platform.clone()).collect();
        let from_numbers: Vec<Option<String>> = intents.iter().map(|intent| intent.from_number.clone()).collect();
        self.unit(async {
            let mut conn = self.conn().await?;
            let columns = IntentColumns { replica, call_ids, fences, attempt_ids, platforms, from_numbers, times };
            let spent = if cap == 0 {
                // One statement is its own transaction: one round trip instead of three.
                spend_rows(&mut conn, &columns, i64::MAX).await?
            } else {
                let mut tx = sqlx::Connection::begin(&mut *conn).await?;
                let room = room_below(&mut tx, cap, intents.first().map_or("", |intent| &intent.platform)).await?;
                let spent = spend_rows(&mut tx, &columns, room).await?;
                tx.commit().await?;
                spent
            };
            let refused: Vec<Uuid> = intents
                .iter()
                .filter(|intent| !spent.contains(&intent.attempt_id))
                .map(|intent| intent.call_id)
                .collect();
            let reasons = if refused.is_empty() { Vec::new() } else { why_not(&mut conn, replica, &refused).await? };
            conn.done();
            let outcome = |intent: &Intent| {
                if spent.contains(&intent.attempt_id) {
                    return IntentOutcome::Spent;
                }
                let reason =
                    reasons.iter().find(|reason| reason.call_id == intent.call_id && reason.fence == intent.fence);
                reason.map_or(IntentOutcome::Overtaken, |reason| reason.outcome)
            };
            Ok(intents.iter().map(outcome).collect())
        })
        .await
    }

    /// After an unclear end of [`Store::spend`]: which of these rights are ours. Whether one may still be used is the permit's say.
    pub async fn confirm_spent(&self, replica: Uuid, attempt_ids: &[Uuid]) -> Result<Vec<Uuid>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let ids = sqlx::query_scalar!(
                "select a.id from call_attempts a join calls c on c.id = a.call_id
                 where a.id = any($1) and a.state = 'sending' and a.lease_owner = $2 and a.fence = c.fence",
                attempt_ids,
                replica,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(ids)
        })
        .await
    }

    /// Records answers in one commit. Returns the attempts that were still ours; the others were overtaken, and nothing of
    /// theirs changed. What a webhook already knew better stays. Safe to repeat after an unclear end.
    pub async fn record(&self, answers: &[Answered]) -> Result<Vec<Uuid>> {
        fn column<T>(answers: &[Answered], pick: impl Fn(&Answered) -> T) -> Vec<T> {
            answers.iter().map(pick).collect()
        }
        self.unit(async {
            let mut conn = self.conn().await?;
            let recorded = sqlx::query_scalar!(
                r#"
                with input as materialized (
                    select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::text[],
                        $10::text[], $11::text[], $12::text[], $13::float8[], $14::text[], $15::text[], $16::float8[])
                    as input(call_id, attempt_id, fence, state, verdict, reason, detail, http_status, platform_call_id,
                        call_status, call_reason, call_detail, scheduled_in, next_because, next_platform, look_in)
                ), held as materialized (
                    select c.id, c.cancel_requested_at from calls c join input i on i.call_id = c.id order by c.id for no key update of c
                ), known as (
                    update call_attempts a
                    set state = case when a.state = 'sending' then i.state else a.state end,
                        verdict = i.verdict, reason = i.reason, detail = i.detail, http_status = i.http_status,
                        platform_call_id = coalesce(a.platform_call_id, i.platform_call_id),
                        answered_at = clock_timestamp(),
                        ended_at = case when a.state = 'sending' and i.state in ('not_sent', 'refused') then clock_timestamp() else a.ended_at end,
                        next_look_at = case
                            when a.state <> 'sending' then a.next_look_at
                            when h.cancel_requested_at is not null and i.state = 'placed' then clock_timestamp()
                            else clock_timestamp() + make_interval(secs => i.look_in) end
                    from input i join held h on h.id = i.call_id
                    -- The call may have gone on, with a new fence (a webhook told its outcome, and a retry is due): the answer is
                    -- still this attempt's. Not judged by its state here: where the webhook commits while this statement waits for
                    -- the call, the state would be the one before. An attempt in 'sending' always has its call's fence.
                    where a.id = i.attempt_id and a.fence = i.fence and a.answered_at is null
                    returning a.id, a.call_id, a.state
                ), moved as (
                    update calls c
                    set status = case when i.call_status = 'scheduled' and c.cancel_requested_at is not null then 'cancelled'
                                      when i.call_status = 'scheduled' and c.expires_at <= clock_timestamp() then 'expired'
                                      else i.call_status end,
                        status_reason = case when i.call_status = 'scheduled' and c.cancel_requested_at is not null then 'cancel_requested'
                                             when i.call_status = 'scheduled' and c.expires_at <= clock_timestamp() then 'expired'
                                             else i.call_reason end,
                        status_detail = case when i.call_status = 'scheduled' and c.cancel_requested_at is not null then c.cancel_reason
                                             else i.call_detail end,
                        status_source = 'delivery',
                        scheduled_for = case when i.call_status = 'scheduled' then clock_timestamp() + make_interval(secs => i.scheduled_in)
                                             else c.scheduled_for end,
                        next_because = coalesce(i.next_because, c.next_because),
                        platform = coalesce(i.next_platform, c.platform),
                        send_tries = case when i.next_platform is not null then 0
                                          when i.verdict = 'not_sent' then c.send_tries + 1 else c.send_tries end,
                        sent_in_order = c.sent_in_order or i.state <> 'not_sent',
                        lease_owner = null, lease_until = null
                    from known k join input i on i.attempt_id = k.id
                    where c.id = k.call_id and c.fence = i.fence and c.status = 'sending' and k.state = i.state
                ), left_alone as (
                    update calls c set lease_owner = null, lease_until = null, sent_in_order = true
                    from known k join input i on i.attempt_id = k.id
                    where c.id = k.call_id and c.fence = i.fence and not (c.status = 'sending' and k.state = i.state)
                )
                select id as "id!" from known
                "#,
                &column(answers, |answer| answer.call_id),
                &column(answers, |answer| answer.attempt_id),
                &column(answers, |answer| answer.fence),
                &column(answers, |answer| answer.state.as_str().to_owned()),
                &column(answers, |answer| answer.verdict.as_str().to_owned()),
                &column(answers, |answer| storable(answer.reason.as_deref())) as &[Option<String>],
                &column(answers, |answer| storable(answer.detail.as_deref())) as &[Option<String>],
                &column(answers, |answer| answer.http_status.map(i32::from)) as &[Option<i32>],
                &column(answers, |answer| answer.platform_call_id.clone()) as &[Option<String>],
                &column(answers, |answer| answer.call_status.as_str().to_owned()),
                &column(answers, |answer| storable(answer.call_reason.as_deref())) as &[Option<String>],
                &column(answers, |answer| storable(answer.call_detail.as_deref())) as &[Option<String>],
                &column(answers, |answer| answer.scheduled_in.map(|wait| wait.as_secs_f64())) as &[Option<f64>],
                &column(answers, |answer| storable(answer.next_because.as_deref())) as &[Option<String>],
                &column(answers, |answer| answer.next_platform.clone()) as &[Option<String>],
                &column(answers, |answer| answer.look_in.map(|wait| wait.as_secs_f64())) as &[Option<f64>],
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(recorded)
        })
        .await
    }
}

struct IntentColumns {
    replica: Uuid,
    call_ids: Vec<Uuid>,
    fences: Vec<i64>,
    attempt_ids: Vec<Uuid>,
    platforms: Vec<String>,
    from_numbers: Vec<Option<String>>,
    times: IntentTimes,
}

/// How many more live attempts the platform may have; holds its cap's lock until the transaction ends.
async fn room_below(tx: &mut sqlx::PgConnection, cap: u32, platform: &str) -> Result<i64> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('voxd:cap:' || $1, 0))", platform)
        .execute(&mut *tx)
        .await?;
    let live = sqlx::query_scalar!(
        r#"select count(*) as "count!" from call_attempts
                       where platform = $1 and state in ('sending', 'in_doubt', 'placed', 'ringing', 'in_progress')"#,
        platform,
    )
    .fetch_one(tx)
    .await?;
    Ok((i64::from(cap) - live).max(0))
}

/// Returns the attempts whose right is spent, at most `room`.
async fn spend_rows(conn: &mut sqlx::PgConnection, columns: &IntentColumns, room: i64) -> Result<Vec<Uuid>> {
    let spent = sqlx::query_scalar!(
                r#"
                with input as materialized (
                    select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[])
                        with ordinality as input(call_id, fence, attempt_id, platform, from_number, i)
                ), ready as materialized (
                    select c.id, c.to_number, c.next_because, i.fence, i.attempt_id, i.platform, i.from_number
                    from input i join calls c on c.id = i.call_id
                    where c.fence = i.fence and c.lease_owner = $6 and c.lease_until > clock_timestamp()
                      and c.status in ('accepted', 'scheduled') and c.cancel_requested_at is null
                      and not exists (select from early_cancellations x where x.source = c.source and x.event_id = c.event_id)
                      and (c.expires_at is null or c.expires_at > clock_timestamp())
                      and (c.order_key is null or not exists (
                          select from calls e where e.order_key = c.order_key and not e.sent_in_order and e.order_seq < c.order_seq))
                      and durability_problem() is null
                    order by c.id
                    for no key update of c
                ), chosen as (
                    select * from ready order by id limit $9
                ), spent as (
                    insert into call_attempts (id, call_id, n, because, platform, to_number, from_number, fence, lease_owner, settled_at)
                    select attempt_id, id, 1 + coalesce((select max(a.n) from call_attempts a where a.call_id = chosen.id), 0), next_because,
                           platform, to_number, from_number, fence, $6, clock_timestamp() + make_interval(secs => $8)
                    from chosen
                    -- Two replicas whose calls go to the same numbers wait for each other in one order.
                    order by to_number, id
                    on conflict do nothing
                    returning id, call_id, platform
                ), moved as (
                    update calls c
                    set status = 'sending', status_reason = null, status_detail = null, status_source = 'delivery', platform = s.platform,
                        lease_until = clock_timestamp() + make_interval(secs => $7)
                    from spent s where c.id = s.call_id
                )
                select id as "id!" from spent
                "#,
                &columns.call_ids,
                &columns.fences,
                &columns.attempt_ids,
                &columns.platforms,
                &columns.from_numbers as &[Option<String>],
                columns.replica,
                columns.times.lease.as_secs_f64(),
                columns.times.settled_after.as_secs_f64(),
                room,
            )
    .fetch_all(conn)
    .await?;
    Ok(spent)
}

struct WhyNot {
    call_id: Uuid,
    fence: i64,
    outcome: IntentOutcome,
}

async fn why_not(conn: &mut sqlx::PgConnection, replica: Uuid, calls: &[Uuid]) -> Result<Vec<WhyNot>> {
    let rows = sqlx::query!(
        r#"select c.id, c.fence,
                  (c.lease_owner = $2 and c.lease_until > clock_timestamp() and c.status in ('accepted', 'scheduled')
                      and c.cancel_requested_at is null) as "ours?",
                  coalesce(c.expires_at <= clock_timestamp(), false) as "expired!",
                  (c.order_key is not null and exists (
                      select from calls e where e.order_key = c.order_key and not e.sent_in_order and e.order_seq < c.order_seq)) as "behind!",
                  exists (select from call_attempts a where a.to_number = c.to_number
                      and a.state in ('sending', 'in_doubt', 'unknown', 'placed', 'ringing', 'in_progress')) as "busy!",
                  exists (select from early_cancellations x where x.source = c.source and x.event_id = c.event_id) as "cancelled!",
                  durability_problem() as problem
           from calls c where c.id = any($1)"#,
        calls,
        replica,
    )
    .fetch_all(conn)
    .await?;
    if let Some(problem) = rows.iter().find_map(|row| row.problem.clone()) {
        return Err(StoreError::NotDurable(problem));
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let outcome = match (row.ours.unwrap_or(false), row.expired, row.behind, row.busy) {
                (false, ..) => IntentOutcome::Overtaken,
                (true, ..) if row.cancelled => IntentOutcome::CancelledAhead,
                (true, true, ..) => IntentOutcome::Expired,
                (true, false, true, _) => IntentOutcome::Behind,
                (true, false, false, true) => IntentOutcome::NumberBusy,
                (true, false, false, false) => IntentOutcome::AtCap,
            };
            WhyNot { call_id: row.id, fence: row.fence, outcome }
        })
        .collect())
}
