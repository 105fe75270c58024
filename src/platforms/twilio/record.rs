//! Twilio's Call resource (the answers of `GET …/Calls/{sid}.json` and of listings) in our words.
//!
//! Every member may be null (twilio-oai), numbers are texts, dates are RFC 2822. A wrong type is an absent value.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::Value;

use super::super::words::{self, storable};
use crate::call::{AttemptState, CallUpdate, Facts, Money};

/// A call lasts 24 hours at most; this is far beyond.
const MAX_SECONDS: i32 = 7 * 86_400;

/// The update that a Call resource amounts to. Without a state where its status is none that we know.
pub fn read(call: &Value) -> CallUpdate {
    let text = |key: &str| call.get(key).and_then(Value::as_str).unwrap_or_default();
    let answered_by = answered_by(text("answered_by"));
    let (state, reason) = match state(text("status"), answered_by.as_deref()) {
        Some((state, reason)) => (Some(state), reason),
        None => (None, None),
    };
    let ended = state.is_some_and(AttemptState::is_outcome);
    let ended_at = time(text("end_time")).filter(|_| ended);
    let duration = seconds(text("duration")).filter(|_| ended);
    // `start_time` is when it was dialled; what was talked began later.
    let started_at = ended_at.zip(duration).map(|(end, seconds)| end - TimeDelta::seconds(seconds.into()));
    CallUpdate {
        platform_call_id: sid(call).map(str::to_owned),
        state,
        reason: reason.map(str::to_owned),
        raw_status: raw_status(text("status"), text("answered_by")),
        occurred_at: ended_at,
        facts: Facts {
            duration_seconds: duration,
            cost: price(call),
            answered_by,
            started_at,
            ended_at,
            ..Facts::default()
        },
        ..CallUpdate::default()
    }
}

/// The call's SID.
pub fn sid(call: &Value) -> Option<&str> {
    words::call_id(call, "sid").filter(|sid| is_call_sid(sid))
}

/// `CA` and, as documented, 32 hex digits; whatever cannot leave its path will do.
pub fn is_call_sid(sid: &str) -> bool {
    words::is_plausible_id(sid) && sid.starts_with("CA")
}

/// The statuses of the resource and of `CallStatus` in callbacks, with what answered (in our words): `completed` means
/// "connected and ended", also with a machine or a fax.
pub fn state(status: &str, answered_by: Option<&str>) -> Option<(AttemptState, Option<&'static str>)> {
    use AttemptState::*;
    Some(match status {
        // `initiated` stands in callbacks only: dialling, which rings nowhere yet.
        "queued" | "initiated" => (Placed, None),
        "ringing" => (Ringing, None),
        "in-progress" => (InProgress, None),
        "completed" => match answered_by {
            Some("voicemail") => (Voicemail, None),
            Some("fax") => (Failed, Some("fax")),
            _ => (Completed, None),
        },
        "busy" => (Busy, None),
        "no-answer" => (NoAnswer, None),
        "canceled" => (Cancelled, None),
        "failed" => (Failed, Some("provider_error")),
        _ => return None,
    })
}

/// `human` and `unknown` as they are, `machine_start`, `machine_end_beep` and the like as `voicemail`; other words as they come.
pub fn answered_by(word: &str) -> Option<String> {
    match word {
        "" => None,
        machine if machine.starts_with("machine_") => Some("voicemail".into()),
        other => Some(storable(other, 64)),
    }
}

/// The platform's own words for the state.
pub fn raw_status(status: &str, answered_by: &str) -> Option<String> {
    let part = |name: &str, word: &str| (!word.is_empty()).then(|| format!("{name}={}", storable(word, 64)));
    let parts: Vec<String> = [part("status", status), part("answered_by", answered_by)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Whole seconds, as a text.
pub fn seconds(text: &str) -> Option<i32> {
    text.trim().parse().ok().filter(|seconds| (0..=MAX_SECONDS).contains(seconds))
}

/// RFC 2822, within what Postgres can hold.
pub fn time(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc);
    (DateTime::UNIX_EPOCH..DateTime::from_timestamp(32_503_680_000, 0)?).contains(&at).then_some(at)
}

/// `price` is what the account was charged, as a negative text; null until the call is rated, minutes after its end or later.
/// It is for the connection alone: recognition of machines, recording and speech are billed apart.
fn price(call: &Value) -> Option<Money> {
    let price = call.get("price")?;
    let text = price.as_str().map(str::to_owned).or_else(|| price.is_number().then(|| price.to_string()))?;
    let amount = Decimal::from_str(text.trim()).or_else(|_| Decimal::from_scientific(text.trim())).ok()?.abs();
    let currency = call.get("price_unit")?.as_str()?.trim().to_ascii_uppercase();
    let is_currency = currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase());
    (is_currency && amount < Decimal::from(1_000_000))
        .then(|| Money { amount: amount.round_dp(6).normalize(), currency })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SID: &str = "CA00000000000000000000000000000001";

    fn ended(status: &str, answered_by: Option<&str>) -> CallUpdate {
        read(&json!({ "sid": SID, "status": status, "answered_by": answered_by, "duration": "65",
            "start_time": "Sun, 30 Aug 2026 10:00:00 +0000", "end_time": "Sun, 30 Aug 2026 10:01:14 +0000" }))
    }

    #[test]
    fn every_documented_status_has_its_state() {
        use AttemptState::*;
        for (status, state, reason) in [
            ("queued", Placed, None),
            ("ringing", Ringing, None),
            ("in-progress", InProgress, None),
            ("completed", Completed, None),
            ("busy", Busy, None),
            ("no-answer", NoAnswer, None),
            ("canceled", Cancelled, None),
            ("failed", Failed, Some("provider_error")),
        ] {
            let update = ended(status, None);
            assert_eq!((update.state, update.reason.as_deref()), (Some(state), reason), "{status}");
        }
    }

    #[test]
    fn an_unknown_status_is_kept_and_not_guessed() {
        let update = ended("transcended", None);
        assert_eq!((update.state, update.raw_status.as_deref()), (None, Some("status=transcended")));
        assert_eq!(read(&json!({})).state, None);
        assert_eq!(read(&json!([1])).state, None);
    }

    #[test]
    fn completed_is_what_answered() {
        use AttemptState::*;
        for (answered_by, state, word) in [
            (None, Completed, None),
            (Some("human"), Completed, Some("human")),
            (Some("unknown"), Completed, Some("unknown")),
            (Some("machine_start"), Voicemail, Some("voicemail")),
            (Some("machine_end_beep"), Voicemail, Some("voicemail")),
            (Some("machine_end_silence"), Voicemail, Some("voicemail")),
            (Some("machine_end_other"), Voicemail, Some("voicemail")),
            (Some("fax"), Failed, Some("fax")),
            (Some("parrot"), Completed, Some("parrot")),
        ] {
            let update = ended("completed", answered_by);
            assert_eq!((update.state, update.facts.answered_by.as_deref()), (Some(state), word), "{answered_by:?}");
        }
        assert_eq!(ended("completed", Some("fax")).reason.as_deref(), Some("fax"));
    }

    #[test]
    fn facts_are_texts_of_numbers_and_dates() {
        let update = ended("completed", None);
        assert_eq!(update.facts.duration_seconds, Some(65));
        assert_eq!(
            update.facts.started_at,
            "2026-08-30T10:00:09Z".parse().ok(),
            "answered nine seconds after dialling"
        );
        assert_eq!(
            (update.facts.ended_at, update.occurred_at),
            (update.occurred_at, "2026-08-30T10:01:14Z".parse().ok())
        );
        // A call under way has no end, whatever stands there.
        assert_eq!(ended("in-progress", None).facts.duration_seconds, None);
        for bad in ["-1", "1.5", "99999999", "x"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_price_is_negative_text_and_null_until_it_is_rated() {
        let price = |price: Value, unit: Value| {
            let update = read(&json!({ "sid": SID, "status": "completed", "price": price, "price_unit": unit }));
            update.facts.cost.map(|cost| format!("{} {}", cost.amount, cost.currency))
        };
        assert_eq!(price(json!("-0.01400"), json!("USD")).as_deref(), Some("0.014 USD"));
        assert_eq!(price(json!("-0.01400"), json!("eur")).as_deref(), Some("0.014 EUR"));
        assert_eq!(price(json!(-0.014), json!("USD")).as_deref(), Some("0.014 USD"));
        assert_eq!(price(json!("0"), json!("USD")).as_deref(), Some("0 USD"));
        for (amount, unit) in [
            (Value::Null, json!("USD")),
            (json!("-0.014"), Value::Null),
            (json!("-0.014"), json!("dollars")),
            (json!("-1e30"), json!("USD")),
            (json!("cheap"), json!("USD")),
        ] {
            assert_eq!(price(amount.clone(), unit), None, "{amount}");
        }
    }

    #[test]
    fn only_call_sids_are_ids() {
        for bad in ["", "AC00000000000000000000000000000001", "CA0000000000000000000000000000000/", "CA../../x", "CA?"]
        {
            assert_eq!(sid(&json!({ "sid": bad })), None, "{bad}");
        }
        assert_eq!(sid(&json!({ "sid": SID })), Some(SID));
    }
}
