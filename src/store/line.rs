//! Calls that wait in line for their platform: `scheduled` with reason `rate`, `cap` or `breaker`, without a lease.
//!
//! A lane takes them in turns: round robin over the sources, within a source over its users (`user.id`, or the tenant that
//! a standard queue's message group names), and for one user in the order in which they came. So what one user sends in
//! bulk delays another's calls by a round, not by the bulk.
//!
//! Taking reads the index `calls_in_line` alone. It jumps from one (source, user) to the next (a loose index scan) and looks
//! at the first few calls of each, so its cost depends on how many it may take and not on how many wait. Of very many users
//! it looks at some and goes on behind them the next time ([`Turn`]).

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::leases::{ClaimedRow, LeasedCall};
use super::{Result, Store};
use crate::call::status::text_enum;

/// Sources looked at in one taking, and users of each.
const SOURCES: i32 = 32;
const USERS: i32 = 32;
/// Sources whose place is remembered.
const MOST_PLACES: usize = 1000;

text_enum! {
    /// Why a call waits in line.
    InLine {
        /// Calls per second, hour or day, or a pause that the platform asked for.
        Rate = "rate",
        /// Calls at once.
        Cap = "cap",
        /// The platform's breaker is open.
        Breaker = "breaker",
    }
}

/// Whose turn it is: the source, and in each source the user, that was served last.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    source: String,
    users: BTreeMap<String, String>,
}

/// A call to put in line.
#[derive(Debug, Clone)]
pub struct Held {
    pub call_id: Uuid,
    pub fence: i64,
    pub reason: InLine,
    pub detail: Option<String>,
}

impl Turn {
    fn served(&mut self, rows: &[Taken]) {
        if self.users.len() > MOST_PLACES {
            self.users.clear();
        }
        for row in rows {
            self.source.clone_from(&row.source);
            self.users.insert(row.source.clone(), row.fair_key.clone());
        }
    }
}

struct Taken {
    source: String,
    fair_key: String,
    place: i64,
    id: Uuid,
    fence: i64,
    platform: String,
    platforms: Vec<String>,
    to_number: String,
    request: Value,
    metadata: Value,
    expires_at: Option<DateTime<Utc>>,
    order_key: Option<String>,
    send_tries: i32,
    created_at: DateTime<Utc>,
    traceparent: Option<String>,
}

impl From<Taken> for ClaimedRow {
    fn from(taken: Taken) -> Self {
        Self {
            id: taken.id,
            fence: taken.fence,
            platform: taken.platform,
            platforms: taken.platforms,
            to_number: taken.to_number,
            request: taken.request,
            metadata: taken.metadata,
            expires_at: taken.expires_at,
            order_key: taken.order_key,
            send_tries: taken.send_tries,
            created_at: taken.created_at,
            traceparent: taken.traceparent,
        }
    }
}

impl Store {
    /// Takes up to `limit` calls of the line of `platform`, in turns. None: nobody waits there.
    pub async fn take_from_line(
        &self,
        replica: Uuid,
        lease: Duration,
        platform: &str,
        limit: usize,
        turn: &mut Turn,
    ) -> Result<Vec<LeasedCall>> {
        let (sources, users): (Vec<String>, Vec<String>) =
            turn.users.iter().map(|(source, user)| (source.clone(), user.clone())).unzip();
        let mut taken = self
            .unit(async {
                let mut conn = self.conn().await?;
                let rows = sqlx::query_as!(
                    Taken,
                    r#"
                    with tenants as materialized (
                        select s.source, s.nth, u.fair_key, u.nth as nth_user
                        from sources_in_line($1, $2, $5) with ordinality s(source, nth)
                        left join unnest($3::text[], $4::text[]) as served(source, fair_key) using (source)
                        cross join lateral users_in_line($1, s.source, coalesce(served.fair_key, ''), $6) with ordinality u(fair_key, nth)
                    ), first_ones as (
                        select t.*, waiting.id, waiting.scheduled_for
                        from tenants t cross join lateral (
                            select c.id, c.scheduled_for from calls c
                            where c.platform = $1 and c.source = t.source and coalesce(c.user_id, c.tenant, '') = t.fair_key
                              and c.status = 'scheduled' and c.status_reason in ('rate', 'cap', 'breaker')
                              and (c.lease_until is null or c.lease_until < statement_timestamp())
                            order by c.scheduled_for, c.id limit (select ceil($7::float8 / count(*))::bigint from tenants)
                            for no key update of c skip locked) waiting
                    ), of_each_user as (
                        select *, row_number() over (partition by source, fair_key order by scheduled_for, id) as nth_call from first_ones
                    ), of_each_source as (
                        select *, row_number() over (partition by source order by nth_call, nth_user) as nth_of_source from of_each_user
                    ), chosen as (
                        select *, row_number() over (order by nth_of_source, nth) as place from of_each_source
                        order by nth_of_source, nth limit $7::float8::bigint
                    )
                    update calls c
                    set fence = c.fence + 1, lease_owner = $8, lease_until = clock_timestamp() + make_interval(secs => $9)
                    from chosen where c.id = chosen.id
                    returning chosen.source as "source!", chosen.fair_key as "fair_key!", chosen.place as "place!",
                        c.id, c.fence, c.platform, c.platforms, c.to_number, c.request, c.metadata, c.expires_at, c.order_key,
                        c.send_tries, c.created_at, c.traceparent
                    "#,
                    platform,
                    turn.source,
                    &sources,
                    &users,
                    SOURCES,
                    USERS,
                    limit as f64,
                    replica,
                    lease.as_secs_f64(),
                )
                .fetch_all(&mut *conn)
                .await?;
                conn.done();
                Ok(rows)
            })
            .await?;
        taken.sort_by_key(|row| row.place);
        turn.served(&taken);
        self.readable(taken.into_iter().map(ClaimedRow::from).collect()).await
    }
    /// Puts calls in line, each where it stood by the time at which it came or was due. Needs no time to come: lanes take it
    /// when there is room.
    pub async fn hold(&self, calls: &[Held]) -> Result<()> {
        let ids: Vec<Uuid> = calls.iter().map(|call| call.call_id).collect();
        let fences: Vec<i64> = calls.iter().map(|call| call.fence).collect();
        let reasons: Vec<String> = calls.iter().map(|call| call.reason.as_str().to_owned()).collect();
        let details: Vec<Option<String>> = calls.iter().map(|call| call.detail.clone()).collect();
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update calls c
                 set status = 'scheduled', status_reason = h.reason, status_detail = h.detail, status_source = 'delivery',
                     scheduled_for = least(coalesce(c.scheduled_for, c.created_at), clock_timestamp()),
                     lease_owner = null, lease_until = null
                 from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) as h(id, fence, reason, detail)
                 where c.id = h.id and c.fence = h.fence and c.status in ('accepted', 'scheduled')",
                &ids,
                &fences,
                &reasons,
                &details as &[Option<String>],
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// How many calls wait in line, counted up to `most`.
    pub async fn in_line(&self, most: usize) -> Result<usize> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let count = sqlx::query_scalar!(
                r#"select count(*) as "count!" from (
                       select from calls where status = 'scheduled' and status_reason in ('rate', 'cap', 'breaker') limit $1) waiting"#,
                most as i64,
            )
            .fetch_one(&mut *conn)
            .await?;
            conn.done();
            Ok(count as usize)
        })
        .await
    }

    /// Takes calls out of the lines of platforms that nobody serves here (they were on when the calls came), at most
    /// `limit`: they wait for `wait`, as `platform_off`, for a replica that may have the platform on. Returns how many.
    pub async fn leave_dead_lines(&self, served: &[String], wait: Duration, limit: usize) -> Result<usize> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let moved = sqlx::query!(
                "with dead as (
                     select id from calls
                     where status = 'scheduled' and status_reason in ('rate', 'cap', 'breaker') and platform <> all($1)
                       and (lease_until is null or lease_until < statement_timestamp())
                     limit $3 for no key update skip locked
                 )
                 update calls c set status_reason = 'platform_off', status_source = 'sweeper',
                     status_detail = 'platform ' || c.platform || ' is off on the replica that looked',
                     scheduled_for = clock_timestamp() + make_interval(secs => $2)
                 from dead where c.id = dead.id",
                served,
                wait.as_secs_f64(),
                limit as i64,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(moved as usize)
        })
        .await
    }

    /// Sends calls in line for a platform whose breaker is open to their next platform, at most `limit`. Only calls of
    /// which nothing was ever accepted by a platform: all their attempts were refused or never sent. Returns how many.
    pub async fn fall_back_from(&self, platform: &str, limit: usize) -> Result<usize> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let moved = sqlx::query!(
                "with unsent as (
                     select c.id, c.platforms[array_position(c.platforms, c.platform) + 1] as next,
                         exists (select from call_attempts a where a.call_id = c.id) as tried
                     from calls c
                     where c.platform = $1 and c.status = 'scheduled' and c.status_reason in ('rate', 'cap', 'breaker')
                       and (c.lease_until is null or c.lease_until < statement_timestamp())
                       and array_position(c.platforms, c.platform) < cardinality(c.platforms)
                       and not exists (select from call_attempts a where a.call_id = c.id and a.state not in ('refused', 'not_sent'))
                     order by c.scheduled_for limit $2 for no key update of c skip locked
                 )
                 update calls c set platform = u.next, status_reason = 'fallback', status_source = 'delivery', scheduled_for = clock_timestamp(),
                     status_detail = 'the breaker of ' || $1 || ' is open, next is ' || u.next, send_tries = 0,
                     next_because = case when u.tried then 'fallback: the breaker of ' || $1 || ' is open' else c.next_because end,
                     fence = c.fence + 1, lease_owner = null, lease_until = null
                 from unsent u where c.id = u.id",
                platform,
                limit as i64,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(moved as usize)
        })
        .await
    }
}
