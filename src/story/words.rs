//! What a line of a call's timeline says, in words.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// A line without what surrounds it: `scheduled: retry, attempt 1 ended as busy`.
pub fn text(kind: &str, to_status: Option<&str>, detail: &Value) -> String {
    let why = why(kind, to_status, detail);
    match to_status {
        Some(status) if why.is_empty() => status.to_owned(),
        Some(status) => format!("{status}: {why}"),
        None => why,
    }
}

/// The same without the status that it tells.
pub fn why(kind: &str, to_status: Option<&str>, detail: &Value) -> String {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if to_status.is_some() {
        let due = text("scheduled_for").and_then(|at| at.parse::<DateTime<Utc>>().ok());
        let due = due.map(|at| format!("due {}", at.format("%H:%M:%S")));
        let parts: Vec<String> =
            [text("reason").map(str::to_owned), text("detail").map(str::to_owned), due].into_iter().flatten().collect();
        return parts.join(", ");
    }
    match kind {
        "message" => message(detail),
        "attempt" => attempt(detail),
        "request" => request(detail),
        "answer" => answer(detail),
        "outcome" => outcome(detail),
        "notification" => notification(detail),
        "suppression" => {
            let action = match text("action") {
                Some("removed") => "number taken off the do-not-call list",
                Some("extended") => "number stays longer on the do-not-call list",
                _ => "number put on the do-not-call list",
            };
            format!("{action}{}", because(text("because")))
        }
        "webhook_received" => webhook_received(detail),
        "webhook" | "poller" | "reconciler" => {
            let told = text("raw_status").or(text("state")).unwrap_or("facts");
            let moved = detail.get("moved").and_then(Value::as_bool).unwrap_or(false);
            let reason = text("reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
            let how = if kind == "webhook" { "webhook says" } else { "platform says" };
            format!("{how} {told}{reason}{}", if moved { "" } else { ", nothing new" })
        }
        "held" => {
            let why = [text("reason"), text("detail")].into_iter().flatten().collect::<Vec<_>>().join(": ");
            format!("waits for another reason: {why}")
        }
        "opt_out" => format!("number put on the do-not-call list{}", because(text("because"))),
        "cancel_requested" => format!("cancel requested{}", because(text("reason"))),
        "retry_requested" => format!("made due now{}", because(text("because"))),
        "settled" => format!("settled as {}{}", text("settled_as").unwrap_or("?"), because(text("because"))),
        "end_requested" => format!("platform asked to end it: {}", text("result").unwrap_or("?")),
        "withdrawal" => format!("platform asked to take it back{}", because(text("because"))),
        "look_up" => format!("looked up: {}", text("result").unwrap_or("?")),
        "contradiction" => format!("CONTRADICTION: the platform says {}", text("state").unwrap_or("something else")),
        other => other.replace('_', " "),
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn message(detail: &Value) -> String {
    let text = |key: &str| detail[key].as_str().unwrap_or_default();
    let group = detail["group"].as_str().map(|group| format!(", in the order of {group}")).unwrap_or_default();
    format!("job {}/{} asks for a call{group}", text("source"), text("id"))
}

fn attempt(detail: &Value) -> String {
    let platform = detail["platform"].as_str().unwrap_or_default();
    let because = detail["because"].as_str().filter(|because| *because != "first");
    let because = because.map(|because| format!(", because {because}")).unwrap_or_default();
    format!("attempt {} at {platform}: right to send committed{because}", detail["n"])
}

fn request(detail: &Value) -> String {
    let text = |key: &str| detail[key].as_str().unwrap_or_default();
    let what = if detail["rebuilt"] == true {
        format!("{} {}", text("method"), text("url"))
    } else {
        format!("request to {} (not shown: {})", text("platform"), text("problem"))
    };
    if detail["reached_the_platform"] == false { format!("{what}, which did not reach it") } else { what }
}

fn answer(detail: &Value) -> String {
    let text = |key: &str| detail[key].as_str();
    let status = match detail["http_status"].as_i64() {
        Some(status) => format!("answered {status}"),
        None => "no answer".to_owned(),
    };
    let verdict = text("verdict").unwrap_or("?").replace('_', " ");
    let reason = text("reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
    let id = text("platform_call_id").map(|id| format!(" as {id}")).unwrap_or_default();
    format!("{status}: {verdict}{id}{reason}{}", because(text("detail")))
}

fn webhook_received(detail: &Value) -> String {
    let mut parts = vec!["signed webhook stored".to_owned()];
    let said: Vec<String> = detail["said"].as_array().into_iter().flatten().map(said).collect();
    if !said.is_empty() {
        parts[0] = format!("signed webhook stored, says {}", said.join("; "));
    }
    match (detail["error"].as_str(), detail.get("verified_by"), detail.get("applied_at")) {
        (Some(error), ..) => parts.push(error.to_owned()),
        (None, Some(_), None) if detail.get("platform").is_some() => parts.push("not applied yet".into()),
        _ => {}
    }
    parts.join(", ")
}

fn said(told: &Value) -> String {
    let state = told["raw_status"].as_str().or(told["state"].as_str());
    let facts: Vec<&str> = told["facts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let opt_out = (told["opt_out"] == true).then_some("opted out");
    let state = state.into_iter().chain(opt_out).collect::<Vec<_>>().join(", ");
    match (state.is_empty(), facts.is_empty()) {
        (true, true) => "nothing".into(),
        (true, false) => facts.join(", "),
        (false, true) => state,
        (false, false) => format!("{state} ({})", facts.join(", ")),
    }
}

fn outcome(detail: &Value) -> String {
    let text = |key: &str| detail[key].as_str();
    let attempts = match detail["attempts"].as_u64() {
        Some(0) => "nothing was sent".to_owned(),
        Some(1) => "1 attempt".to_owned(),
        n => format!("{} attempts", n.unwrap_or_default()),
    };
    let cost = text("cost_amount").zip(text("cost_currency")).map(|(amount, currency)| {
        format!("{amount} {currency}{}", text("cost_source").map(|source| format!(" {source}")).unwrap_or_default())
    });
    let facts = [
        Some(attempts),
        detail["duration_seconds"].as_i64().map(|seconds| format!("{seconds} s")),
        cost,
        text("answered_by").map(|who| format!("answered by {who}")),
        text("ended_by").map(|who| format!("ended by {who}")),
    ];
    let reason = text("reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    format!("ended as {}{reason}: {}", text("status").unwrap_or("?"), facts.join(", "))
}

fn notification(detail: &Value) -> String {
    let text = |key: &str| detail[key].as_str();
    let status = text("status").map(|status| format!(" ({status})")).unwrap_or_default();
    let tries = detail["attempts"].as_u64().unwrap_or_default();
    let tries = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
    let error = because(text("last_error"));
    let became = match (text("delivered_at"), text("abandoned_at")) {
        (Some(_), _) => format!("delivered in {tries}"),
        (None, Some(_)) => format!("GIVEN UP after {tries}{error}"),
        (None, None) => format!("not delivered yet, {tries}{error}"),
    };
    format!("{}{status} to {}: {became}", text("type").unwrap_or("event"), text("address").unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_says_what_happened() {
        let lines = [
            text("message", None, &json!({ "source": "crm", "id": "lead-42", "type": "voice.call.requested" })),
            text("status", Some("accepted"), &json!({})),
            text("status", Some("scheduled"), &json!({ "reason": "retry", "detail": "attempt 1 ended as busy" })),
            text("attempt", None, &json!({ "n": 2, "because": "retry: attempt 1 ended as busy", "platform": "vapi" })),
            text("request", None, &json!({ "rebuilt": true, "method": "POST", "url": "https://api.vapi.ai/call" })),
            text(
                "request",
                None,
                &json!({ "rebuilt": false, "problem": "vapi is off", "platform": "vapi", "reached_the_platform": false }),
            ),
            text(
                "answer",
                None,
                &json!({ "n": 1, "http_status": 200, "verdict": "placed", "platform_call_id": "c-1" }),
            ),
            text(
                "answer",
                None,
                &json!({ "n": 1, "http_status": null, "verdict": "in_doubt", "reason": "timeout", "detail": "no answer within 30s" }),
            ),
            text(
                "webhook_received",
                None,
                &json!({
                    "platform": "vapi", "verified_by": "hmac", "applied_at": "2026-01-02T03:04:05Z",
                    "said": [{ "state": "completed", "raw_status": "ended", "facts": ["cost", "duration_seconds"] }],
                }),
            ),
            text(
                "webhook_received",
                None,
                &json!({ "platform": "vapi", "verified_by": "hmac", "said": [{ "facts": ["cost"] }] }),
            ),
            text(
                "outcome",
                None,
                &json!({
                    "status": "completed", "attempts": 2, "duration_seconds": 42, "cost_amount": "0.12", "cost_currency": "USD",
                    "cost_source": "reported", "answered_by": "human",
                }),
            ),
            text(
                "notification",
                None,
                &json!({
                    "type": "voice.call.finished", "status": "completed", "destination": "queue", "address": "outcomes", "attempts": 1,
                    "delivered_at": "2026-01-02T03:04:05Z",
                }),
            ),
            text(
                "notification",
                None,
                &json!({
                    "type": "voice.call.finished", "destination": "url", "address": "https://x.example/", "attempts": 12,
                    "abandoned_at": "2026-01-02T03:04:05Z", "last_error": "500",
                }),
            ),
            text("suppression", None, &json!({ "action": "added", "source": "api", "because": "asked by mail" })),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        job crm/lead-42 asks for a call
        accepted
        scheduled: retry, attempt 1 ended as busy
        attempt 2 at vapi: right to send committed, because retry: attempt 1 ended as busy
        POST https://api.vapi.ai/call
        request to vapi (not shown: vapi is off), which did not reach it
        answered 200: placed as c-1
        no answer: in doubt (timeout): no answer within 30s
        signed webhook stored, says ended (cost, duration_seconds)
        signed webhook stored, says cost, not applied yet
        ended as completed: 2 attempts, 42 s, 0.12 USD reported, answered by human
        voice.call.finished (completed) to outcomes: delivered in 1 try
        voice.call.finished to https://x.example/: GIVEN UP after 12 tries: 500
        number put on the do-not-call list: asked by mail
        ");
    }
}
