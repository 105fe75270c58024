//! The calls that were made, as records and listings show them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use super::super::platform::{Outcome, Phase, Playback, Script};
use crate::clock::{self, Monotonic};

/// US dollars per talked minute, and the least that an attempt costs (the vendor's price page of 2025-12).
const PRICE_PER_MINUTE: f64 = 0.14;
const LEAST_PRICE: f64 = 0.015;

pub struct Call {
    pub id: String,
    pub request: Map<String, Value>,
    pub script: Script,
    pub playback: Playback,
    pub created_at: DateTime<Utc>,
    /// Rings when the call is stopped.
    pub stopped: Arc<Notify>,
    /// `sent_at`, status and kind of each webhook.
    pub deliveries: Vec<Value>,
}

#[derive(Default)]
pub struct Calls {
    all: Vec<Call>,
    by_id: HashMap<String, usize>,
    by_number: HashMap<String, Vec<usize>>,
}

impl Calls {
    /// Makes a call from an accepted request.
    pub fn add(&mut self, request: Map<String, Value>, script: Script, scale: f64) -> String {
        let id = Uuid::new_v4().to_string();
        let talk = if script.outcome.is_answered() { script.talk } else { Duration::ZERO };
        let playback = Playback::new(clock::monotonic(), script.ring.mul_f64(scale), talk.mul_f64(scale));
        let index = self.all.len();
        self.by_id.insert(id.clone(), index);
        let number = text(&request, "phone_number");
        self.by_number.entry(number).or_default().push(index);
        self.all.push(Call {
            id: id.clone(),
            request,
            script,
            playback,
            created_at: clock::now(),
            stopped: Arc::new(Notify::new()),
            deliveries: Vec::new(),
        });
        id
    }

    pub fn get(&self, id: &str) -> Option<&Call> {
        self.by_id.get(id).and_then(|&index| self.all.get(index))
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Call> {
        self.by_id.get(id).and_then(|&index| self.all.get_mut(index))
    }

    pub fn ids(&self) -> Vec<String> {
        self.all.iter().map(|call| call.id.clone()).collect()
    }

    pub fn record(&self, id: &str) -> Option<Value> {
        self.get(id).map(|call| call.record(clock::monotonic()))
    }

    /// In order of creation; only those to `number` (exactly as it was called) where one is given.
    pub fn to<'a>(&'a self, number: Option<&str>) -> Box<dyn DoubleEndedIterator<Item = &'a Call> + 'a> {
        match number {
            None => Box::new(self.all.iter()),
            Some(number) => {
                let indexes = self.by_number.get(number).map(Vec::as_slice).unwrap_or_default();
                Box::new(indexes.iter().map(|&index| &self.all[index]))
            }
        }
    }

    /// When this number was last called.
    pub fn last_to(&self, number: &str) -> Option<Monotonic> {
        self.to(Some(number)).next_back().map(|call| call.playback.created())
    }
}

impl Call {
    pub fn is_over(&self, now: Monotonic) -> bool {
        matches!(self.playback.phase(now), Phase::Ended { .. })
    }

    pub fn webhook(&self) -> Option<&str> {
        self.request.get("webhook").and_then(Value::as_str)
    }

    pub fn wants_event(&self, event: &str) -> bool {
        let events = self.request.get("webhook_events").and_then(Value::as_array);
        events.is_some_and(|events| events.iter().any(|wanted| wanted == event))
    }

    /// As `GET /v1/calls/{id}` and the post-call webhook show it.
    pub fn record(&self, now: Monotonic) -> Value {
        let mut record = self.row(now, false);
        let given = |name: &str| self.request.get(name).cloned().unwrap_or(Value::Null);
        record["metadata"] = given("metadata");
        record["request_data"] = given("request_data");
        record["max_duration"] = self.request.get("max_duration").cloned().unwrap_or(json!(30));
        record["pathway_id"] = given("pathway_id");
        record["record"] = json!(self.request.get("record") == Some(&json!(true)));
        record["c_id"] = json!(self.id);
        record["variables"] = json!({});
        record["endpoint_url"] = json!("api.prod.bland.ai");
        record["isRetry"] = json!(false);
        let ended = self.ended(now);
        record["transcripts"] = json!([]);
        record["concatenated_transcript"] = json!("");
        if let Some(ended) = ended
            && ended.seconds > 0.0
            && self.script.outcome == Outcome::Completed
        {
            let at = |seconds: i64| stamp(self.started_at() + TimeDelta::seconds(seconds));
            record["transcripts"] = json!([
                { "id": 1, "user": "assistant", "text": self.said(), "created_at": at(1) },
                { "id": 2, "user": "user", "text": "Yes, thank you.", "created_at": at(3) },
                { "id": 3, "user": "agent-action", "text": "Ended call", "created_at": at(5) },
            ]);
            record["concatenated_transcript"] =
                json!(format!("assistant: {} \n user: Yes, thank you. \n ", self.said()));
            record["summary"] = json!("The person confirmed.");
            record["disposition_tag"] = json!("COMPLETED_ACTION");
            if record["record"] == json!(true) {
                record["recording_url"] = json!(format!("https://api.bland.ai/v1/recordings/{}", self.id));
            }
        }
        record
    }

    /// As a listing shows it: without transcripts and, as in the vendor's sample, without metadata.
    pub fn row(&self, now: Monotonic, without_country: bool) -> Value {
        let to = text(&self.request, "phone_number");
        let ended = self.ended(now);
        let queue_status = match (self.playback.phase(now), ended) {
            (_, Some(ended)) => ended.queue_status,
            (Phase::Ringing, _) => "allocated",
            (_, _) => "started",
        };
        let answered = self.script.outcome.is_answered() && now >= self.playback.answered();
        json!({
            "call_id": self.id,
            "to": if without_country { to.strip_prefix("+1").unwrap_or(&to) } else { &to },
            "from": self.request.get("from").cloned().unwrap_or(json!("+14155550199")),
            "inbound": false,
            "batch_id": null,
            "created_at": stamp(self.created_at),
            "started_at": answered.then(|| stamp(self.started_at())),
            "end_at": ended.map(|ended| stamp(self.started_at() + TimeDelta::milliseconds((ended.seconds * 1000.0) as i64))),
            "completed": ended.is_some_and(|ended| ended.queue_status != "call_error"),
            "queue_status": queue_status,
            "status": ended.map(|ended| ended.status),
            "answered_by": ended.and_then(|ended| ended.answered_by),
            "error_message": ended.and_then(|ended| ended.error_message),
            "call_length": ended.map_or(0.0, |ended| ended.seconds / 60.0),
            "corrected_duration": ended.map(|ended| format!("{}", ended.seconds.round())),
            "price": ended.map_or(0.0, |ended| round4((ended.seconds / 60.0 * PRICE_PER_MINUTE).max(LEAST_PRICE))),
            "call_ended_by": ended.and_then(|ended| ended.ended_by),
        })
    }

    fn said(&self) -> String {
        let task = text(&self.request, "task");
        if task.is_empty() { "Hello.".into() } else { task.chars().take(200).collect() }
    }

    /// When somebody picked up, on the simulator's clock.
    fn started_at(&self) -> DateTime<Utc> {
        let ringing = self.playback.answered().saturating_duration_since(self.playback.created());
        self.created_at + TimeDelta::from_std(ringing).unwrap_or_default()
    }

    fn ended(&self, now: Monotonic) -> Option<Ended> {
        let Phase::Ended { talked, stopped } = self.playback.phase(now) else { return None };
        let none = Ended {
            status: "completed",
            queue_status: "complete",
            answered_by: None,
            error_message: None,
            ended_by: None,
            seconds: 0.0,
        };
        let failed = |message| Ended { status: "failed", error_message: Some(message), ..none };
        if stopped && talked.is_zero() {
            return Some(Ended { status: "canceled", ..none });
        }
        // What the script says was talked, not what the scaled clock says; but a stopped call only as far as it came.
        let whole = self.script.talk.as_secs_f64();
        let seconds = if stopped { whole.min(talked.as_secs_f64()) } else { whole };
        let by = if stopped { "ASSISTANT" } else { "USER" };
        Some(match self.script.outcome {
            Outcome::Completed => Ended { answered_by: Some("human"), ended_by: Some(by), seconds, ..none },
            Outcome::Voicemail => {
                Ended { answered_by: Some("voicemail"), ended_by: Some("ASSISTANT"), seconds: seconds.min(4.0), ..none }
            }
            Outcome::NoAnswer => Ended { status: "no-answer", answered_by: Some("no-answer"), ..none },
            Outcome::Busy => {
                Ended { status: "busy", error_message: Some("Call failed. SIP 486: The number is busy."), ..none }
            }
            Outcome::SpamBlocked => failed("Call failed. SIP 608: The call was blocked by the carrier as spam."),
            Outcome::NumberNotFound => failed("Call failed. SIP 404: The number was not found."),
            Outcome::Unavailable => failed("Call failed. SIP 480: The number is temporarily unavailable."),
            Outcome::EndsUnknown => Ended { status: "unknown", error_message: Some("unknown"), ..none },
            Outcome::PlatformFailure => {
                Ended { queue_status: "call_error", error_message: Some("Unable to start call."), ..failed("") }
            }
        })
    }
}

#[derive(Clone, Copy)]
struct Ended {
    status: &'static str,
    queue_status: &'static str,
    answered_by: Option<&'static str>,
    error_message: Option<&'static str>,
    ended_by: Option<&'static str>,
    seconds: f64,
}

fn text(request: &Map<String, Value>, name: &str) -> String {
    request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, false)
}

fn round4(amount: f64) -> f64 {
    (amount * 10_000.0).round() / 10_000.0
}
