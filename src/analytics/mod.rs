//! What calls came to: how many, how they ended, how long they took, what they cost.
//!
//! The store counts ([`crate::store::analytics`]); here groups are put together, rates are worked out (pure), and `csv`
//! writes them for spreadsheets. A call counts with all its attempts: what a completed call cost includes the tries before.

mod csv;

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::store::analytics::{Answer, Counts, Keys, Spent};
use crate::store::{Store, StoreError};

pub use crate::store::analytics::{GroupBy, Question};

/// Where the question names no time: so long before its end.
pub const DEFAULT_SPAN: TimeDelta = TimeDelta::days(1);
/// Longest time that one question may be about.
pub const LONGEST_SPAN: TimeDelta = TimeDelta::days(366);
/// Most groups in one answer.
pub const MOST_GROUPS: i64 = 10_000;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum NoReport {
    #[error("that makes more than {MOST_GROUPS} groups, expected a shorter time, a filter, or fewer groupings")]
    TooManyGroups,
    #[error("that is more than the database counts in one go, expected a shorter time or a filter")]
    TooMuch,
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for NoReport {
    fn from(error: StoreError) -> Self {
        match error {
            // Postgres's words for the end of statement_timeout, in the messages' fixed language of its source.
            StoreError::Unavailable(text) if text.contains("statement timeout") => NoReport::TooMuch,
            other => NoReport::Store(other),
        }
    }
}

/// Calls in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Report {
    /// When the calls were accepted; inclusive.
    pub from: DateTime<Utc>,
    /// Exclusive.
    pub to: DateTime<Utc>,
    pub group_by: Vec<GroupBy>,
    /// One for each group; one alone where nothing is grouped by. Sorted by time, then by the other keys.
    pub items: Vec<Group>,
    pub total: Numbers,
}

/// One group: what its calls have in common, and their numbers. A key is there when it was grouped by, and null for calls
/// that have none.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Group {
    /// E.g. `{"platform": "bland_ai", "hour": "2026-11-21T17:00:00Z"}`; in one object with the numbers.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub keys: BTreeMap<&'static str, Option<String>>,
    #[serde(flatten)]
    pub numbers: Numbers,
}

/// The numbers of some calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Numbers {
    /// All of them, also those that have not ended.
    pub calls: i64,
    pub open: i64,
    /// A person answered.
    pub completed: i64,
    pub no_answer: i64,
    pub busy: i64,
    pub voicemail: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub rejected: i64,
    pub expired: i64,
    /// `completed` of those that rang somewhere: completed, no_answer, busy, voicemail. Four places; null where none rang.
    pub answer_rate: Option<f64>,
    pub attempts: i64,
    pub talk_seconds: i64,
    /// Talk of all attempts for each completed call; null where there is none.
    pub talk_seconds_per_completed_call: Option<f64>,
    /// By currency; currencies are never added up.
    pub costs: Vec<Cost>,
}

/// What calls cost in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Cost {
    #[schema(example = "USD")]
    pub currency: String,
    /// Of all attempts; decimal, as text.
    #[schema(value_type = String, example = "12.345")]
    pub amount: Decimal,
    /// The part of it that comes from the price table, because no platform has reported it.
    #[schema(value_type = String, example = "0.9")]
    pub estimated: Decimal,
    /// `amount` by completed calls, six places; null where there is none.
    #[schema(value_type = Option<String>, example = "0.41")]
    pub per_completed_call: Option<Decimal>,
}

/// Asks the store and puts the answer together.
pub async fn report(store: &Store, question: &Question) -> Result<Report, NoReport> {
    let answer = store.count_calls(question).await?;
    if answer.calls.len() as i64 > question.most_groups {
        return Err(NoReport::TooManyGroups);
    }
    Ok(put_together(question, answer))
}

impl Report {
    /// Comma-separated, with a line of heads; see `csv.rs`.
    pub fn to_csv(&self) -> String {
        csv::write(self)
    }
}

fn put_together(question: &Question, answer: Answer) -> Report {
    let mut groups: BTreeMap<Keys, (Counts, Vec<Spent>)> = BTreeMap::new();
    for (keys, counts) in answer.calls {
        groups.entry(keys).or_default().0 = counts;
    }
    for (keys, spent) in answer.attempts {
        if let Some(group) = groups.get_mut(&keys) {
            group.1.push(spent);
        }
    }
    let mut all = (Counts::default(), Vec::new());
    for (counts, spent) in groups.values() {
        all.0.add(counts);
        all.1.extend(spent.iter().cloned());
    }
    if groups.is_empty() && question.group_by.is_empty() {
        groups.insert(Keys::default(), Default::default());
    }
    let items = groups.into_iter().map(|(keys, (counts, spent))| Group {
        keys: question.group_by.iter().map(|group| (group.as_str(), keys.text(*group))).collect(),
        numbers: numbers(&counts, &spent),
    });
    Report {
        from: question.from,
        to: question.to,
        group_by: question.group_by.clone(),
        items: items.collect(),
        total: numbers(&all.0, &all.1),
    }
}

fn numbers(counts: &Counts, spent: &[Spent]) -> Numbers {
    let Counts { calls, completed, no_answer, busy, voicemail, failed, cancelled, rejected, expired } = *counts;
    let rang = completed + no_answer + busy + voicemail;
    let talk_seconds = spent.iter().map(|part| part.talk_seconds).sum();
    let mut by_currency: BTreeMap<&str, (Decimal, Decimal)> = BTreeMap::new();
    for part in spent {
        if let Some(currency) = &part.currency {
            let sums = by_currency.entry(currency).or_default();
            sums.0 += part.amount;
            sums.1 += part.estimated;
        }
    }
    let cost = |(currency, (amount, estimated)): (&str, (Decimal, Decimal))| Cost {
        currency: currency.to_owned(),
        amount: amount.normalize(),
        estimated: estimated.normalize(),
        per_completed_call: (completed > 0).then(|| (amount / Decimal::from(completed)).round_dp(6).normalize()),
    };
    Numbers {
        calls,
        open: calls - rang - failed - cancelled - rejected - expired,
        completed,
        no_answer,
        busy,
        voicemail,
        failed,
        cancelled,
        rejected,
        expired,
        answer_rate: ratio(completed, rang, 4),
        attempts: spent.iter().map(|part| part.attempts).sum(),
        talk_seconds,
        talk_seconds_per_completed_call: ratio(talk_seconds, completed, 1),
        costs: by_currency.into_iter().map(cost).collect(),
    }
}

/// A share or a mean, never of money; rounded.
fn ratio(part: i64, whole: i64, places: i32) -> Option<f64> {
    let scale = 10_f64.powi(places);
    (whole > 0).then(|| (part as f64 / whole as f64 * scale).round() / scale)
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.completed += other.completed;
        self.no_answer += other.no_answer;
        self.busy += other.busy;
        self.voicemail += other.voicemail;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.rejected += other.rejected;
        self.expired += other.expired;
    }
}

impl Keys {
    fn text(&self, group: GroupBy) -> Option<String> {
        let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        match group {
            GroupBy::Hour => time(self.hour),
            GroupBy::Day => time(self.day),
            GroupBy::Platform => self.platform.clone(),
            GroupBy::CampaignId => self.campaign_id.clone(),
            GroupBy::UserId => self.user_id.clone(),
            GroupBy::Source => self.source.clone(),
            GroupBy::Status => self.status.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
