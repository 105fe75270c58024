//! A platform account's limits, exact over all replicas: calls per second, hour and day, calls at once, and the time between
//! two calls to one number.
//!
//! Rights to send are spent under the platform's row in `platform_pace`, so that no two replicas count the same room twice.
//! Calls per second are slots by the database's clock, one for each right ([`book`]): the row keeps the latest ones and when
//! their requests left, which replicas tell with their next spending. Slots are given out a little ahead, so that a commit
//! serves several calls. Calls per hour and day are counted by minute of the spending; the oldest minute counts whole, so no hour ever holds more than the limit.
//!
//! A platform without limits costs nothing of this: its rights are spent in one statement.

mod book;

use std::time::Duration;

use book::Book;
pub use book::TOLERANCE;
use uuid::Uuid;

use super::line::InLine;
use super::{Result, Store};
use crate::clock::{self, Monotonic};

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
    /// What became of slots that were given out before.
    pub departures: Vec<Departure>,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Departure {
    pub slot: i64,
    /// When its request had reached the platform at the latest; `None`: none left.
    pub at: Option<Monotonic>,
}

/// How many rights may be spent now, and when their requests may leave.
#[derive(Debug, Clone)]
pub struct Room {
    pub calls: usize,
    pub slots: Option<Slots>,
    /// Why there is no more, where there is not.
    pub short: Option<Short>,
}

/// A moment by two clocks.
#[derive(Debug, Clone, Copy)]
struct Reading {
    asked_at: Monotonic,
    /// The database's clock, in seconds since 1970; it was read between the other two.
    now: f64,
    read_at: Monotonic,
}

/// Slots that were given out, in order.
#[derive(Debug, Clone)]
pub struct Slots {
    reading: Reading,
    first: i64,
    times: Vec<f64>,
    book: Book,
}

/// When a request may leave.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    pub number: i64,
    pub at: Monotonic,
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
        *self == Self { lead: self.lead, departures: self.departures.clone(), ..Self::default() }
    }

    fn rate(&self) -> Option<f64> {
        self.per_second.filter(|rate| *rate > 0.0)
    }

    fn counts_minutes(&self) -> bool {
        self.per_hour.is_some() || self.per_day.is_some()
    }
}

impl Reading {
    /// Not before `at`.
    fn monotonic(&self, at: f64) -> Monotonic {
        self.read_at + Duration::from_secs_f64((at - self.now).max(0.0))
    }

    /// Not before `at`.
    fn database(&self, at: Monotonic) -> f64 {
        let since = at.saturating_duration_since(self.asked_at).as_secs_f64();
        self.now + since - self.asked_at.saturating_duration_since(at).as_secs_f64()
    }
}

impl Slots {
    /// How long ago the clock was looked at.
    pub fn age(&self) -> Duration {
        clock::monotonic() - self.reading.read_at
    }

    /// `None` where there are fewer.
    pub fn nth(&self, i: usize) -> Option<Slot> {
        let at = self.times.get(i)?;
        Some(Slot { number: self.first + i as i64, at: self.reading.monotonic(*at) })
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

    fn take_slots(&mut self, book: Book, per_second: f64, lead: Duration, reading: Reading) {
        let planned = book.plan(per_second, reading.now, lead.as_secs_f64(), self.calls);
        if let Some(wait) = planned.short {
            self.narrow(planned.times.len(), || Short {
                reason: InLine::Rate,
                detail: "calls_per_second".into(),
                retry_in: Duration::from_secs_f64(wait),
            });
        }
        self.slots = Some(Slots { reading, first: book.next, times: planned.times, book });
    }
}

/// Holds the platform's row until the transaction ends, and says what room there is.
pub(super) async fn room(tx: &mut sqlx::PgConnection, platform: &str, limits: &Limits, wanted: usize) -> Result<Room> {
    // A statement of its own: what is counted, and the clock, must be as they stand once the row is ours.
    lock(tx, platform).await?;
    let asked_at = clock::monotonic();
    let row = sqlx::query!(
            r#"select extract(epoch from next_at)::float8 as "last!", next_slot, slots, slots_until,
                   extract(epoch from clock_timestamp())::float8 as "now!",
                   case when $2 then (select count(*) from call_attempts
                       where platform = $1 and state in ('sending', 'in_doubt', 'placed', 'ringing', 'in_progress')) end as live,
                   case when $3 then (select coalesce(sum(calls), 0) from platform_minutes
                       where platform = $1 and minute > clock_timestamp() - interval '61 minutes') end as hour,
                   case when $4 then (select coalesce(sum(calls), 0) from platform_minutes
                       where platform = $1 and minute > clock_timestamp() - interval '1441 minutes') end as day
               from platform_pace where platform = $1"#,
            platform,
            limits.live.is_some(),
            limits.per_hour.is_some(),
            limits.per_day.is_some(),
        )
        .fetch_one(&mut *tx)
        .await?;
    let reading = Reading { asked_at, now: row.now, read_at: clock::monotonic() };
    let mut room = Room::new(wanted);
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
    if let Some(per_second) = limits.rate() {
        let book = Book { slots: row.slots, until: row.slots_until, next: row.next_slot, last: row.last };
        room.take_slots(noted(book, limits, &reading), per_second, limits.lead, reading);
    }
    Ok(room)
}

fn noted(mut book: Book, limits: &Limits, reading: &Reading) -> Book {
    for departure in &limits.departures {
        book.note(departure.slot, departure.at.map(|at| reading.database(at)));
    }
    book
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

async fn keep(tx: &mut sqlx::PgConnection, platform: &str, book: &Book) -> Result<()> {
    sqlx::query!(
        "update platform_pace set next_at = to_timestamp($2), next_slot = $3, slots = $4, slots_until = $5 where platform = $1",
        platform,
        book.last,
        book.next,
        &book.slots,
        &book.until,
    )
    .execute(tx)
    .await?;
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
    if let (Some(slots), Some(rate)) = (&room.slots, limits.rate())
        && (!spent.is_empty() || !limits.departures.is_empty())
    {
        let mut book = slots.book.clone();
        book.take(rate, slots.reading.now, &slots.times[..spent.len().min(slots.times.len())]);
        keep(tx, platform, &book).await?;
    }
    if spent.is_empty() {
        return Ok(());
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
    /// Another slot for one request that missed its own. `None`: no rate is limited.
    pub async fn another_slot(&self, platform: &str, limits: &Limits) -> Result<Option<Slot>> {
        let Some(rate) = limits.rate() else { return Ok(None) };
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            lock(&mut tx, platform).await?;
            let asked_at = clock::monotonic();
            let row = sqlx::query!(
                r#"select extract(epoch from next_at)::float8 as "last!", next_slot, slots, slots_until,
                       extract(epoch from clock_timestamp())::float8 as "now!"
                   from platform_pace where platform = $1"#,
                platform,
            )
            .fetch_one(&mut *tx)
            .await?;
            let reading = Reading { asked_at, now: row.now, read_at: clock::monotonic() };
            let book = Book { slots: row.slots, until: row.slots_until, next: row.next_slot, last: row.last };
            let mut book = noted(book, limits, &reading);
            let at = book.next_time(rate, row.now, limits.lead.as_secs_f64());
            let number = book.take(rate, row.now, &[at]);
            keep(&mut tx, platform, &book).await?;
            tx.commit().await?;
            conn.done();
            Ok(Some(Slot { number, at: reading.monotonic(at) }))
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
