//! `voxd report`: calls in numbers, with a small chart.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;

use super::paint::Paint;
use super::{CommandError, Context, out};
use crate::analytics::{self, GroupBy, LONGEST_SPAN, MOST_GROUPS, NoReport, Numbers, Question, Report};
use crate::call::CallStatus;
use crate::clock;
use crate::config::duration;

const AFTER_HELP: &str = "\
Examples:
  voxd report                                   the last day, by platform
  voxd report --since 7d --by campaign_id,status
  voxd report --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --by day --csv > november.csv
  voxd report --since 30d --user user-7 --json

A call counts with all its attempts. Costs are what platforms reported, else estimates (settings costs.*); each currency
stands for itself.";

/// Width of a bar at its longest, in characters.
const BAR: i64 = 24;
/// Longer times are charted by day.
const BY_HOUR: TimeDelta = TimeDelta::days(3);

/// Calls in numbers: how they ended, how long they took, what they cost
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ReportArgs {
    /// platform, status, hour, day, campaign_id, user_id, source; commas between
    #[arg(long, value_delimiter = ',', default_value = "platform", value_name = "KEYS", value_parser = group)]
    by: Vec<GroupBy>,
    /// Calls accepted in so long a time before now (or before --to)
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = duration::parse)]
    since: Duration,
    /// Calls accepted at this time or later, RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    from: Option<DateTime<Utc>>,
    /// Calls accepted before this time [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<DateTime<Utc>>,
    #[arg(long)]
    platform: Option<String>,
    /// Only in these statuses; commas between
    #[arg(long, value_delimiter = ',', value_parser = status)]
    status: Vec<CallStatus>,
    #[arg(long, value_name = "USER_ID")]
    user: Option<String>,
    /// Of the jobs that asked for the calls
    #[arg(long)]
    source: Option<String>,
    /// metadata.campaign_id
    #[arg(long, value_name = "CAMPAIGN_ID")]
    campaign: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

fn group(text: &str) -> Result<GroupBy, String> {
    text.parse()
}

fn status(text: &str) -> Result<CallStatus, String> {
    text.parse()
}

impl ReportArgs {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let question = self.question()?;
        let store = context.store(&context.config()?).await?;
        let report = analytics::report(&store, &question).await?;
        if self.json {
            return out::json(&report);
        }
        if self.csv {
            return out::text(&report.to_csv());
        }
        let over_time = if report.to - report.from > BY_HOUR { GroupBy::Day } else { GroupBy::Hour };
        let charted = analytics::report(&store, &Question { group_by: vec![over_time], ..question }).await?;
        out::line(page(&report, &charted, Paint::for_stream(&std::io::stdout())))
    }

    fn question(&self) -> Result<Question, CommandError> {
        let to = self.to.unwrap_or_else(clock::now);
        let since = TimeDelta::from_std(self.since).unwrap_or(TimeDelta::MAX);
        let from = self.from.or_else(|| to.checked_sub_signed(since)).unwrap_or(DateTime::UNIX_EPOCH);
        if from >= to || to - from > LONGEST_SPAN {
            let days = LONGEST_SPAN.num_days();
            return Err(CommandError::Usage(format!("from {from} to {to} is no time of at most {days} days")));
        }
        let mut group_by = self.by.clone();
        let mut seen = Vec::new();
        group_by.retain(|group| {
            !seen.contains(group) && {
                seen.push(*group);
                true
            }
        });
        Ok(Question {
            from,
            to,
            platform: self.platform.clone(),
            statuses: self.status.clone(),
            user_id: self.user.clone(),
            source: self.source.clone(),
            campaign_id: self.campaign.clone(),
            group_by,
            most_groups: MOST_GROUPS,
        })
    }
}

impl From<NoReport> for CommandError {
    fn from(error: NoReport) -> Self {
        match error {
            NoReport::Store(error) => error.into(),
            NoReport::TooManyGroups | NoReport::TooMuch => Self::Failed(error.to_string()),
        }
    }
}

fn page(report: &Report, charted: &Report, paint: Paint) -> String {
    let minute = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%MZ").to_string();
    let mut lines =
        vec![format!("calls accepted from {} to {}", minute(report.from), minute(report.to)), String::new()];
    let mut rows = vec![heads(report)];
    let most = report.items.iter().map(|item| item.numbers.calls).max().unwrap_or(0);
    for item in &report.items {
        let mut row: Vec<String> =
            report.group_by.iter().map(|group| key(item.keys.get(group.as_str()).cloned().flatten())).collect();
        row.extend(cells(&item.numbers));
        row.push(bar(&item.numbers, most));
        rows.push(row);
    }
    let mut total = vec!["total".to_owned()];
    total.resize(report.group_by.len(), String::new());
    total.extend(cells(&report.total));
    rows.push(total);
    let table = out::table(&rows);
    for (n, line) in table.lines().enumerate() {
        let is_frame = n == 0 || n + 1 == rows.len();
        lines.push(if is_frame { paint.bold(line) } else { line.to_owned() });
    }
    lines.push(String::new());
    lines.push(paint.dim("█ completed  ░ other calls"));
    lines.extend(over_time(charted));
    lines.join("\n")
}

fn heads(report: &Report) -> Vec<String> {
    let mut heads: Vec<String> = report.group_by.iter().map(|group| group.as_str().to_uppercase()).collect();
    let rest = ["CALLS", "COMPLETED", "ANSWERED", "ATTEMPTS", "TALK", "COST", "PER COMPLETED", ""];
    heads.extend(rest.map(str::to_owned));
    heads
}

/// What producers name things may hold anything; a terminal gets no control characters of theirs.
fn key(word: Option<String>) -> String {
    let word = word.unwrap_or_else(|| "-".into());
    word.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).take(40).collect()
}

fn cells(numbers: &Numbers) -> Vec<String> {
    let costs = numbers.costs.iter().map(|cost| {
        let mark = if cost.estimated.is_zero() { "" } else { "~" };
        format!("{mark}{} {}", cost.amount.round_dp(2), cost.currency)
    });
    let each = numbers
        .costs
        .iter()
        .filter_map(|cost| Some(format!("{} {}", cost.per_completed_call?.round_dp(4).normalize(), cost.currency)));
    vec![
        numbers.calls.to_string(),
        numbers.completed.to_string(),
        numbers.answer_rate.map_or("-".into(), |rate| format!("{:.1}%", rate * 100.0)),
        numbers.attempts.to_string(),
        duration::format(Duration::from_secs(numbers.talk_seconds.max(0).unsigned_abs())),
        costs.collect::<Vec<_>>().join(" + "),
        each.collect::<Vec<_>>().join(" + "),
    ]
}

/// Calls against the largest group's; the full part is what was completed.
fn bar(numbers: &Numbers, most: i64) -> String {
    let length = |calls: i64| if most == 0 { 0 } else { (calls * BAR + most - 1) / most };
    let (all, full) = (length(numbers.calls), if numbers.completed == 0 { 0 } else { length(numbers.completed) });
    let repeat = |sign: &str, n: i64| sign.repeat(usize::try_from(n).unwrap_or(0));
    format!("{}{}", repeat("█", full), repeat("░", all - full))
}

/// One sign for each hour or day, quiet ones included.
fn over_time(charted: &Report) -> Option<String> {
    const SIGNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (group, step) = match charted.group_by.first()? {
        GroupBy::Day => ("day", TimeDelta::days(1)),
        _ => ("hour", TimeDelta::hours(1)),
    };
    let calls: Vec<(DateTime<Utc>, i64)> = charted
        .items
        .iter()
        .filter_map(|item| Some((item.keys.get(group)?.as_deref()?.parse().ok()?, item.numbers.calls)))
        .collect();
    let (peak_at, peak) = *calls.iter().max_by_key(|(_, calls)| *calls)?;
    let (first, last) = (calls.first()?.0, calls.last()?.0);
    let mut signs = String::new();
    let mut at = first;
    while at <= last {
        let here = calls.iter().find(|(time, _)| *time == at).map_or(0, |(_, calls)| *calls);
        signs.push(if here == 0 { ' ' } else { SIGNS[usize::try_from((here * 7) / peak).unwrap_or(0)] });
        at += step;
    }
    let format = if group == "day" { "%Y-%m-%d" } else { "%m-%d %H:00Z" };
    let (first, last, peak_at) = (first.format(format), last.format(format), peak_at.format(format));
    Some(format!("by {group}  {first} {signs} {last}  most: {peak} at {peak_at}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::{Cost, Group};

    fn numbers(calls: i64, completed: i64) -> Numbers {
        let cost = Cost {
            currency: "USD".into(),
            amount: "1.5".parse().unwrap(),
            estimated: "0.5".parse().unwrap(),
            per_completed_call: Some("0.3".parse().unwrap()),
        };
        Numbers {
            calls,
            completed,
            answer_rate: Some(0.625),
            talk_seconds: 61,
            costs: vec![cost],
            ..Numbers::default()
        }
    }

    fn report(group_by: GroupBy, items: &[(&str, i64, i64)]) -> Report {
        let group = |(key, calls, completed): &(&str, i64, i64)| Group {
            keys: [(group_by.as_str(), Some((*key).to_owned()))].into(),
            numbers: numbers(*calls, *completed),
        };
        Report {
            from: DateTime::UNIX_EPOCH,
            to: DateTime::UNIX_EPOCH + TimeDelta::days(1),
            group_by: vec![group_by],
            items: items.iter().map(group).collect(),
            total: numbers(15, 5),
        }
    }

    #[test]
    fn the_page_shows_numbers_bars_and_the_course_of_time() {
        let table = report(GroupBy::Platform, &[("bland_ai", 12, 4), ("vapi\u{1b}[31m", 3, 1)]);
        let hours = report(
            GroupBy::Hour,
            &[("1970-01-01T01:00:00Z", 1, 0), ("1970-01-01T02:00:00Z", 8, 0), ("1970-01-01T04:00:00Z", 4, 0)],
        );
        insta::assert_snapshot!(page(&table, &hours, Paint::plain()), @r"
        calls accepted from 1970-01-01 00:00Z to 1970-01-02 00:00Z

        PLATFORM   CALLS  COMPLETED  ANSWERED  ATTEMPTS  TALK   COST      PER COMPLETED
        bland_ai   12     4          62.5%     0         1m 1s  ~1.5 USD  0.3 USD        ████████░░░░░░░░░░░░░░░░
        vapi�[31m  3      1          62.5%     0         1m 1s  ~1.5 USD  0.3 USD        ██░░░░
        total      15     5          62.5%     0         1m 1s  ~1.5 USD  0.3 USD

        █ completed  ░ other calls
        by hour  01-01 01:00Z ▁█ ▄ 01-01 04:00Z  most: 8 at 01-01 02:00Z
        ");
    }
}
