//! Budgets, asked before the right to send is spent. Where nobody has one, nothing is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rust_decimal::Decimal;
use uuid::Uuid;

use crate::call::budget::Budget;
use crate::call::{Money, Price};
use crate::clock;
use crate::config::{Config, Costs};
use crate::health::{Health, Part};
use crate::lifecycle::Lifecycle;
use crate::store::budgets::{Limits, PlatformSpending, Wish};
use crate::store::{Result, Store};
use crate::telemetry::metrics;

/// A call that a budget holds back is looked at again at least this often: the budget may have been raised, and costs that
/// were estimated may have turned out lower.
const LONGEST_WAIT: Duration = Duration::from_secs(900);
/// How often the ledger's costs are read, and how soon a first user's budget is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Whether any user has a budget of their own; shared by the lanes and whoever looks.
#[derive(Debug, Clone, Default)]
pub struct UserBudgets(Arc<AtomicBool>);

/// A call that waits for a budget.
#[derive(Debug)]
pub(super) struct Held {
    pub wait: Duration,
    pub detail: String,
}

/// Asks for one platform.
pub(super) struct Keeper {
    platform: &'static str,
    limits: Limits,
    user_budgets: UserBudgets,
    price: Option<Price>,
    currency: String,
    reserve_minutes: u32,
    look_again: Duration,
    hold: Duration,
}

impl Keeper {
    /// `hold`: from then on a right that was not spent cannot be spent any more.
    pub(super) fn new(platform: &'static str, config: &Config, user_budgets: UserBudgets, hold: Duration) -> Self {
        let costs = config.costs.get(platform);
        Self {
            platform,
            limits: limits(config, platform),
            user_budgets,
            price: costs.and_then(Price::from_settings),
            currency: costs.map(|costs| costs.currency.clone()).unwrap_or_default(),
            reserve_minutes: costs.map_or(0, |costs| costs.reserve_minutes),
            look_again: config.budgets.look_again,
            hold,
        }
    }

    /// Whether there is anything to ask.
    pub(super) fn is_needed(&self) -> bool {
        self.limits != Limits::default() || self.user_budgets.0.load(Ordering::Relaxed)
    }

    /// What a call is counted as that may last for so many minutes.
    pub(super) fn wish(&self, call_id: Uuid, attempt_id: Uuid, max_minutes: Option<u32>) -> Wish {
        let minutes = max_minutes.unwrap_or(self.reserve_minutes);
        let free = || Money { amount: Default::default(), currency: self.currency.clone() };
        Wish { call_id, attempt_id, reserve: self.price.as_ref().map_or_else(free, |price| price.reserve(minutes)) }
    }

    /// Reserves for those that fit; gives what the others wait for.
    pub(super) async fn ask(&self, store: &Store, wishes: &[Wish]) -> Result<Vec<Option<Held>>> {
        let answers = store.reserve(self.platform, wishes, &self.limits, self.hold).await?;
        let held = answers.into_iter().map(|answer| {
            let held = answer?;
            let until_end = (held.full.period.end(held.now) - held.now).to_std().unwrap_or_default();
            let wait = if held.full.for_good { until_end.min(LONGEST_WAIT) } else { until_end.min(self.look_again) };
            // Not a moment before the new period begins.
            Some(Held { wait: wait + Duration::from_millis(50), detail: held.detail })
        });
        Ok(held.collect())
    }
}

fn limits(config: &Config, platform: &str) -> Limits {
    let of_platform = |costs: &Costs| Budget::new(&costs.currency, costs.budget_per_day, costs.budget_per_month);
    let users = &config.budgets;
    Limits {
        platform: config.costs.get(platform).and_then(of_platform),
        user: Budget::new(&users.currency, users.user_per_day, users.user_per_month),
    }
}

/// A platform's budget, and what one more call counts as.
struct Watched {
    budget: Budget,
    reserve: Decimal,
}

/// Watches what calls cost: for metrics, for readiness, and whether users have budgets.
pub async fn watch(store: Store, config: Arc<Config>, health: Health, users: UserBudgets, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    let watched = |(name, costs): (&String, &Costs)| {
        let reserve = Price::from_settings(costs)?.reserve(costs.reserve_minutes).amount;
        Some((name.clone(), Watched { budget: limits(&config, name).platform?, reserve }))
    };
    let budgets: BTreeMap<String, Watched> = config.costs.iter().filter_map(watched).collect();
    while !stop.is_cancelled() {
        match look(&store, &budgets, &health, &users).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "costs wait for Postgres"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn look(store: &Store, budgets: &BTreeMap<String, Watched>, health: &Health, users: &UserBudgets) -> Result<()> {
    users.0.store(store.has_user_budgets().await?, Ordering::Relaxed);
    let spending = store.platform_spending().await?;
    for PlatformSpending { platform, currency, in_all, .. } in &spending {
        metrics::CALL_COST.raise_to([platform, currency], millionths(*in_all));
    }
    for (platform, Watched { budget, reserve }) in budgets {
        let of_budget = |spent: &&PlatformSpending| spent.platform == *platform && spent.currency == budget.currency;
        let used = spending.iter().find(of_budget).map(|spent| spent.used).unwrap_or_default();
        let mut notes = Vec::new();
        for (period, limit) in budget.limits() {
            let (spent, reserved) = used.of(period);
            metrics::BUDGET_USED.set([platform, period.as_str()], share(spent + reserved, limit));
            if spent + reserved + reserve > limit {
                let [limit, spent, reserved] = [limit, spent, reserved].map(|amount| amount.normalize());
                let currency = &budget.currency;
                notes.push(format!(
                    "no further call fits into the budget of the {period}: {spent} spent and {reserved} held of {limit} {currency}"
                ));
            }
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        health.note(Part::Platform(platform.clone()), note);
    }
    Ok(())
}

/// For a counter of whole numbers; exact, the ledger keeps six places.
fn millionths(amount: Decimal) -> u64 {
    u64::try_from((amount * Decimal::from(1_000_000)).round()).unwrap_or_default()
}

/// For a gauge. A budget of nothing is used up from the start.
fn share(used: Decimal, limit: Decimal) -> f64 {
    let share = used.checked_div(limit).unwrap_or(Decimal::ONE);
    f64::try_from(share).unwrap_or(1.0)
}
