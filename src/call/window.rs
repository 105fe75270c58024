//! Calling windows: when a person may be called, in that person's own time. Pure; time is passed in.

use chrono::{DateTime, Datelike, Days, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

use super::config::CallingWindow;

/// When the window is open next, at `now` or later; `now` itself while it is open. `None` for a window that never opens.
///
/// A local time that daylight saving leaves out counts as the first moment after the gap.
pub fn next_open(window: &CallingWindow, zone: Tz, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let local = now.with_timezone(&zone);
    (0..=14).find_map(|ahead| {
        let date = local.date_naive().checked_add_days(Days::new(ahead))?;
        let open_that_day = window.days.is_empty() || window.days.iter().any(|day| day.weekday() == date.weekday());
        if !open_that_day {
            return None;
        }
        let opens = instant(zone, date.and_time(window.from))?;
        let closes = instant(zone, date.and_time(window.to))?;
        (now < closes && opens < closes).then(|| opens.max(now))
    })
}

/// `HH:MM-HH:MM`, all days; empty text is no window.
pub fn parse(text: &str) -> Result<Option<CallingWindow>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let problem = || format!("{text:?} is not a calling window, expected HH:MM-HH:MM such as 09:00-20:00");
    let (from, to) = text.split_once('-').ok_or_else(problem)?;
    let time = |part: &str| chrono::NaiveTime::parse_from_str(part.trim(), "%H:%M").map_err(|_| problem());
    let window = CallingWindow { from: time(from)?, to: time(to)?, days: Vec::new() };
    if window.from >= window.to { Err(problem()) } else { Ok(Some(window)) }
}

fn instant(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    let mut candidate = local;
    for _ in 0..8 {
        if let Some(found) = zone.from_local_datetime(&candidate).earliest() {
            return Some(found.with_timezone(&Utc));
        }
        candidate += chrono::Duration::minutes(30);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn weekdays() -> CallingWindow {
        serde_json::from_value(
            serde_json::json!({ "from": "09:00", "to": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"] }),
        )
        .unwrap()
    }

    #[test]
    fn an_open_window_is_open_now() {
        let now = at("2026-11-20T18:00:00Z");
        assert_eq!(next_open(&weekdays(), chrono_tz::America::Los_Angeles, now), Some(now));
    }

    #[test]
    fn a_closed_window_opens_on_the_next_day_that_it_names() {
        let friday_evening = at("2026-11-21T04:00:00Z");
        assert_eq!(
            next_open(&weekdays(), chrono_tz::America::Los_Angeles, friday_evening),
            Some(at("2026-11-23T17:00:00Z"))
        );
    }

    #[test]
    fn an_hour_that_daylight_saving_leaves_out_opens_after_the_gap() {
        let window = CallingWindow { from: "02:15:00".parse().unwrap(), to: "05:00:00".parse().unwrap(), days: vec![] };
        let open = next_open(&window, chrono_tz::America::New_York, at("2026-03-08T06:00:00Z"));
        assert_eq!(open, Some(at("2026-03-08T07:15:00Z")));
    }

    #[test]
    fn the_text_form_is_checked() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("09:00-20:00").unwrap().unwrap().to, "20:00:00".parse().unwrap());
        assert!(parse("20:00-09:00").unwrap_err().contains("HH:MM-HH:MM"));
    }
}
