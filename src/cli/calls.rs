//! `voxd calls`: what an operator does, directly on the database.

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::paint::Paint;
use super::timeline;
use super::{CommandError, Context, check, out};
use crate::call::CallStatus;
use crate::clock;
use crate::config::Config;
use crate::delivery::policy;
use crate::platforms::PlatformRegistry;
use crate::store::Store;
use crate::store::operator::{CallName, Cancelled, SettleAs, Settled};
use crate::store::read::{Attempt, CallFilter, Numbers};
use crate::store::retry_now::RetriedNow;
use crate::story::{self, CallDetail, TimelineEvent};

const AFTER_HELP: &str = "\
Examples:
  voxd calls list --status unknown,in_doubt
  voxd calls show 0198c6a2-41f0-7c3e-8a55-0d9f3a1c2b4d
  voxd calls show crm/lead-42-welcome   by source/id of the job
  voxd calls cancel crm/lead-42-welcome --because 'the customer wrote'
  voxd calls settle 0198c6a2-… --as placed --because 'seen in the console' --platform-call-id abc
  voxd calls settle 0198c6a2-… --as redial --because 'platform log of 12:04 shows no request'";

/// Columns of who did it, at most.
const MAX_BY: usize = 24;
/// Characters of a request's body that one line shows.
const MAX_BODY: usize = 160;

/// Looks at calls and decides what a machine must not
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Calls {
    #[command(subcommand)]
    command: CallsCommand,
}

#[derive(Subcommand)]
enum CallsCommand {
    List(List),
    Show(Show),
    Cancel(Cancel),
    Settle(Settle),
    Retry(Retry),
}

/// The newest calls
#[derive(Args)]
struct List {
    /// Only in these statuses, e.g. unknown,in_doubt
    #[arg(long, value_delimiter = ',', value_parser = status)]
    status: Vec<CallStatus>,
    #[arg(long)]
    platform: Option<String>,
    #[arg(long)]
    lead: Option<String>,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1000))]
    limit: i64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One call's whole story: attempts, and everything that happened in its order
#[derive(Args)]
struct Show {
    /// Id, or SOURCE/ID of the job that asked for it
    call: String,
    /// Print JSON, with transcripts and evidence
    #[arg(long)]
    json: bool,
}

/// Cancels a call that is not sent, or asks the platform to end a live one
#[derive(Args)]
struct Cancel {
    /// Id, or SOURCE/ID of the job that asked for it
    call: String,
    /// Why, for the timeline
    #[arg(long, default_value = "no reason given")]
    because: String,
    #[command(flatten)]
    who: Who,
}

/// Settles an unknown call
#[derive(Args)]
struct Settle {
    call: Uuid,
    /// What is known of it now
    #[arg(long = "as", value_enum)]
    settle_as: SettleArg,
    /// What shows it; stands in the timeline and in the next attempt
    #[arg(long)]
    because: String,
    /// With `--as placed`: the platform's id, so that its outcome can be asked for
    #[arg(long)]
    platform_call_id: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// Makes a call due now that waits for its retry, its redial, or another try; rules and limits hold all the same
#[derive(Args)]
struct Retry {
    /// Id, or SOURCE/ID of the job that asked for it
    call: String,
    /// Why, for the timeline
    #[arg(long)]
    because: String,
    #[command(flatten)]
    who: Who,
}

/// Who decides, on every command that changes something.
#[derive(Args)]
pub(super) struct Who {
    /// Who decides
    #[arg(long, env = "USER", default_value = "unnamed")]
    by: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Who {
    pub fn source(&self) -> String {
        format!("operator:{}", self.by)
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum SettleArg {
    /// It was made; its outcome comes from the platform
    Placed,
    /// It was not made, and is not to be
    Absent,
    /// It was not made; call again
    Redial,
}

fn status(text: &str) -> Result<CallStatus, String> {
    text.parse()
}

/// An id, or `SOURCE/ID`; the source may itself hold slashes.
fn call_name(text: &str) -> Result<CallName, CommandError> {
    if let Ok(id) = text.parse() {
        return Ok(CallName::Id(id));
    }
    let (source, event_id) = text.rsplit_once('/').ok_or_else(|| {
        CommandError::Usage(format!("{text:?} is neither a call's id nor SOURCE/ID of its job (no source: /ID)"))
    })?;
    Ok(CallName::Job { source: source.into(), event_id: event_id.into() })
}

impl Calls {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        // A name that is none is bad usage, also where the database is away.
        if let CallsCommand::Show(Show { call, .. })
        | CallsCommand::Cancel(Cancel { call, .. })
        | CallsCommand::Retry(Retry { call, .. }) = &self.command
        {
            call_name(call)?;
        }
        let config = context.config()?;
        let store = context.store(&config).await?;
        match self.command {
            CallsCommand::List(list) => list.run(&store).await,
            CallsCommand::Show(show) => show.run(&store, &config).await,
            CallsCommand::Cancel(cancel) => cancel.run(&store).await,
            CallsCommand::Settle(settle) => settle.run(&store).await,
            CallsCommand::Retry(retry) => retry.run(&store).await,
        }
    }
}

impl List {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        let filter = CallFilter {
            statuses: self.status,
            platform: self.platform,
            lead_id: self.lead,
            limit: self.limit,
            ..CallFilter::default()
        };
        let calls = store.list_calls(&filter, Numbers::Masked).await?;
        if self.json {
            return out::json(&calls);
        }
        if calls.is_empty() {
            return out::line("no calls");
        }
        let heads = ["CALL", "STATUS", "WHY", "TO", "PLATFORM", "JOB", "CREATED"].map(str::to_owned).to_vec();
        let rows = calls.iter().map(|call| {
            vec![
                call.id.to_string(),
                call.status.clone(),
                call.status_reason.clone().unwrap_or_default(),
                call.to_number.clone(),
                call.platform.clone(),
                format!("{}/{}", call.source, call.event_id),
                call.created_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
            ]
        });
        out::line(out::table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>()))
    }
}

impl Show {
    async fn run(self, store: &Store, config: &Config) -> Result<(), CommandError> {
        let not_found = || CommandError::Failed(format!("there is no call {}", self.call));
        let id = store.call_id(&call_name(&self.call)?).await?.ok_or_else(not_found)?;
        let record = store.call_record(id).await?.ok_or_else(not_found)?;
        let hold = match policy::load(&config.policy) {
            Ok(policy) => policy::explain(&policy, &record, clock::now()),
            Err(problem) => {
                eprintln!("note: what holds the call back is not told: {problem}");
                None
            }
        };
        // Requests are put together anew, which needs no key.
        let mut config = config.clone();
        check::give_dummy_keys(&mut config);
        let registry = PlatformRegistry::from_config(&config);
        let call = story::tell(record, hold, Numbers::Masked, &registry, &config);
        if self.json {
            return out::json(&call);
        }
        out::line(page(&call, Paint::for_stream(&std::io::stdout())))
    }
}

/// One screen about one call.
fn page(detail: &CallDetail, paint: Paint) -> String {
    let call = &detail.call;
    let mut lines = vec![format!("{}  {}", paint.bold(&call.id.to_string()), paint.status(&call.status, &call.status))];
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("  {name:<10}{value}"));
        }
    };
    let why = [call.status_reason.as_deref(), call.status_detail.as_deref()];
    fact("why", why.into_iter().flatten().collect::<Vec<_>>().join(": "));
    fact("job", format!("{}/{}", call.source, call.event_id));
    fact("to", format!("{} by {}", call.to_number, call.platform));
    fact("lead", call.lead_id.clone().unwrap_or_default());
    fact("created", call.created_at.format("%Y-%m-%d %H:%M:%SZ").to_string());
    fact("next", detail.hold.as_ref().map(|hold| hold.text.clone()).unwrap_or_default());
    if call.status == "scheduled" {
        fact("due", call.scheduled_for.map(|at| at.format("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default());
    }
    for attempt in &detail.attempts {
        fact(&format!("attempt {}", attempt.n), attempt_facts(attempt, paint));
    }
    lines.push(String::new());
    let by_width = detail.timeline.iter().map(|event| event.source.chars().count().min(MAX_BY)).max().unwrap_or(0);
    for event in &detail.timeline {
        let clock = paint.dim(&event.at.format("%H:%M:%S%.3f").to_string());
        let since = timeline::since(call.created_at, event.at);
        lines.push(format!("  {clock}  {since:>8}  {}", story_line(event, by_width, paint)));
        lines.extend(body(event).map(|body| format!("  {:12}  {:8}  {:11}  {}", "", "", "", paint.dim(&body))));
    }
    lines.join("\n")
}

/// The text stands in the timeline with its status before it, which has a column here.
fn story_line(event: &TimelineEvent, by_width: usize, paint: Paint) -> String {
    let to_status = event.to_status.as_deref();
    let why = match to_status.and_then(|status| event.text.strip_prefix(status)) {
        Some(why) => why.trim_start_matches(": "),
        None => &event.text,
    };
    timeline::row(to_status, &event.source, why, by_width, paint)
}

/// The beginning of a request's body.
fn body(event: &TimelineEvent) -> Option<String> {
    let body = event.detail.get("body").filter(|_| event.kind == "request")?.to_string();
    let mut shown: String = body.chars().take(MAX_BODY).collect();
    if shown.len() < body.len() {
        shown.push_str("… (--json shows all)");
    }
    Some(shown)
}

fn attempt_facts(attempt: &Attempt, paint: Paint) -> String {
    let mut facts = vec![paint.status(&attempt.state, &attempt.state)];
    facts.extend(attempt.reason.clone());
    facts.extend(attempt.duration_seconds.map(|seconds| format!("{seconds} s")));
    facts.extend(
        attempt
            .cost_amount
            .map(|amount| format!("{} {}", amount.normalize(), attempt.cost_currency.as_deref().unwrap_or_default())),
    );
    facts.extend(attempt.answered_by.as_ref().map(|who| format!("answered by {who}")));
    let turns = attempt.transcript.as_ref().and_then(serde_json::Value::as_array).map(Vec::len);
    facts.extend(turns.map(|turns| format!("{turns} turns (--json shows them)")));
    facts.extend(attempt.platform_call_id.as_ref().map(|id| paint.dim(id)));
    if attempt.because != "first" {
        facts.push(paint.dim(&format!("because {}", attempt.because)));
    }
    facts.join(", ")
}

impl Cancel {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        let cancelled = store.cancel(&call_name(&self.call)?, &self.who.source(), &self.because).await?;
        let (word, text) = match cancelled {
            Cancelled::Now => ("cancelled", "cancelled; it was not sent".to_owned()),
            Cancelled::Requested { status, .. } => {
                ("requested", format!("it is {status}; the platform is asked to end it"))
            }
            Cancelled::AlreadyEnded { status } => {
                return Err(CommandError::Failed(format!("call {} has ended: {status}", self.call)));
            }
            Cancelled::NotFound => return Err(CommandError::Failed(format!("there is no call {}", self.call))),
        };
        if self.who.json { out::json(&serde_json::json!({ "result": word })) } else { out::line(text) }
    }
}

impl Settle {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        let settle_as = match self.settle_as {
            SettleArg::Placed => SettleAs::Placed,
            SettleArg::Absent => SettleAs::Absent,
            SettleArg::Redial => SettleAs::Redial,
        };
        let by = self.who.source();
        match store.settle(self.call, settle_as, &by, &self.because, self.platform_call_id.as_deref()).await? {
            Settled::Done { status } if self.who.json => out::json(&serde_json::json!({ "status": status })),
            Settled::Done { status } => out::line(format!("settled as {settle_as}; the call is {status} now")),
            Settled::NotUnknown { status } => {
                Err(CommandError::Failed(format!("call {} is {status}; only unknown calls are settled", self.call)))
            }
            Settled::NotFound => Err(CommandError::Failed(format!("there is no call {}", self.call))),
        }
    }
}

impl Retry {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        match store.retry_now(&call_name(&self.call)?, &self.who.source(), &self.because).await? {
            RetriedNow::Due { reason } if self.who.json => out::json(&serde_json::json!({ "waited_for": reason })),
            RetriedNow::Due { reason } => out::line(format!("due now; it waited for {reason}")),
            RetriedNow::Not { status, reason } => {
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                Err(CommandError::Failed(format!(
                    "call {} is {status}{reason}; only a scheduled call that waits for nothing but time is made due",
                    self.call
                )))
            }
            RetriedNow::NotFound => Err(CommandError::Failed(format!("there is no call {}", self.call))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_by_id_or_by_job() {
        assert!(matches!(call_name("0198c6a2-41f0-7c3e-8a55-0d9f3a1c2b4d"), Ok(CallName::Id(_))));
        let job = |text: &str| match call_name(text) {
            Ok(CallName::Job { source, event_id }) => (source, event_id),
            other => panic!("{other:?}"),
        };
        assert_eq!(job("crm/lead-42"), ("crm".into(), "lead-42".into()));
        assert_eq!(job("https://crm.example/x/lead-42"), ("https://crm.example/x".into(), "lead-42".into()));
        assert_eq!(job("/lead-42"), (String::new(), "lead-42".into()));
        assert!(matches!(call_name("lead-42"), Err(CommandError::Usage(_))));
    }
}
