//! Calls in numbers, by group. Reads only; two statements that see one moment.
//!
//! Calls are chosen by `created_at`, whose index ends the search; their attempts are found by `call_id`.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{Result, Store};
use crate::call::CallStatus;
use crate::call::status::text_enum;

text_enum! {
    /// What calls are grouped by.
    GroupBy {
        /// Of the call's latest attempt.
        Platform = "platform",
        Status = "status",
        /// In which it was accepted, UTC.
        Hour = "hour",
        /// In which it was accepted, UTC.
        Day = "day",
        /// `metadata.campaign_id`, as text.
        CampaignId = "campaign_id",
        UserId = "user_id",
        /// Of the job that asked for it.
        Source = "source",
    }
}

/// Which calls, and in which groups.
#[derive(Debug, Clone)]
pub struct Question {
    /// When they were accepted; inclusive.
    pub from: DateTime<Utc>,
    /// Exclusive.
    pub to: DateTime<Utc>,
    pub platform: Option<String>,
    pub statuses: Vec<CallStatus>,
    pub user_id: Option<String>,
    pub source: Option<String>,
    pub campaign_id: Option<String>,
    pub group_by: Vec<GroupBy>,
    /// Groups beyond this many are not read.
    pub most_groups: i64,
}

/// What the calls of one group have in common. What was not asked for is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keys {
    pub hour: Option<DateTime<Utc>>,
    pub day: Option<DateTime<Utc>>,
    pub platform: Option<String>,
    pub campaign_id: Option<String>,
    pub user_id: Option<String>,
    pub source: Option<String>,
    pub status: Option<String>,
}

/// How many calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub calls: i64,
    pub completed: i64,
    pub no_answer: i64,
    pub busy: i64,
    pub voicemail: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub rejected: i64,
    pub expired: i64,
}

/// What the attempts of a group's calls came to; one for each currency, and one for those that cost nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    pub currency: Option<String>,
    pub attempts: i64,
    pub talk_seconds: i64,
    pub amount: Decimal,
    /// The part of `amount` that no platform has reported.
    pub estimated: Decimal,
}

/// The answer: unsorted, each group once in `calls` and at most once by currency in `attempts`.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub calls: Vec<(Keys, Counts)>,
    pub attempts: Vec<(Keys, Spent)>,
}

impl Store {
    /// Counts calls and adds up what their attempts took and cost.
    pub async fn count_calls(&self, question: &Question) -> Result<Answer> {
        let by = |group: GroupBy| question.group_by.contains(&group);
        let statuses: Vec<String> = question.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        let statuses = Some(statuses).filter(|statuses| !statuses.is_empty());
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx =
                sqlx::Connection::begin_with(&mut *conn, "begin isolation level repeatable read read only").await?;
            // A month of calls is put together in memory and not in files.
            sqlx::query!("select set_config('work_mem', '64MB', true)").fetch_one(&mut *tx).await?;
            let calls = sqlx::query!(
                r#"select case when $8 then date_trunc('hour', c.created_at, 'UTC') end as hour,
                       case when $9 then date_trunc('day', c.created_at, 'UTC') end as day,
                       case when $10 then c.platform end as platform, case when $11 then c.metadata->>'campaign_id' end as campaign_id,
                       case when $12 then c.user_id end as user_id, case when $13 then c.source end as source,
                       case when $14 then c.status end as status,
                       count(*) as "calls!", count(*) filter (where c.status = 'completed') as "completed!",
                       count(*) filter (where c.status = 'no_answer') as "no_answer!", count(*) filter (where c.status = 'busy') as "busy!",
                       count(*) filter (where c.status = 'voicemail') as "voicemail!", count(*) filter (where c.status = 'failed') as "failed!",
                       count(*) filter (where c.status = 'cancelled') as "cancelled!", count(*) filter (where c.status = 'rejected') as "rejected!",
                       count(*) filter (where c.status = 'expired') as "expired!"
                   from calls c
                   where c.created_at >= $1 and c.created_at < $2 and ($3::text is null or c.platform = $3)
                     and ($4::text[] is null or c.status = any($4)) and ($5::text is null or c.user_id = $5)
                     and ($6::text is null or c.source = $6) and ($7::text is null or c.metadata->>'campaign_id' = $7)
                   group by 1, 2, 3, 4, 5, 6, 7 limit $15"#,
                question.from,
                question.to,
                question.platform,
                statuses.as_deref(),
                question.user_id,
                question.source,
                question.campaign_id,
                by(GroupBy::Hour),
                by(GroupBy::Day),
                by(GroupBy::Platform),
                by(GroupBy::CampaignId),
                by(GroupBy::UserId),
                by(GroupBy::Source),
                by(GroupBy::Status),
                question.most_groups + 1,
            )
            .fetch_all(&mut *tx)
            .await?;
            let attempts = sqlx::query!(
                r#"select case when $8 then date_trunc('hour', c.created_at, 'UTC') end as hour,
                       case when $9 then date_trunc('day', c.created_at, 'UTC') end as day,
                       case when $10 then c.platform end as platform, case when $11 then c.metadata->>'campaign_id' end as campaign_id,
                       case when $12 then c.user_id end as user_id, case when $13 then c.source end as source,
                       case when $14 then c.status end as status, a.cost_currency as currency,
                       count(*) as "attempts!", coalesce(sum(a.duration_seconds), 0) as "talk_seconds!",
                       coalesce(sum(a.cost_amount), 0) as "amount!",
                       coalesce(sum(a.cost_amount) filter (where a.cost_source = 'estimated'), 0) as "estimated!"
                   from calls c join call_attempts a on a.call_id = c.id
                   where c.created_at >= $1 and c.created_at < $2 and ($3::text is null or c.platform = $3)
                     and ($4::text[] is null or c.status = any($4)) and ($5::text is null or c.user_id = $5)
                     and ($6::text is null or c.source = $6) and ($7::text is null or c.metadata->>'campaign_id' = $7)
                   group by 1, 2, 3, 4, 5, 6, 7, 8 limit $15"#,
                question.from,
                question.to,
                question.platform,
                statuses.as_deref(),
                question.user_id,
                question.source,
                question.campaign_id,
                by(GroupBy::Hour),
                by(GroupBy::Day),
                by(GroupBy::Platform),
                by(GroupBy::CampaignId),
                by(GroupBy::UserId),
                by(GroupBy::Source),
                by(GroupBy::Status),
                // Each group in every currency.
                (question.most_groups + 1) * 16,
            )
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            conn.done();
            macro_rules! keys {
                ($row:ident) => {
                    Keys {
                        hour: $row.hour,
                        day: $row.day,
                        platform: $row.platform,
                        campaign_id: $row.campaign_id,
                        user_id: $row.user_id,
                        source: $row.source,
                        status: $row.status,
                    }
                };
            }
            let counted = calls.into_iter().map(|row| {
                let counts = Counts {
                    calls: row.calls,
                    completed: row.completed,
                    no_answer: row.no_answer,
                    busy: row.busy,
                    voicemail: row.voicemail,
                    failed: row.failed,
                    cancelled: row.cancelled,
                    rejected: row.rejected,
                    expired: row.expired,
                };
                (keys!(row), counts)
            });
            let spent = attempts.into_iter().map(|row| {
                let spent = Spent {
                    currency: row.currency,
                    attempts: row.attempts,
                    talk_seconds: row.talk_seconds,
                    amount: row.amount,
                    estimated: row.estimated,
                };
                (keys!(row), spent)
            });
            Ok(Answer { calls: counted.collect(), attempts: spent.collect() })
        })
        .await
    }
}
