//! One line of a call's timeline, readable at a glance.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::paint::Paint;

/// What a line is made of.
pub(super) struct Line<'a> {
    pub kind: &'a str,
    pub to_status: Option<&'a str>,
    pub by: &'a str,
    pub detail: &'a Value,
}

/// `STATUS  who  why` for a change of status; for anything else that was seen, the same dimmed and indented.
pub(super) fn text(line: &Line<'_>, paint: Paint) -> String {
    let why = why(line);
    let text = match line.to_status {
        Some(status) => {
            format!("{}  {:<10}  {why}", paint.status(status, &format!("{status:<11}")), line.by)
        }
        None => paint.dim(&format!("{:<11}  {:<10}  {why}", "·", line.by)),
    };
    text.trim_end().to_owned()
}

fn why(line: &Line<'_>) -> String {
    let detail = line.detail;
    let text = |key: &str| detail.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if line.to_status.is_some() {
        let due = text("scheduled_for").and_then(|at| at.parse::<DateTime<Utc>>().ok());
        let due = due.map(|at| format!("due {}", at.format("%H:%M:%S")));
        let parts: Vec<String> =
            [text("reason").map(str::to_owned), text("detail").map(str::to_owned), due].into_iter().flatten().collect();
        return parts.join(", ");
    }
    match line.kind {
        "webhook_received" => "signed webhook stored".to_owned(),
        "webhook" | "poller" | "reconciler" => {
            let told = text("raw_status").or(text("state")).unwrap_or("facts");
            let moved = detail.get("moved").and_then(Value::as_bool).unwrap_or(false);
            let reason = text("reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
            let how = if line.kind == "webhook" { "webhook says" } else { "platform says" };
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
        "look_up" => format!("looked up: {}", text("result").unwrap_or("?")),
        "contradiction" => format!("CONTRADICTION: the platform says {}", text("state").unwrap_or("something else")),
        other => other.replace('_', " "),
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// `+12.3 s` since `start`.
pub(super) fn since(start: DateTime<Utc>, at: DateTime<Utc>) -> String {
    let ms = (at - start).num_milliseconds().max(0);
    match ms {
        0..=99_999 => format!("+{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("+{}", crate::config::duration::format(std::time::Duration::from_secs(ms as u64 / 1000))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_say_what_who_and_why() {
        let show =
            |kind, to_status, by, detail: Value| text(&Line { kind, to_status, by, detail: &detail }, Paint::plain());
        let lines = [
            show("status", Some("accepted"), "queue", json!({})),
            show(
                "status",
                Some("scheduled"),
                "webhook",
                json!({"reason": "retry", "detail": "attempt 1 ended as busy", "scheduled_for": "2026-01-02T03:04:05Z"}),
            ),
            show("webhook", None, "webhook", json!({"raw_status": "completed", "moved": true})),
            show("poller", None, "poller", json!({"moved": false})),
            show("settled", None, "operator:ada", json!({"settled_as": "absent", "because": "carrier log"})),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        accepted     queue
        scheduled    webhook     retry, attempt 1 ended as busy, due 03:04:05
        ·            webhook     webhook says completed
        ·            poller      platform says facts, nothing new
        ·            operator:ada  settled as absent: carrier log
        ");
    }

    #[test]
    fn time_since_the_start_is_short() {
        let start = DateTime::UNIX_EPOCH;
        let after = |ms| since(start, start + chrono::TimeDelta::milliseconds(ms));
        assert_eq!((after(0), after(12_345), after(125_000)), ("+0.0 s".into(), "+12.3 s".into(), "+2m 5s".into()));
    }
}
