//! `voxd queue`

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, Context, out, sqs};
use crate::queue::{DeadLetterQueue, QueueInfo, Redrive};

const AFTER_HELP: &str = "\
Examples:
  voxd queue depth                      every configured queue and its dead-letter queue
  voxd queue dlq --limit 5              dead letters with their reasons; they stay where they are
  voxd queue dlq --json | jq -r '.[].body' > letters.jsonl
  voxd queue redrive --queue calls      sends all dead letters of that queue back to it

Reads AWS_REGION, AWS_ENDPOINT_URL_SQS and the usual AWS credentials.";

/// Looks at queues, shows dead letters with their reasons, sends them back
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Queue {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Subcommand)]
enum QueueCommand {
    Depth(Depth),
    Dlq(Dlq),
    Redrive(RedriveArgs),
}

/// How many messages wait, are in flight, are delayed
#[derive(Args)]
struct Depth {
    /// Name or URL [default: all of VOXD_QUEUES]
    #[arg(long)]
    queue: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows dead letters with their reasons (each look counts as a delivery)
#[derive(Args)]
struct Dlq {
    /// Name or URL of the source queue [default: the one of VOXD_QUEUES]
    #[arg(long)]
    queue: Option<String>,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Print JSON, bodies included
    #[arg(long)]
    json: bool,
}

/// Sends the dead letters back to their queue
#[derive(Args)]
struct RedriveArgs {
    /// Name or URL of the source queue [default: the one of VOXD_QUEUES]
    #[arg(long)]
    queue: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Queue {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let config = context.config()?;
        match self.command {
            QueueCommand::Depth(depth) => {
                let (sqs, queues) = sqs::find_all(&config, depth.queue.as_deref()).await?;
                let mut found = Vec::new();
                for queue in &queues {
                    found.push((queue.name.clone(), sqs.depth(&queue.url).await?));
                    if let Some(dlq) = &queue.dead_letter {
                        found.push((dlq.name.clone(), sqs.depth(&dlq.url).await?));
                    }
                }
                if depth.json {
                    let items = found.into_iter().map(|(queue, depth)| json!({ "queue": queue, "depth": depth }));
                    return out::json(&items.collect::<Vec<_>>());
                }
                let heads = ["QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED"].map(str::to_owned).to_vec();
                let rows = found.into_iter().map(|(queue, depth)| {
                    vec![queue, depth.visible.to_string(), depth.in_flight.to_string(), depth.delayed.to_string()]
                });
                out::line(out::table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>()))
            }
            QueueCommand::Dlq(args) => {
                let (sqs, queue) = sqs::find(&config, args.queue.as_deref()).await?;
                let letters = sqs.peek(&queue, dead_letters(&queue)?, usize::from(args.limit)).await?;
                if args.json {
                    let items = letters.iter().map(|letter| {
                        json!({
                            "message_id": letter.message.message_id, "reason": letter.reason, "detail": letter.detail,
                            "sent_at": letter.message.sent_at, "body": letter.message.body,
                        })
                    });
                    return out::json(&items.collect::<Vec<_>>());
                }
                if letters.is_empty() {
                    return out::line("no dead letters");
                }
                for letter in &letters {
                    let reason = letter.reason.as_deref().unwrap_or("(moved by SQS: received too often)");
                    out::line(format!("{}  {reason}", letter.message.message_id))?;
                    if let Some(detail) = &letter.detail {
                        out::line(format!("    {detail}"))?;
                    }
                }
                Ok(())
            }
            QueueCommand::Redrive(args) => {
                let (sqs, queue) = sqs::find(&config, args.queue.as_deref()).await?;
                let redrive = sqs.redrive(&queue, dead_letters(&queue)?, |_| ()).await?;
                let name = &queue.name;
                match redrive {
                    Redrive::Started { task } if args.json => out::json(&json!({ "started": true, "task": task })),
                    Redrive::Moved { count } if args.json => out::json(&json!({ "moved": count })),
                    Redrive::Started { .. } => out::line(format!("SQS moves the dead letters back to {name} now")),
                    Redrive::Moved { count } => out::line(format!("{count} dead letters sent back to {name}")),
                }
            }
        }
    }
}

fn dead_letters(queue: &QueueInfo) -> Result<&DeadLetterQueue, CommandError> {
    let problem = || format!("queue {} has no dead-letter queue (no RedrivePolicy)", queue.name);
    queue.dead_letter.as_ref().ok_or_else(|| CommandError::Failed(problem()))
}
