//! Reads the evidence: the journal and the records of the simulator, the tables, the queues.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use voxd::sim::platform::Outcome;

use super::check::{AttemptRow, CallRow, Create, Evidence, Refusal};
use super::plan::Message;
use crate::harness::World;

pub async fn evidence(world: &World, sent: Vec<Message>) -> Evidence {
    let creates = world.sims().flat_map(|sim| sim.journal().creates());
    let played = world.sims().flat_map(|sim| {
        let script = |id: String| sim.script(&id).map(|script| (id, state_of(script.outcome).to_owned()));
        sim.call_ids().into_iter().filter_map(script)
    });
    let rejected: Vec<(Vec<u8>, String)> = rows(world, "select body, reason from rejected_messages").await;
    Evidence {
        sent,
        creates: creates
            .map(|entry| Create { attempt_id: entry.attempt_id, call_id: entry.call_id, made: entry.created })
            .collect(),
        made: played.collect::<BTreeMap<_, _>>(),
        calls: rows::<CallRow>(world, "select id, source, event_id, status, status_reason, to_number from calls").await,
        attempts: rows::<AttemptRow>(
            world,
            "select id, call_id, n, because, state, platform_call_id, to_number from call_attempts",
        )
        .await,
        rejected: rejected
            .into_iter()
            .map(|(body, reason)| Refusal { body: String::from_utf8_lossy(&body).into_owned(), reason })
            .collect(),
        dead_letters: dead_letters(world).await,
        left_in_queue: world.depth(&world.queue).await,
    }
}

/// How a call that was played to its end must stand in the ledger.
fn state_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::NoAnswer => "no_answer",
        Outcome::Busy => "busy",
        Outcome::Voicemail => "voicemail",
        _ => "failed",
    }
}

async fn rows<T>(world: &World, query: &'static str) -> Vec<T>
where
    T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
{
    sqlx::query_as(query).fetch_all(&world.db).await.expect("the tables are read")
}

/// Takes everything out of the dead-letter queue, over the wire as anybody would.
async fn dead_letters(world: &World) -> Vec<Refusal> {
    let http = reqwest::Client::new();
    let mut found = Vec::new();
    loop {
        let ask = json!({
            "QueueUrl": world.sqs.url("jobs-dlq"), "MaxNumberOfMessages": 10, "VisibilityTimeout": 3600,
            "MessageAttributeNames": ["All"],
        });
        let request = http
            .post(world.sqs.endpoint())
            .header("x-amz-target", "AmazonSQS.ReceiveMessage")
            .header("content-type", "application/x-amz-json-1.0")
            .body(ask.to_string());
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        if messages.is_empty() {
            return found;
        }
        found.extend(messages.iter().map(|message| Refusal {
            body: message["Body"].as_str().unwrap_or_default().to_owned(),
            reason: message["MessageAttributes"]["voxd.reason"]["StringValue"].as_str().unwrap_or_default().to_owned(),
        }));
    }
}
