//! What one chaos run does, decided by its seed before it starts: the messages, the scripts, the order of the faults.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use voxd::sim::platform::{Answer, Outcome, Script, SimOptions, WebhookFault};
use voxd::sim::sqs::{ErrorKind, Fault, Faults, Operation, Rule};

/// Sizes of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Good jobs, each under its own name.
    pub events: usize,
    /// `kill -9` of a replica.
    pub kills: usize,
    /// Immediate stops of Postgres.
    pub stops: usize,
}

impl Plan {
    /// Given sizes, changed by `VOXD_CHAOS_SEED`, `_EVENTS`, `_KILLS`, `_STOPS`.
    pub fn from_environment(events: usize, kills: usize, stops: usize) -> Self {
        fn read<T: std::str::FromStr>(name: &str) -> Option<T> {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
        }
        let by_clock = || u64::try_from(voxd::clock::now().timestamp_millis()).unwrap_or_default();
        let size = |name, usual| read(name).unwrap_or(usual);
        Self {
            seed: read("VOXD_CHAOS_SEED").unwrap_or_else(by_clock),
            events: size("VOXD_CHAOS_EVENTS", events),
            kills: size("VOXD_CHAOS_KILLS", kills),
            stops: size("VOXD_CHAOS_STOPS", stops),
        }
    }

    pub fn chance(&self, purpose: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// One message that the producer sends, and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub body: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A job, or a repeat of it under another message id.
    Good { event_id: String },
    /// To be refused with this reason.
    Bad { reason: &'static str },
}

/// The messages in the order in which they are sent, and those that only make sense after all of them: reused keys.
///
/// `configs`: a voice configuration for each platform that is called.
pub fn messages(plan: &Plan, configs: &[Value]) -> (Vec<Message>, Vec<Message>) {
    let mut chance = plan.chance(1);
    let mut first = Vec::new();
    let mut after = Vec::new();
    for n in 0..plan.events {
        let event = event(n, configs, &mut chance);
        let kind = Kind::Good { event_id: event_id(n) };
        first.push(Message { body: event.to_string(), kind: kind.clone() });
        if chance.f64() < 0.2 {
            // The same job in other bytes: what counts is the parsed content.
            let body = if chance.bool() { format!("{event:#}") } else { event.to_string() };
            first.push(Message { body, kind });
        }
        if chance.f64() < 0.02 {
            let bad = bad(n, event, &mut chance);
            let list = if bad.kind == (Kind::Bad { reason: "key_reused" }) { &mut after } else { &mut first };
            list.push(bad);
        }
    }
    chance.shuffle(&mut first);
    (first, after)
}

fn event_id(n: usize) -> String {
    format!("event-{n:05}")
}

fn event(n: usize, configs: &[Value], chance: &mut fastrand::Rng) -> Value {
    // One in fifty shares its number with the one before: those two must not be called at the same time.
    let line = if n > 0 && chance.f64() < 0.02 { n - 1 } else { n };
    let number = format!("+1415{:03}{:04}", 200 + line / 10_000, line % 10_000);
    let mut config = configs[chance.usize(0..configs.len())].clone();
    if chance.bool() {
        config["redial"] = json!("after_proof");
    }
    if chance.f64() < 0.3 {
        config["retry"] =
            json!({ "max_attempts": 3, "on": ["no_answer", "busy"], "backoff": { "initial": "1s", "factor": 1.0 } });
    }
    if chance.bool()
        && let Some(config) = config.as_object_mut()
    {
        config.remove("webhook_config");
    }
    json!({
        "specversion": "1.0", "source": "chaos", "id": event_id(n), "type": "voice.call.requested",
        "data": {
            "content": format!("Hello, this is reminder {n}."), "lead": { "id": format!("lead-{n}"), "phone_number": number },
            "voice_config": config, "metadata": { "n": n },
        },
    })
}

fn bad(n: usize, good: Value, chance: &mut fastrand::Rng) -> Message {
    let mut event = good;
    let id = event["id"].clone();
    event["id"] = json!(format!("bad-{n:05}"));
    let reason = match chance.u8(0..5) {
        0 => {
            return Message { body: format!("{{\"n\": {n}, not json"), kind: Kind::Bad { reason: "not_json" } };
        }
        1 => {
            event["data"]["voice_config"]["max_durration"] = json!(5);
            "schema"
        }
        2 => {
            event["data"]["lead"]["phone_number"] = json!("0049 30 123");
            "schema"
        }
        3 => {
            event["type"] = json!("voice.call.reqested");
            "unknown_type"
        }
        _ => {
            event["id"] = id;
            event["data"]["content"] = json!("Something else under a name that is taken.");
            "key_reused"
        }
    };
    Message { body: event.to_string(), kind: Kind::Bad { reason } }
}

/// Every answer, outcome and webhook fault of the simulators, most often a plain success. Of a fifth of the calls all webhooks
/// are lost, of a fifth they come in the wrong order.
pub fn simulators(plan: &Plan) -> SimOptions {
    let mut mix = vec![(365, Script::default())];
    for answer in Answer::ALL {
        let weight = match answer {
            Answer::Accepted => 0,
            // These slow the whole account, and the run with it.
            Answer::RateLimited | Answer::RateLimitedWithWait => 2,
            _ => 8,
        };
        mix.push((weight, Script::answering(*answer)));
    }
    mix.extend(Outcome::ALL.iter().map(|outcome| (15, Script::ending(*outcome))));
    mix.extend(WebhookFault::ALL.iter().map(|fault| {
        let weight = if matches!(fault, WebhookFault::Lost | WebhookFault::Reordered) { 250 } else { 15 };
        (weight, Script::with_webhooks(*fault))
    }));
    SimOptions {
        seed: plan.seed,
        mix,
        scripts_by_number: false,
        time_scale: 0.05,
        latency: Duration::from_millis(20),
        // Longer than the daemon waits.
        slow_every: Some((101, Duration::from_millis(2500))),
        slow: Duration::from_millis(2500),
        ..SimOptions::default()
    }
}

/// What goes wrong at SQS while the faults last.
pub fn sqs_faults() -> Faults {
    use Operation::*;
    let rule = |operation, probability, fault| Rule::on(operation, fault).probability(probability);
    Faults {
        rules: vec![
            rule(ReceiveMessage, 0.05, Fault::Duplicate).queue("jobs"),
            rule(ReceiveMessage, 0.02, Fault::DropAfter).queue("jobs"),
            rule(ReceiveMessage, 0.02, Fault::Error(ErrorKind::InternalError)).queue("jobs"),
            rule(DeleteMessageBatch, 0.05, Fault::FailEntries(ErrorKind::InternalError)),
            rule(DeleteMessageBatch, 0.03, Fault::DropAfter),
            rule(DeleteMessageBatch, 0.03, Fault::DropBefore),
            rule(ChangeMessageVisibilityBatch, 0.1, Fault::DropBefore),
            rule(SendMessageBatch, 0.1, Fault::FailEntries(ErrorKind::InternalError)),
            rule(SendMessageBatch, 0.02, Fault::DropAfter),
            rule(SendMessageBatch, 0.02, Fault::ErrorAfter(ErrorKind::ServiceUnavailable)),
        ],
    }
}

/// One blow, in the order in which they fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9` of the replica of this number, started again after the pause.
    Kill { replica: usize, pause: Duration },
    /// Postgres stops at once and stays away for the pause.
    StopPostgres { pause: Duration },
}

pub fn blows(plan: &Plan, replicas: usize) -> Vec<Blow> {
    let mut chance = plan.chance(2);
    let mut blows = Vec::new();
    for _ in 0..plan.kills {
        let pause = Duration::from_millis(chance.u64(0..1500));
        blows.push(Blow::Kill { replica: chance.usize(0..replicas), pause });
    }
    for _ in 0..plan.stops {
        blows.push(Blow::StopPostgres { pause: Duration::from_millis(chance.u64(200..4000)) });
    }
    chance.shuffle(&mut blows);
    blows
}

#[test]
fn a_seed_gives_one_plan_with_the_promised_shares() {
    let plan = Plan { seed: 7, events: 5000, kills: 20, stops: 3 };
    let configs = [json!({ "platform": "bland_ai" }), json!({ "platform": "another" })];
    let (first, after) = messages(&plan, &configs);
    assert_eq!((first.clone(), after.clone()), messages(&plan, &configs));
    assert_ne!(first, messages(&Plan { seed: 8, ..plan.clone() }, &configs).0);
    let bad = first.iter().chain(&after).filter(|message| matches!(message.kind, Kind::Bad { .. })).count();
    let good = first.len() + after.len() - bad;
    let names: BTreeSet<_> =
        first.iter().filter(|m| matches!(m.kind, Kind::Good { .. })).map(|m| format!("{:?}", m.kind)).collect();
    assert_eq!(names.len(), 5000);
    assert!((900..1100).contains(&(good - 5000)), "{good}");
    assert!((70..130).contains(&bad) && !after.is_empty(), "{bad}");
    assert_eq!(blows(&plan, 2).len(), 23);
}
