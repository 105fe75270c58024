//! `voxd enqueue`: the producer.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::events::{self, Event};
use super::{CommandError, Context, out, sqs};
use crate::job;
use crate::queue::{Outgoing, Producer, SqsError};

const AFTER_HELP: &str = "\
Examples:
  voxd enqueue events.json --queue calls
  jq -c '.[]' leads.json | voxd enqueue -       JSON lines from another program
  voxd enqueue one.json --repeat 1000           a thousand events, with ids ID-1 … ID-1000
  voxd enqueue bad.json --no-validate           to see how bad input is treated
  voxd enqueue events.json --json | jq -r '.message_ids[]'

An event's source and id name its job for ever: sending the same file twice places no second call.
Nothing is sent when an event is not valid (voxd check FILE shows more about it).";

/// Sends job events to a queue, in batches
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Enqueue {
    /// JSON (one or an array) or JSON lines; - for standard input
    file: PathBuf,
    /// Name or URL [default: the one of VOXD_QUEUES]
    #[arg(long)]
    queue: Option<String>,
    /// Message group: what is sent in order on a FIFO queue, the tenant on a standard one
    #[arg(long)]
    group: Option<String>,
    /// Send the events so many times, with `-1`, `-2`, … at the end of their ids
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: Option<u32>,
    /// Send what is not valid, too
    #[arg(long)]
    no_validate: bool,
    /// Print JSON: queue, sent, failed, message_ids, errors
    #[arg(long)]
    json: bool,
}

impl Enqueue {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let config = context.config()?;
        let events = events::read(&self.file)?;
        if !self.no_validate {
            validate(&events)?;
        }
        let (sqs, queue) = sqs::find(&config, self.queue.as_deref()).await?;
        if queue.fifo && self.group.is_none() {
            return Err(CommandError::Usage(format!("{} is a FIFO queue: give --group", queue.name)));
        }
        let messages = self.messages(events);
        let bar = progress_bar(messages.len());
        let results = Producer::new(sqs, &queue.url).send(&messages, |n| bar.inc(n as u64)).await;
        bar.finish_and_clear();
        self.report(&queue.name, &results)
    }

    fn messages(&self, events: Vec<Event>) -> Vec<Outgoing> {
        let message = |body| Outgoing { group_id: self.group.clone(), ..Outgoing::new(body) };
        match self.repeat {
            None => events.into_iter().map(|event| message(event.text)).collect(),
            Some(times) => {
                let parsed: Vec<_> =
                    events.into_iter().map(|event| (serde_json::from_str(&event.text).ok(), event)).collect();
                let numbered = |n| parsed.iter().map(move |(value, event)| with_number(value.as_ref(), event, n));
                (1..=times).flat_map(numbered).map(message).collect()
            }
        }
    }

    fn report(&self, queue: &str, results: &[Result<String, SqsError>]) -> Result<(), CommandError> {
        let ids: Vec<&String> = results.iter().flatten().collect();
        let errors: Vec<Value> = results
            .iter()
            .enumerate()
            .filter_map(|(n, result)| Some(json!({ "n": n + 1, "error": result.as_ref().err()?.to_string() })))
            .collect();
        let (sent, failed) = (ids.len(), errors.len());
        if self.json {
            out::json(
                &json!({ "queue": queue, "sent": sent, "failed": failed, "message_ids": ids, "errors": errors }),
            )?;
        } else {
            out::line(format!("{sent} {} sent to {queue}", if sent == 1 { "event" } else { "events" }))?;
        }
        match results.iter().find_map(|result| result.as_ref().err()) {
            None => Ok(()),
            Some(first) => {
                let text = format!("{failed} of {} events were not sent to {queue}: {first}", results.len());
                Err(if first.is_retryable() { CommandError::Unavailable(text) } else { CommandError::Failed(text) })
            }
        }
    }
}

fn validate(events: &[Event]) -> Result<(), CommandError> {
    let problem = |event: &Event| {
        let rejection = job::parse(event.text.as_bytes()).err()?;
        let at = if rejection.field_path.is_empty() { String::new() } else { format!(" at {}", rejection.field_path) };
        Some(format!("event {}: {}{at}: {}", event.n, rejection.reason, rejection.detail))
    };
    let problems: Vec<String> = events.iter().filter_map(problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let shown = problems.iter().take(20).map(|problem| format!("\n  {problem}")).collect::<String>();
    let more = if problems.len() > 20 { "\n  …" } else { "" };
    let (bad, all) = (problems.len(), events.len());
    Err(CommandError::Failed(format!("nothing was sent, {bad} of {all} events are not valid:{shown}{more}")))
}

/// An event that has no id to number is sent as it stands.
fn with_number(value: Option<&Value>, event: &Event, n: u32) -> String {
    let Some(Value::Object(object)) = value else { return event.text.clone() };
    let Some(id) = object.get("id").and_then(Value::as_str) else { return event.text.clone() };
    let mut object = object.clone();
    object.insert("id".into(), format!("{id}-{n}").into());
    Value::Object(object).to_string()
}

/// Only for people who watch, and only where there is something to watch.
fn progress_bar(events: usize) -> ProgressBar {
    if events < 100 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(events as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} events  {per_sec}  {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_events_have_ids_of_their_own() {
        let event = Event { text: r#"{"id":"a","type":"t"}"#.into(), n: 1 };
        let value = serde_json::from_str(&event.text).ok();
        assert_eq!(with_number(value.as_ref(), &event, 7), r#"{"id":"a-7","type":"t"}"#);
        let bad = Event { text: "{\"id\":".into(), n: 1 };
        assert_eq!(with_number(None, &bad, 7), bad.text);
    }
}
