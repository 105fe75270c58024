//! Budgets: who may cost how much, and what is reserved for calls under way.
//!
//! A reservation is made in a transaction of its own before the right to send is spent, under a lock for each budget: two
//! replicas cannot both take the last of one. It counts until the attempt ends and its cost counts instead.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{Result, Store};
use crate::call::Money;
use crate::call::budget::{Budget, Full, Used};

/// A call that is about to be sent.
#[derive(Debug, Clone)]
pub struct Wish {
    pub call_id: Uuid,
    pub attempt_id: Uuid,
    /// What it is counted as until its cost is known.
    pub reserve: Money,
}

/// The budgets of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    pub platform: Option<Budget>,
    /// Of users without one of their own.
    pub user: Option<Budget>,
}

/// A call that does not fit into a budget now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub full: Full,
    /// For a person to read.
    pub detail: String,
    /// By the database's clock.
    pub now: DateTime<Utc>,
}

/// The budget of one user, as it was set last.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct UserBudget {
    pub user_id: String,
    /// ISO 4217, or a platform's own unit; costs in another one are not counted.
    #[schema(example = "USD")]
    pub currency: String,
    /// Null: no limit.
    #[schema(value_type = Option<String>, example = "25")]
    pub per_day: Option<Decimal>,
    #[schema(value_type = Option<String>, example = "300")]
    pub per_month: Option<Decimal>,
    /// Days and months end at midnight UTC.
    #[schema(value_type = String)]
    pub spent_today: Decimal,
    #[schema(value_type = String)]
    pub spent_this_month: Decimal,
    pub set_by: String,
    pub because: String,
    pub set_at: DateTime<Utc>,
}

/// A name in its scope: `platform` and a platform, or `user` and a user's id.
type Key = (&'static str, String);

/// The ledger's costs, for gauges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformSpending {
    pub platform: String,
    pub currency: String,
    /// Since the first call.
    pub in_all: Decimal,
    pub used: Used,
}

impl Store {
    /// Reserves what these calls, all to one platform, may cost; gives what holds back those that do not fit. `hold`: how
    /// long a reservation counts without an attempt.
    pub async fn reserve(
        &self,
        platform: &str,
        wishes: &[Wish],
        limits: &Limits,
        hold: Duration,
    ) -> Result<Vec<Option<Held>>> {
        let ids: Vec<Uuid> = wishes.iter().map(|wish| wish.call_id).collect();
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let calls: BTreeMap<Uuid, (Option<String>, bool)> = sqlx::query!(
                r#"select id, user_id, status_reason is not distinct from 'budget' as "known!" from calls where id = any($1)"#,
                &ids,
            )
            .fetch_all(&mut *tx)
            .await?
            .into_iter()
            .map(|row| (row.id, (row.user_id, row.known)))
            .collect();
            let users: Vec<String> = calls.values().filter_map(|(user, _)| user.clone()).collect();
            let budgets = applicable(&mut tx, platform, &users, limits).await?;
            if budgets.is_empty() {
                tx.commit().await?;
                conn.done();
                return Ok(vec![None; wishes.len()]);
            }
            lock(&mut tx, &budgets).await?;
            let (now, mut used) = used(&mut tx, &budgets).await?;
            let mut answers = Vec::with_capacity(wishes.len());
            for wish in wishes {
                let user = calls.get(&wish.call_id).and_then(|(user, _)| user.clone());
                let keys = [Some(("platform", platform.to_owned())), user.map(|user| ("user", user))];
                let keys: Vec<Key> = keys.into_iter().flatten().filter(|key| budgets.contains_key(key)).collect();
                let held = keys.iter().find_map(|key| {
                    let full = budgets.get(key)?.refuses(used.get(key)?, &wish.reserve)?;
                    let detail = describe(key, &full, &wish.reserve);
                    Some(Held { full, detail, now })
                });
                if held.is_none() {
                    for key in &keys {
                        let same = budgets.get(key).is_some_and(|budget| budget.currency == wish.reserve.currency);
                        if let (true, Some(used)) = (same, used.get_mut(key)) {
                            used.reserve(wish.reserve.amount);
                        }
                    }
                }
                answers.push(held);
            }
            let fits = wishes.iter().zip(&answers).filter(|(_, held)| held.is_none()).map(|(wish, _)| wish);
            insert(&mut tx, platform, fits, hold).await?;
            let told = wishes.iter().zip(&answers).filter_map(|(wish, held)| {
                let known = calls.get(&wish.call_id).is_some_and(|(_, known)| *known);
                held.as_ref().filter(|_| !known).map(|held| (wish.call_id, held.detail.as_str()))
            });
            tell(&mut tx, told).await?;
            tx.commit().await?;
            conn.done();
            Ok(answers)
        })
        .await
    }

    /// The rights of these attempts were not given after all.
    pub async fn unreserve(&self, attempt_ids: &[Uuid]) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!("delete from reservations where attempt_id = any($1)", attempt_ids)
                .execute(&mut *conn)
                .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// Whether any user has a limited budget of their own.
    pub async fn has_user_budgets(&self) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let any = sqlx::query_scalar!(
                r#"select exists (select from budgets where not removed and (per_day is not null or per_month is not null)) as "any!""#
            )
            .fetch_one(&mut *conn)
            .await?;
            conn.done();
            Ok(any)
        })
        .await
    }

    /// What platforms cost, by currency.
    pub async fn platform_spending(&self) -> Result<Vec<PlatformSpending>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"with now as (select (clock_timestamp() at time zone 'UTC')::date as today),
                   spent as (
                       select name as platform, currency, sum(amount) as in_all, coalesce(sum(amount) filter (where day = today), 0) as today,
                              coalesce(sum(amount) filter (where day >= date_trunc('month', today)), 0) as month
                       from spending, now where scope = 'platform' group by 1, 2
                   ), held as (
                       select platform, currency, coalesce(sum(amount) filter (where day = today), 0) as today,
                              coalesce(sum(amount) filter (where day >= date_trunc('month', today)), 0) as month
                       from reservations r, now
                       where reserved_until > clock_timestamp() or exists (select from call_attempts a where a.id = r.attempt_id) group by 1, 2
                   )
                   select platform as "platform!", currency as "currency!", coalesce(s.in_all, 0) as "in_all!", coalesce(s.today, 0) as "today!",
                       coalesce(s.month, 0) as "month!", coalesce(h.today, 0) as "held_today!", coalesce(h.month, 0) as "held_month!"
                   from spent s full join held h using (platform, currency)"#
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            let spending = rows.into_iter().map(|row| PlatformSpending {
                platform: row.platform,
                currency: row.currency,
                in_all: row.in_all,
                used: Used {
                    spent_today: row.today,
                    spent_this_month: row.month,
                    reserved_today: row.held_today,
                    reserved_this_month: row.held_month,
                },
            });
            Ok(spending.collect())
        })
        .await
    }

    /// Sets a user's budget. Their calls that wait for one are due again at once.
    pub async fn set_user_budget(
        &self,
        user_id: &str,
        currency: &str,
        per_day: Option<Decimal>,
        per_month: Option<Decimal>,
        by: &str,
        because: &str,
    ) -> Result<()> {
        self.write_budget(user_id, false, currency, (per_day, per_month), by, because).await
    }

    /// The user has the default again. `false`: they had no budget of their own.
    pub async fn remove_user_budget(&self, user_id: &str, by: &str, because: &str) -> Result<bool> {
        let Some(budget) = self.user_budgets(Some(user_id)).await?.pop() else { return Ok(false) };
        self.write_budget(user_id, true, &budget.currency, (None, None), by, because).await?;
        Ok(true)
    }

    async fn write_budget(
        &self,
        user_id: &str,
        removed: bool,
        currency: &str,
        limits: (Option<Decimal>, Option<Decimal>),
        by: &str,
        because: &str,
    ) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            sqlx::query!(
                "insert into budgets (user_id, removed, currency, per_day, per_month, set_by, because) values ($1, $2, $3, $4, $5, $6, $7)",
                user_id,
                removed,
                currency,
                limits.0,
                limits.1,
                by,
                because,
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query!(
                "update calls set scheduled_for = clock_timestamp()
                 where status = 'scheduled' and status_reason = 'budget' and user_id = $1 and lease_owner is null",
                user_id,
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// The users' own budgets, by user, with what is used of them; `user_id`: of this one alone.
    pub async fn user_budgets(&self, user_id: Option<&str>) -> Result<Vec<UserBudget>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let budgets = sqlx::query_as!(
                UserBudget,
                r#"select b.user_id, b.currency, b.per_day, b.per_month, s.today as "spent_today!", s.month as "spent_this_month!",
                       b.set_by, b.because, b.set_at
                   from (select distinct on (user_id) * from budgets where $1::text is null or user_id = $1 order by user_id, id desc) b,
                        (select (clock_timestamp() at time zone 'UTC')::date as today) as now,
                        lateral (select coalesce(sum(amount) filter (where day = now.today), 0) as today, coalesce(sum(amount), 0) as month
                            from spending where scope = 'user' and name = b.user_id and currency = b.currency
                                and day >= date_trunc('month', now.today)) as s
                   where not b.removed order by b.user_id"#,
                user_id,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(budgets)
        })
        .await
    }
}

/// The budgets that hold for calls of these users to this platform.
async fn applicable(
    tx: &mut sqlx::PgConnection,
    platform: &str,
    users: &[String],
    limits: &Limits,
) -> Result<BTreeMap<Key, Budget>> {
    let own = sqlx::query!(
        "select distinct on (user_id) user_id, removed, currency, per_day, per_month from budgets
         where user_id = any($1) order by user_id, id desc",
        users,
    )
    .fetch_all(tx)
    .await?;
    let mut budgets = BTreeMap::new();
    if let Some(budget) = &limits.platform {
        budgets.insert(("platform", platform.to_owned()), budget.clone());
    }
    for user in users {
        let budget = match own.iter().find(|row| row.user_id == *user && !row.removed) {
            Some(row) => Budget::new(&row.currency, row.per_day, row.per_month),
            None => limits.user.clone(),
        };
        if let Some(budget) = budget {
            budgets.insert(("user", user.clone()), budget);
        }
    }
    Ok(budgets)
}

/// In the order of the keys, always.
async fn lock(tx: &mut sqlx::PgConnection, budgets: &BTreeMap<Key, Budget>) -> Result<()> {
    let names: Vec<String> = budgets.keys().map(|(scope, name)| format!("voxd:budget:{scope}:{name}")).collect();
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(name, 0)) from unnest($1::text[]) as names(name)",
        &names
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

/// What of each budget is used, in one statement: a cost that replaces its reservation is seen as one of the two.
async fn used(
    tx: &mut sqlx::PgConnection,
    budgets: &BTreeMap<Key, Budget>,
) -> Result<(DateTime<Utc>, BTreeMap<Key, Used>)> {
    let scopes: Vec<String> = budgets.keys().map(|(scope, _)| (*scope).to_owned()).collect();
    let names: Vec<String> = budgets.keys().map(|(_, name)| name.clone()).collect();
    let currencies: Vec<String> = budgets.values().map(|budget| budget.currency.clone()).collect();
    let rows = sqlx::query!(
        r#"select k.scope as "scope!", k.name as "name!", now.at as "now!", spent.today as "today!", spent.month as "month!",
               held.today as "held_today!", held.month as "held_month!"
           from (select at, (at at time zone 'UTC')::date as today from (select clock_timestamp() as at) c) as now,
                unnest($1::text[], $2::text[], $3::text[]) as k(scope, name, currency),
                lateral (select coalesce(sum(amount) filter (where day = now.today), 0) as today, coalesce(sum(amount), 0) as month
                    from spending s where s.scope = k.scope and s.name = k.name and s.currency = k.currency
                        and s.day >= date_trunc('month', now.today)) as spent,
                lateral (select coalesce(sum(amount) filter (where day = now.today), 0) as today, coalesce(sum(amount), 0) as month
                    from reservations r
                    where case k.scope when 'platform' then r.platform else r.user_id end = k.name and r.currency = k.currency
                        and r.day >= date_trunc('month', now.today)
                        and (r.reserved_until > now.at or exists (select from call_attempts a where a.id = r.attempt_id))) as held"#,
        &scopes,
        &names,
        &currencies,
    )
    .fetch_all(tx)
    .await?;
    let now = rows.first().map_or(DateTime::UNIX_EPOCH, |row| row.now);
    let used = rows.into_iter().map(|row| {
        let scope = if row.scope == "user" { "user" } else { "platform" };
        let used = Used {
            spent_today: row.today,
            spent_this_month: row.month,
            reserved_today: row.held_today,
            reserved_this_month: row.held_month,
        };
        ((scope, row.name), used)
    });
    Ok((now, used.collect()))
}

async fn insert(
    tx: &mut sqlx::PgConnection,
    platform: &str,
    wishes: impl Iterator<Item = &Wish>,
    hold: Duration,
) -> Result<()> {
    let (mut attempts, mut calls, mut currencies, mut amounts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for wish in wishes {
        attempts.push(wish.attempt_id);
        calls.push(wish.call_id);
        currencies.push(wish.reserve.currency.clone());
        amounts.push(wish.reserve.amount);
    }
    sqlx::query!(
        "with lapsed as (
             delete from reservations where attempt_id in (
                 select r.attempt_id from reservations r
                 where r.reserved_until < clock_timestamp() and not exists (select from call_attempts a where a.id = r.attempt_id)
                 limit 100 for update skip locked)
         )
         insert into reservations (attempt_id, platform, user_id, currency, amount, day, reserved_until)
         select w.attempt_id, $1, c.user_id, w.currency, w.amount, (clock_timestamp() at time zone 'UTC')::date,
                clock_timestamp() + make_interval(secs => $6)
         from unnest($2::uuid[], $3::uuid[], $4::text[], $5::numeric[]) as w(attempt_id, call_id, currency, amount)
         join calls c on c.id = w.call_id",
        platform,
        &attempts,
        &calls,
        &currencies,
        &amounts,
        hold.as_secs_f64(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A line in the timeline of calls that a budget begins to hold back.
async fn tell<'a>(tx: &mut sqlx::PgConnection, held: impl Iterator<Item = (Uuid, &'a str)>) -> Result<()> {
    let (ids, details): (Vec<Uuid>, Vec<serde_json::Value>) =
        held.map(|(id, detail)| (id, json!({ "reason": "budget", "detail": detail }))).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into call_events (call_id, kind, source, detail)
         select id, 'held', 'delivery', detail from unnest($1::uuid[], $2::jsonb[]) as held(id, detail)",
        &ids,
        &details,
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn describe((scope, name): &Key, full: &Full, reserve: &Money) -> String {
    let Full { period, limit, spent, reserved, .. } = full;
    let currency = &reserve.currency;
    let [limit, spent, reserved] = [limit, spent, reserved].map(|amount| amount.normalize());
    let whose = if *scope == "user" { format!("user {name:?}") } else { format!("platform {name}") };
    format!(
        "{whose} may cost {limit} {currency} a {period}: {spent} are spent and {reserved} held for calls under way, and this call counts as {}",
        reserve.amount.normalize()
    )
}
