//! The send protocol's two commits: the right to send is spent before the first byte, and the answer is recorded after.
//!
//! Both take batches: one statement and one commit for all that is ready at the moment.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::accept::storable;
use super::pace::{self, Limits, Short, Slots};
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
    /// How often the number may be called, as `call_attempts.number_caps` has it.
    pub number_caps: Option<Value>,
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
    /// The number was called too short a while ago.
    TooSoon { wait: Duration },
    /// A limit of the account leaves no room ([`Spent::short`]).
    NoRoom,
    /// The number was called as often as its caps allow, until then.
    TooOften { until: DateTime<Utc> },
    /// It will never be sent: it expired, its number is on the do-not-call list, or its cancellation came before the call.
    Ended { status: CallStatus, reason: &'static str, detail: &'static str },
    /// Cancelled, settled or taken over by somebody else: nothing of ours any more.
    Overtaken,
}

impl IntentOutcome {
    pub const EXPIRED: Self = Self::Ended {
        status: CallStatus::Expired,
        reason: "expired",
        detail: "expires_at passed before it could be sent",
    };
    pub const DO_NOT_CALL: Self = Self::Ended {
        status: CallStatus::Cancelled,
        reason: "do_not_call",
        detail: "the number is on the do-not-call list",
    };
    pub const CANCELLED_AHEAD: Self = Self::Ended {
        status: CallStatus::Cancelled,
        reason: "cancel_requested",
        detail: "its cancellation came before the call itself",
    };
}

/// What became of each intent, in their order.
#[derive(Debug)]
pub struct Spent {
    pub outcomes: Vec<IntentOutcome>,
    /// Of spent rights, in their order: when their requests may leave. Without a limit per second: at once.
    pub slots: Option<Slots>,
    /// Why some found no room.
    pub short: Option<Short>,
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
    /// See [`crate::store::looks::DueLook::handles`].
    pub handles: BTreeMap<String, String>,
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
    /// The platform keeps the number on a do-not-call list: it goes onto ours before this answer is recorded ([`Store::suppress_refused`]).
    pub opt_out: bool,
}

impl Store {
    /// Spends the right to send for each of `intents` that may have it, in one commit.
    ///
    /// `limits` hold for the platform (all intents of one batch go to one platform then); the first of `intents` get the room
    /// that there is.
    pub async fn spend(
        &self,
        replica: Uuid,
        intents: &[Intent],
        times: IntentTimes,
        limits: Option<&Limits>,
    ) -> Result<Spent> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let spending = match limits.zip(intents.first()) {
                // One statement is its own transaction: one round trip instead of several.
                None => {
                    Spending { spent: spend_rows(&mut conn, replica, intents, times).await?, ..Spending::default() }
                }
                Some((limits, first)) => {
                    let mut tx = sqlx::Connection::begin(&mut *conn).await?;
                    let spending = spend_within(&mut tx, replica, intents, times, limits, &first.platform).await?;
                    tx.commit().await?;
                    spending
                }
            };
            let Spending { spent, early, left_out, slots, short } = spending;
            let settled = |intent: &Intent| {
                if spent.contains(&intent.attempt_id) {
                    return Some(IntentOutcome::Spent);
                }
                if left_out.contains(&intent.call_id) {
                    return Some(IntentOutcome::NoRoom);
                }
                let early = early.iter().find(|(call_id, _)| *call_id == intent.call_id);
                early.map(|(_, wait)| IntentOutcome::TooSoon { wait: *wait })
            };
            let refused: Vec<&Intent> = intents.iter().filter(|intent| settled(intent).is_none()).collect();
            let reasons = if refused.is_empty() { Vec::new() } else { why_not(&mut conn, replica, &refused).await? };
            conn.done();
            let outcome = |intent: &Intent| {
                settled(intent).unwrap_or_else(|| {
                    let reason =
                        reasons.iter().find(|reason| reason.call_id == intent.call_id && reason.fence == intent.fence);
                    reason.map_or(IntentOutcome::Overtaken, |reason| reason.outcome)
                })
            };
            Ok(Spent { outcomes: intents.iter().map(outcome).collect(), slots, short })
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
                        $10::text[], $11::text[], $12::text[], $13::float8[], $14::text[], $15::text[], $16::float8[], $17::jsonb[])
                    as input(call_id, attempt_id, fence, state, verdict, reason, detail, http_status, platform_call_id,
                        call_status, call_reason, call_detail, scheduled_in, next_because, next_platform, look_in, handles)
                ), held as materialized (
                    select c.id, c.cancel_requested_at from calls c join input i on i.call_id = c.id order by c.id for no key update of c
                ), known as (
                    update call_attempts a
                    set state = case when a.state = 'sending' then i.state else a.state end,
                        verdict = i.verdict, reason = i.reason, detail = i.detail, http_status = i.http_status,
                        platform_call_id = coalesce(a.platform_call_id, i.platform_call_id), handles = i.handles,
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
                &column(answers, |answer| serde_json::json!(answer.handles)),
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            if answers.iter().any(|answer| !answer.state.is_live()) {
                self.tell_ended();
            }
            Ok(recorded)
        })
        .await
    }
}

#[derive(Default)]
struct Spending {
    spent: Vec<Uuid>,
    /// Calls whose number was called too short a while ago.
    early: Vec<(Uuid, Duration)>,
    /// Calls beyond the room.
    left_out: Vec<Uuid>,
    slots: Option<Slots>,
    short: Option<Short>,
}

async fn spend_within(
    tx: &mut sqlx::PgConnection,
    replica: Uuid,
    intents: &[Intent],
    times: IntentTimes,
    limits: &Limits,
    platform: &str,
) -> Result<Spending> {
    let room = pace::room(tx, platform, limits, intents.len()).await?;
    let early = match limits.number_spacing {
        Some(spacing) if room.calls > 0 => {
            let calls: Vec<Uuid> = intents.iter().map(|intent| intent.call_id).collect();
            pace::too_soon(tx, platform, spacing, &calls).await?
        }
        _ => Vec::new(),
    };
    let is_early = |intent: &&Intent| early.iter().any(|(call_id, _)| *call_id == intent.call_id);
    let mut fit: Vec<Intent> = intents.iter().filter(|intent| !is_early(intent)).cloned().collect();
    let left_out = fit.split_off(room.calls.min(fit.len()));
    let spent = if fit.is_empty() { Vec::new() } else { spend_rows(tx, replica, &fit, times).await? };
    pace::note_spent(tx, platform, limits, &room, &spent).await?;
    let left_out = left_out.into_iter().map(|intent| intent.call_id).collect();
    Ok(Spending { spent, early, left_out, slots: room.slots, short: room.short })
}

/// Returns the attempts whose right is spent.
async fn spend_rows(
    conn: &mut sqlx::PgConnection,
    replica: Uuid,
    intents: &[Intent],
    times: IntentTimes,
) -> Result<Vec<Uuid>> {
    let call_ids: Vec<Uuid> = intents.iter().map(|intent| intent.call_id).collect();
    let fences: Vec<i64> = intents.iter().map(|intent| intent.fence).collect();
    let attempt_ids: Vec<Uuid> = intents.iter().map(|intent| intent.attempt_id).collect();
    let platforms: Vec<String> = intents.iter().map(|intent| intent.platform.clone()).collect();
    let from_numbers: Vec<Option<String>> = intents.iter().map(|intent| intent.from_number.clone()).collect();
    let number_caps: Vec<Option<Value>> = intents.iter().map(|intent| intent.number_caps.clone()).collect();
    let spent = sqlx::query_scalar!(
                r#"
                with input as materialized (
                    select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $9::jsonb[])
                        with ordinality as input(call_id, fence, attempt_id, platform, from_number, number_caps, i)
                ), ready as materialized (
                    select c.id, c.to_number, c.next_because, i.fence, i.attempt_id, i.platform, i.from_number, i.number_caps
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
                ), spent as (
                    insert into call_attempts (id, call_id, n, because, platform, to_number, from_number, number_caps, fence, lease_owner, settled_at)
                    select attempt_id, id, 1 + coalesce((select max(a.n) from call_attempts a where a.call_id = ready.id), 0), next_because,
                           platform, to_number, from_number, number_caps, fence, $6, clock_timestamp() + make_interval(secs => $8)
                    from ready
                    -- Two replicas whose calls go to the same numbers wait for each other in one order; so do opt-outs. The
                    -- trigger number_may_be_called leaves out numbers that are suppressed or were called often enough.
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
                &call_ids,
                &fences,
                &attempt_ids,
                &platforms,
                &from_numbers as &[Option<String>],
                replica,
                times.lease.as_secs_f64(),
                times.settled_after.as_secs_f64(),
                &number_caps as &[Option<Value>],
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

async fn why_not(conn: &mut sqlx::PgConnection, replica: Uuid, refused: &[&Intent]) -> Result<Vec<WhyNot>> {
    let calls: Vec<Uuid> = refused.iter().map(|intent| intent.call_id).collect();
    let caps: Vec<Option<Value>> = refused.iter().map(|intent| intent.number_caps.clone()).collect();
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
                  is_suppressed(c.to_number) as "suppressed!", number_free_at(c.to_number, i.caps) as free_at,
                  durability_problem() as problem
           from unnest($1::uuid[], $3::jsonb[]) as i(call_id, caps) join calls c on c.id = i.call_id"#,
        &calls,
        replica,
        &caps as &[Option<Value>],
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
                (true, ..) if row.cancelled => IntentOutcome::CANCELLED_AHEAD,
                (true, ..) if row.suppressed => IntentOutcome::DO_NOT_CALL,
                (true, true, ..) => IntentOutcome::EXPIRED,
                (true, false, true, _) => IntentOutcome::Behind,
                (true, false, false, true) => IntentOutcome::NumberBusy,
                (true, false, false, false) if row.free_at.is_some() => {
                    row.free_at.map_or(IntentOutcome::NoRoom, |until| IntentOutcome::TooOften { until })
                }
                // What stood in its way is gone again.
                (true, false, false, false) => IntentOutcome::NoRoom,
            };
            WhyNot { call_id: row.id, fence: row.fence, outcome }
        })
        .collect())
}
