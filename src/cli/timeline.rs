//! One line of a call's timeline, readable at a glance.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::paint::Paint;
use crate::story::words;

/// What a line is made of.
pub(super) struct Line<'a> {
    pub kind: &'a str,
    pub to_status: Option<&'a str>,
    pub by: &'a str,
    pub detail: &'a Value,
}

/// Columns for who did it, where nobody's name is longer.
pub(super) const BY_WIDTH: usize = 10;

/// `STATUS  who  why` for a change of status; for anything else that was seen, the same dimmed and indented.
pub(super) fn text(line: &Line<'_>, by_width: usize, paint: Paint) -> String {
    let why = words::why(line.kind, line.to_status, line.detail);
    row(line.to_status, line.by, &why, by_width, paint)
}

/// [`text`] with the words given.
pub(super) fn row(to_status: Option<&str>, by: &str, why: &str, by_width: usize, paint: Paint) -> String {
    let text = match to_status {
        Some(status) => {
            format!("{}  {by:<by_width$}  {why}", paint.status(status, &format!("{status:<11}")))
        }
        None => paint.dim(format!("{:<11}  {by:<by_width$}  {why}", "·").trim_end()),
    };
    text.trim_end().to_owned()
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
        let show = |kind, to_status, by, detail: Value| {
            text(&Line { kind, to_status, by, detail: &detail }, BY_WIDTH, Paint::plain())
        };
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
