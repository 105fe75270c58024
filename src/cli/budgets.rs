//! `voxd budgets`: what the calls of one user may cost.

use clap::{Args, Subcommand};
use rust_decimal::Decimal;
use serde_json::json;

use super::calls::Who;
use super::{CommandError, Context, out};
use crate::call::budget::Budget;
use crate::config::{Config, is_currency, parse_amount};
use crate::store::Store;

const AFTER_HELP: &str = "\
Examples:
  voxd budgets list                     platforms and users, with what is spent and held
  voxd budgets set user-7 --per-day 25 --per-month 300 --because 'trial account'
  voxd budgets set user-7 --no-limit --because 'paid in advance'
  voxd budgets remove user-7 --because 'the default will do'

Days and months end at midnight UTC. Platforms' budgets and the users' default are settings (costs.*, budgets.*).
At a budget's limit further calls wait (reason budget); raising a user's budget lets them go at once.";

/// What calls may cost, by platform and by user
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Budgets {
    #[command(subcommand)]
    command: BudgetsCommand,
}

#[derive(Subcommand)]
enum BudgetsCommand {
    List(List),
    Set(Set),
    Remove(Remove),
}

/// All budgets, with what is used of them
#[derive(Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Sets what one user's calls may cost
#[derive(Args)]
struct Set {
    /// user.id of the jobs
    user: String,
    /// A decimal, e.g. 25.00
    #[arg(long, value_parser = parse_amount, value_name = "AMOUNT", required_unless_present_any = ["per_month", "no_limit"])]
    per_day: Option<Decimal>,
    #[arg(long, value_parser = parse_amount, value_name = "AMOUNT")]
    per_month: Option<Decimal>,
    /// No limit, whatever the default says
    #[arg(long, conflicts_with_all = ["per_day", "per_month"])]
    no_limit: bool,
    #[arg(long, default_value = "USD", value_parser = currency)]
    currency: String,
    /// Why
    #[arg(long)]
    because: String,
    #[command(flatten)]
    who: Who,
}

/// Gives a user the default again
#[derive(Args)]
struct Remove {
    /// user.id of the jobs
    user: String,
    /// Why
    #[arg(long)]
    because: String,
    #[command(flatten)]
    who: Who,
}

fn currency(text: &str) -> Result<String, String> {
    let refused = || format!("{text:?} is not a currency, expected ISO 4217 such as USD");
    is_currency(text).then(|| text.to_owned()).ok_or_else(refused)
}

impl Budgets {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let config = context.config()?;
        let store = context.store(&config).await?;
        match self.command {
            BudgetsCommand::List(list) => list.run(&store, &config).await,
            BudgetsCommand::Set(set) => {
                let by = set.who.source();
                let (day, month) = (set.per_day, set.per_month);
                store.set_user_budget(&set.user, &set.currency, day, month, &by, &set.because).await?;
                if set.who.json { out::json(&json!({ "set": set.user })) } else { out::line("set") }
            }
            BudgetsCommand::Remove(remove) => {
                if !store.remove_user_budget(&remove.user, &remove.who.source(), &remove.because).await? {
                    return Err(CommandError::Failed(format!("user {:?} has no budget of their own", remove.user)));
                }
                if remove.who.json { out::json(&json!({ "removed": remove.user })) } else { out::line("removed") }
            }
        }
    }
}

impl List {
    async fn run(self, store: &Store, config: &Config) -> Result<(), CommandError> {
        let users = store.user_budgets(None).await?;
        let spending = store.platform_spending().await?;
        let platforms: Vec<(&String, Budget)> = config
            .costs
            .iter()
            .filter_map(|(name, costs)| {
                Some((name, Budget::new(&costs.currency, costs.budget_per_day, costs.budget_per_month)?))
            })
            .collect();
        let used = |platform: &str, currency: &str| {
            let of = spending.iter().find(|spent| spent.platform == platform && spent.currency == currency);
            of.map(|spent| spent.used).unwrap_or_default()
        };
        if self.json {
            let platforms = platforms.iter().map(|(name, budget)| {
                let used = used(name, &budget.currency);
                json!({
                    "platform": name, "currency": budget.currency, "per_day": budget.per_day, "per_month": budget.per_month,
                    "spent_today": used.spent_today, "reserved_today": used.reserved_today,
                    "spent_this_month": used.spent_this_month, "reserved_this_month": used.reserved_this_month,
                })
            });
            return out::json(&json!({ "platforms": platforms.collect::<Vec<_>>(), "users": users }));
        }
        let limit = |limit: Option<Decimal>| limit.map_or("-".to_owned(), |limit| limit.normalize().to_string());
        let mut rows = vec![
            ["WHOSE", "PER DAY", "SPENT", "HELD", "PER MONTH", "SPENT", "CURRENCY", "BY", "BECAUSE"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for (name, budget) in &platforms {
            let used = used(name, &budget.currency);
            rows.push(vec![
                format!("platform {name}"),
                limit(budget.per_day),
                used.spent_today.normalize().to_string(),
                used.reserved_today.normalize().to_string(),
                limit(budget.per_month),
                used.spent_this_month.normalize().to_string(),
                budget.currency.clone(),
                "settings".into(),
                String::new(),
            ]);
        }
        for user in users {
            rows.push(vec![
                format!("user {}", user.user_id),
                limit(user.per_day),
                user.spent_today.normalize().to_string(),
                String::new(),
                limit(user.per_month),
                user.spent_this_month.normalize().to_string(),
                user.currency,
                user.set_by,
                user.because,
            ]);
        }
        if rows.len() == 1 {
            return out::line("no budgets");
        }
        out::line(out::table(&rows))
    }
}
