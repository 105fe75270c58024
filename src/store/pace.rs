//! A platform account's limits, exact over all replicas: calls per second, hour and day, calls at once, and the time between
//! two calls to one number.
//!
//! Rights to send are spent under the platform's row in `platform_pace`, so that no two replicas count the same room twice.
//! Calls per second are slots: the row says when the next request may leave, by the database's clock, and each right takes
//! one slot (GCRA without a burst). Slots are given out a little ahead, so that a commit serves several calls. Calls per hour
//! and day are counted by minute of the spending; the oldest minute counts whole, so no hour ever holds more than the limit.
//!
//! A platform without limits costs nothing of this: its rights are spent in one statement.

use std::time::Duration;

use uuid::Uuid;

use super::line::InLine;
use super::{Result, Store};
use crate::clock::{self, Monotonic};

/// Slots are this much further apart than the limit says: what delays a request on its way (at most [`LATENESS`], and the
/// network's own) does not make a second hold one too many.
const HEADROOM: f64 = 1.025;
/// A request that is later than this for its slot takes another one.
pub const LATENESS: Duration = Duration::from_millis(15);
/// Slots are given out for this long ahead.
const AHEAD: f64 = 0.4;
/// [`Limits::lead`] where a commit is quick, and at most.
pub const SHORTEST_LEAD: Duration = Duration::from_millis(20);
pub const LONGEST_LEAD: Duration = Duration::from_millis(500);
/// Until somebody asks again whether an hour or a day has room.
const LONG_LIMIT_WAIT: Duration = Duration::from_secs(5);

/// What an account may do. `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    pub per_second: Option<f64>,
    pub per_hour: Option<u32>,
    pub per_day: Option<u32>,
    /// Calls at once.
    pub live: Option<u32>,
    /// Between two calls to one number.
    pub number_spacing: Option<Duration>,
    /// From the look at the clock to the first slot: the time that a commit takes.
    pub lead: Duration,
}

/// How many rights may be spent now, and when their requests may leave.
#[derive(Debug, Clone)]
pub struct Room {
    pub calls: usize,
    pub slots: Option<Slots>,
    /// Why there is no more, where there is not.
    pub short: Option<Short>,
}

/// Request number `i` (from 0) leaves `first_in + i × period` after `read_at`.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    read_at: Monotonic,
    first_in: Duration,
    period: Duration,
}

#[derive(Debug, Clone)]
pub struct Short {
    pub reason: InLine,
    pub detail: String,
    /// Not worth asking again before, unless a call ends.
    pub retry_in: Duration,
}

impl Limits {
    pub fn is_none(&self) -> bool {
        *self == Self { lead: self.lead, ..Self::default() }
    }

    fn period(&self) -> Option<f64> {
        self.per_second.filter(|rate| *rate > 0.0).map(|rate| HEADROOM / rate)
    }

    fn counts_minutes(&self) -> bool {
        self.per_hour.is_some() || self.per_day.is_some()
    }
}

impl Slots {
    /// How long ago the clock was looked at.
    pub fn age(&self) -> Duration {
        clock::monotonic() - self.read_at
    }

    pub fn nth(&self, i: usize) -> Monotonic {
        self.read_at + self.first_in + self.period.mul_f64(i as f64)
    }
}

impl Room {
    fn new(wanted: usize) -> Self {
        Self { calls: wanted, slots: None, short: None }
    }

    fn narrow(&mut self, calls: usize, short: impl FnOnce() -> Short) {
        if calls < self.calls {
            self.calls = calls;
            self.short = Some(short());
        }
    }

    /// Slots from `next_in` on (seconds from now, may have passed) as far as `lead` and [`AHEAD`].
    fn take_slots(&mut self, next_in: f64, period: f64, lead: Duration, read_at: Monotonic) {
        let lead = lead.as_secs_f64();
        let ahead = lead + AHEAD;
        let first_in = next_in.max(lead);
        let free = if first_in > ahead { 0 } else { ((ahead - first_in) / period) as usize + 1 };
        let taken = free.min(self.calls);
        let full_until = first_in + taken as f64 * period - lead - AHEAD / 2.0;
        self.narrow(free, || Short {
            reason: InLine::Rate,
            detail: "calls_per_second".into(),
            retry_in: Duration::from_secs_f64(full_until.max(0.01)),
        });
        let (first_in, period) = (Duration::from_secs_f64(first_in), Duration::from_secs_f64(period));
        self.slots = Some(Slots { read_at, first_in, period });
    }
}

/// Holds the platform's row until the transaction ends, and says what room there is.
pub(super) async fn room(tx: &mut sqlx::PgConnection, platform: &str, limits: &Limits, wanted: usize) -> Result<Room> {
    let counts = limits.live.is_some() || limits.counts_minutes() || limits.number_spacing.is_some();
    if counts {
        // A statement of its own: what is counted must be as it stands once the row is ours.
        lock(tx, platform).await?;
    }
    let mut row = None;
    while row.is_none() {
        row = sqlx::query!(
            r#"select greatest(extract(epoch from next_at - clock_timestamp())::float8, -3600) as "next_in!",
                   case when $2 then (select count(*) from call_attempts
                       where platform = $1 and state in ('sending', 'in_doubt', 'placed', 'ringing', 'in_progress')) end as live,
                   case when $3 then (select coalesce(sum(calls), 0) from platform_minutes
                       where platform = $1 and minute > clock_timestamp() - interval '61 minutes') end as hour,
                   case when $4 then (select coalesce(sum(calls), 0) from platform_minutes
                       where platform = $1 and minute > clock_timestamp() - interval '1441 minutes') end as day
               from platform_pace where platform = $1 for update"#,
            platform,
            limits.live.is_some(),
            limits.per_hour.is_some(),
            limits.per_day.is_some(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        if row.is_none() {
            lock(tx, platform).await?;
        }
    }
    let read_at = clock::monotonic();
    let mut room = Room::new(wanted);
    let Some(row) = row else { return Ok(room) };
    let free = |limit: u32, used: i64| usize::try_from(i64::from(limit) - used).unwrap_or(0);
    if let (Some(cap), Some(live)) = (limits.live, row.live) {
        let detail = || format!("{live} of at most {cap} calls are live");
        room.narrow(free(cap, live), || Short { reason: InLine::Cap, detail: detail(), retry_in: Duration::ZERO });
    }
    for (limit, used, name) in
        [(limits.per_hour, row.hour, "calls_per_hour"), (limits.per_day, row.day, "calls_per_day")]
    {
        if let (Some(limit), Some(used)) = (limit, used) {
            let short = || Short { reason: InLine::Rate, detail: name.into(), retry_in: LONG_LIMIT_WAIT };
            room.narrow(free(limit, used), short);
        }
    }
    if let Some(period) = limits.period()
        && room.calls > 0
    {
        room.take_slots(row.next_in, period, limits.lead, read_at);
    }
    Ok(room)
}

async fn lock(tx: &mut sqlx::PgConnection, platform: &str) -> Result<()> {
    let there = sqlx::query!("select platform from platform_pace where platform = $1 for update", platform)
        .fetch_optional(&mut *tx)
        .await?;
    if there.is_none() {
        sqlx::query!("insert into platform_pace (platform) values ($1) on conflict do nothing", platform)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("select platform from platform_pace where platform = $1 for update", platform)
            .fetch_optional(tx)
            .await?;
    }
    Ok(())
}

/// Calls whose number was called too short a while ago, with what is left of it.
pub(super) async fn too_soon(
    tx: &mut sqlx::PgConnection,
    platform: &str,
    spacing: Duration,
    calls: &[Uuid],
) -> Result<Vec<(Uuid, Duration)>> {
    let rows = sqlx::query!(
        r#"select c.id, extract(epoch from p.last_at + make_interval(secs => $3) - clock_timestamp())::float8 as "wait!"
           from calls c join number_pace p on p.platform = $1 and p.to_number = c.to_number
           where c.id = any($2) and p.last_at + make_interval(secs => $3) > clock_timestamp()"#,
        platform,
        calls,
        spacing.as_secs_f64(),
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, Duration::from_secs_f64(row.wait.max(0.0)))).collect())
}

/// Counts what was spent, in the transaction of the spending.
pub(super) async fn note_spent(
    tx: &mut sqlx::PgConnection,
    platform: &str,
    limits: &Limits,
    room: &Room,
    spent: &[Uuid],
) -> Result<()> {
    if spent.is_empty() {
        return Ok(());
    }
    if let Some(slots) = &room.slots {
        // From the first slot as it was given out, not from now: a slow commit costs no slot.
        let since_read = (clock::monotonic() - slots.read_at).as_secs_f64();
        let next_in = slots.first_in.as_secs_f64() + slots.period.as_secs_f64() * spent.len() as f64 - since_read;
        sqlx::query!(
            "update platform_pace set next_at = greatest(next_at, clock_timestamp() + make_interval(secs => $2)) where platform = $1",
            platform,
            next_in,
        )
        .execute(&mut *tx)
        .await?;
    }
    if limits.counts_minutes() {
        sqlx::query!(
            "insert into platform_minutes (platform, minute, calls) values ($1, date_trunc('minute', clock_timestamp()), $2)
             on conflict (platform, minute) do update set calls = platform_minutes.calls + excluded.calls",
            platform,
            spent.len() as i32,
        )
        .execute(&mut *tx)
        .await?;
    }
    if limits.number_spacing.is_some() {
        sqlx::query!(
            "insert into number_pace (platform, to_number, last_at)
             select platform, to_number, clock_timestamp() from call_attempts where id = any($1) order by to_number
             on conflict (platform, to_number) do update set last_at = excluded.last_at",
            spent,
        )
        .execute(tx)
        .await?;
    }
    Ok(())
}

impl Store {
    /// Another slot for one request that missed its own. Returns when it may leave.
    pub async fn another_slot(&self, platform: &str, limits: &Limits) -> Result<Monotonic> {
        let Some(period) = limits.period() else { return Ok(clock::monotonic()) };
        self.unit(async {
            let mut conn = self.conn().await?;
            let wait = sqlx::query_scalar!(
                r#"update platform_pace set next_at = greatest(next_at, clock_timestamp() + make_interval(secs => $3)) + make_interval(secs => $2)
                   where platform = $1
                   returning extract(epoch from next_at - clock_timestamp())::float8 - $2 as "wait!""#,
                platform,
                period,
                limits.lead.as_secs_f64(),
            )
            .fetch_optional(&mut *conn)
            .await?;
            conn.done();
            Ok(clock::monotonic() + Duration::from_secs_f64(wait.unwrap_or(0.0).max(0.0)))
        })
        .await
    }

    /// Forgets counts that no limit looks at any more.
    pub async fn forget_old_paces(&self) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!("delete from platform_minutes where minute < clock_timestamp() - interval '25 hours'")
                .execute(&mut *conn)
                .await?;
            sqlx::query!("delete from number_pace where last_at < clock_timestamp() - interval '8 days'")
                .execute(&mut *conn)
                .await?;
            conn.done();
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(wanted: usize, next_in: f64, rate: f64) -> Room {
        let mut room = Room::new(wanted);
        room.take_slots(next_in, HEADROOM / rate, SHORTEST_LEAD, clock::monotonic());
        room
    }

    #[test]
    fn slots_are_given_out_for_a_short_while_ahead() {
        let all = room(5, -10.0, 50.0);
        assert!(all.calls == 5 && all.short.is_none());
        let some = room(100, -10.0, 50.0);
        assert!((15..=20).contains(&some.calls), "{some:?}");
        let none = room(100, 0.43, 50.0);
        assert_eq!(none.calls, 0);
        let short = none.short.unwrap();
        assert!(short.reason == InLine::Rate && short.retry_in > Duration::from_millis(200), "{short:?}");
    }

    #[test]
    fn a_slow_rate_gives_one_slot_at_a_time_and_is_not_asked_before_the_next() {
        let one = room(3, -10.0, 1.0);
        assert_eq!(one.calls, 1);
        assert!(one.short.unwrap().retry_in > Duration::from_millis(800));
        assert_eq!(room(3, 0.9, 1.0).calls, 0);
        assert_eq!(room(3, 0.3, 1.0).calls, 1);
    }

    #[test]
    fn slots_follow_each_other_by_a_little_more_than_the_rate() {
        let slots = room(10, 0.1, 50.0).slots.unwrap();
        let (first, last) = (slots.nth(0), slots.nth(50));
        assert!(last - first > Duration::from_secs(1) + LATENESS, "a second holds 50 requests even when one is late");
    }
}
