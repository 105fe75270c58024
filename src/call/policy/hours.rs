//! When it is open everywhere: hours of the local day, in every zone that the person may be in, at one instant. Pure.
//!
//! The rule looks at the wall clock: an instant is open where the local time, the local weekday and the local date are
//! allowed. So an hour that daylight saving gives twice is open twice, and one that it leaves out is open at no time.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::call::config::CallingWindow;

/// What does not open within these days never opens, as far as we care.
const HORIZON_DAYS: i64 = 60;

/// Hours that one rule allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Hours {
    /// For people: whose hours these are.
    pub rule: String,
    /// A day that none of these names is closed. Empty: the rule closes dates only.
    pub open: Vec<CallingWindow>,
    pub closed_on: Vec<ClosedDate>,
}

/// A day of the person's calendar on which nobody is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedDate {
    /// `2026-11-26`
    Once(NaiveDate),
    /// `12-25`: month and day of every year.
    EveryYear(u32, u32),
}

impl ClosedDate {
    fn is(self, date: NaiveDate) -> bool {
        match self {
            ClosedDate::Once(day) => day == date,
            ClosedDate::EveryYear(month, day) => (month, day) == (date.month(), date.day()),
        }
    }
}

impl Hours {
    fn are_open(&self, local: NaiveDateTime) -> bool {
        let (date, time) = (local.date(), local.time());
        let within = |window: &CallingWindow| {
            (window.days.is_empty() || window.days.iter().any(|day| day.weekday() == date.weekday()))
                && window.from <= time
                && time < window.to
        };
        !self.closed_on.iter().any(|closed| closed.is(date)) && (self.open.is_empty() || self.open.iter().any(within))
    }
}

/// All hours that hold for a call, and all zones in which they hold.
#[derive(Debug, Clone)]
pub struct Calendar<'a> {
    pub zones: Vec<Tz>,
    pub hours: Vec<&'a Hours>,
}

/// Closed until then.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// The first instant at which all hours are open in all zones.
    pub until: DateTime<Utc>,
    /// The zone and the rule that open last.
    pub zone: Tz,
    pub rule: String,
}

impl Calendar<'_> {
    pub fn is_open(&self, at: DateTime<Utc>) -> bool {
        self.closed_by(at).is_none()
    }

    /// A zone and a rule that are closed then.
    fn closed_by(&self, at: DateTime<Utc>) -> Option<(Tz, &str)> {
        self.zones.iter().find_map(|zone| {
            let local = at.with_timezone(zone).naive_local();
            self.hours.iter().find(|hours| !hours.are_open(local)).map(|hours| (*zone, hours.rule.as_str()))
        })
    }

    /// `Ok(None)`: open at `from`. `Err`: it never opens.
    pub fn next_open(&self, from: DateTime<Utc>) -> Result<Option<Closed>, String> {
        let Some((zone, rule)) = self.closed_by(from) else { return Ok(None) };
        let Some(until) = self.changes(from, TimeDelta::days(HORIZON_DAYS)).find(|at| self.is_open(*at)) else {
            return Err(match self.zones.len() {
                1 => format!("{rule} does not open within {HORIZON_DAYS} days in {zone}"),
                n => {
                    format!("{rule} is not open in all {n} time zones of the number at once within {HORIZON_DAYS} days")
                }
            });
        };
        let (zone, rule) = self.closed_by(until - TimeDelta::seconds(1)).unwrap_or((zone, rule));
        Ok(Some(Closed { until, zone, rule: rule.to_owned() }))
    }

    /// When it closes, where that is after `from` and not later than `within`.
    pub fn closes(&self, from: DateTime<Utc>, within: TimeDelta) -> Option<DateTime<Utc>> {
        self.changes(from, within).find(|at| *at <= from + within && !self.is_open(*at))
    }

    /// Every instant after `from` at which an answer can change, rising: where hours begin and end, midnight, and where a
    /// zone's clock is put forward or back. Ends a day after `within` at the latest.
    fn changes(&self, from: DateTime<Utc>, within: TimeDelta) -> impl Iterator<Item = DateTime<Utc>> {
        let mut times: Vec<NaiveTime> =
            self.hours.iter().flat_map(|hours| &hours.open).flat_map(|w| [w.from, w.to]).collect();
        times.push(NaiveTime::MIN);
        times.sort_unstable();
        times.dedup();
        (0..=within.num_days()).flat_map(move |ahead| {
            let begin = from + TimeDelta::days(ahead);
            let end = begin + TimeDelta::days(1);
            let mut instants: Vec<DateTime<Utc>> =
                self.zones.iter().flat_map(|zone| changes_in(*zone, &times, begin, end)).collect();
            instants.retain(|at| begin < *at && *at <= end);
            instants.sort_unstable();
            instants.dedup();
            instants
        })
    }
}

fn changes_in(zone: Tz, times: &[NaiveTime], begin: DateTime<Utc>, end: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let (first, last) = (begin.with_timezone(&zone).date_naive(), end.with_timezone(&zone).date_naive());
    let mut instants = Vec::new();
    for date in first.iter_days().take_while(|date| *date <= last) {
        for time in times {
            let found = zone.from_local_datetime(&date.and_time(*time));
            // What the clock shows twice can be a change twice; what it leaves out is passed at the change of the clock.
            instants.extend([found.earliest(), found.latest()].into_iter().flatten().map(|at| at.with_timezone(&Utc)));
        }
    }
    instants.extend(clock_change(zone, begin, end));
    instants
}

/// The first instant with the new offset, where the zone's clock is put forward or back within a day.
fn clock_change(zone: Tz, begin: DateTime<Utc>, end: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let offset = |at: i64| {
        let at = DateTime::from_timestamp(at, 0).unwrap_or_default();
        zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
    };
    let (mut before, mut after) = (begin.timestamp(), end.timestamp());
    let old = offset(before);
    if offset(after) == old {
        return None;
    }
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if offset(middle) == old { before = middle } else { after = middle }
    }
    DateTime::from_timestamp(after, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn hours(open: serde_json::Value, closed_on: Vec<ClosedDate>) -> Hours {
        Hours { rule: "a rule".into(), open: serde_json::from_value(open).unwrap(), closed_on }
    }

    fn weekdays() -> Hours {
        hours(json!([{ "from": "09:00", "to": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"] }]), vec![])
    }

    fn until(hours: &[&Hours], zones: &[Tz], from: &str) -> Result<Option<String>, String> {
        let calendar = Calendar { zones: zones.to_vec(), hours: hours.to_vec() };
        Ok(calendar.next_open(at(from))?.map(|closed| closed.until.format("%Y-%m-%dT%H:%M:%SZ").to_string()))
    }

    use chrono_tz::America::{Denver, Los_Angeles, New_York, Puerto_Rico};
    use chrono_tz::Pacific::Guam;

    #[test]
    fn an_open_window_is_open_now_and_a_closed_one_opens_on_the_next_day_that_it_names() {
        assert_eq!(until(&[&weekdays()], &[Los_Angeles], "2026-11-20T18:00:00Z"), Ok(None));
        let friday_evening = "2026-11-21T04:00:00Z";
        assert_eq!(until(&[&weekdays()], &[Los_Angeles], friday_evening), Ok(Some("2026-11-23T17:00:00Z".into())));
    }

    #[test]
    fn the_first_instant_is_open_and_the_last_is_not() {
        let week = weekdays();
        let calendar = Calendar { zones: vec![Denver], hours: vec![&week] };
        assert!(calendar.is_open(at("2026-11-20T16:00:00Z")) && !calendar.is_open(at("2026-11-20T15:59:59.999Z")));
        assert!(calendar.is_open(at("2026-11-21T02:59:59.999Z")) && !calendar.is_open(at("2026-11-21T03:00:00Z")));
        let closes = calendar.closes(at("2026-11-21T02:59:50Z"), TimeDelta::seconds(30));
        assert_eq!(closes, Some(at("2026-11-21T03:00:00Z")));
        assert_eq!(calendar.closes(at("2026-11-21T02:59:20Z"), TimeDelta::seconds(30)), None);
    }

    #[test]
    fn every_zone_must_be_inside_at_once() {
        // New York has opened at 14:00Z, Los Angeles opens at 17:00Z.
        let open = until(&[&weekdays()], &[New_York, Los_Angeles], "2026-11-20T14:30:00Z");
        assert_eq!(open, Ok(Some("2026-11-20T17:00:00Z".into())));
        // 09:00 to 20:00 in Puerto Rico is 23:00 to 10:00 in Guam.
        let short = hours(json!([{ "from": "10:00", "to": "20:00" }]), vec![]);
        let never = until(&[&short], &[Puerto_Rico, Guam], "2026-11-20T14:30:00Z").unwrap_err();
        assert!(never.contains("all 2 time zones"), "{never}");
    }

    #[test]
    fn the_strictest_of_all_rules_holds_and_the_one_that_opens_last_is_named() {
        let state = Hours { rule: "TX".into(), ..hours(json!([{ "from": "12:00", "to": "19:00" }]), vec![]) };
        let week = weekdays();
        let calendar = Calendar { zones: vec![Denver], hours: vec![&week, &state] };
        let closed = calendar.next_open(at("2026-11-20T15:00:00Z")).unwrap().unwrap();
        assert_eq!((closed.until, closed.rule.as_str()), (at("2026-11-20T19:00:00Z"), "TX"));
    }

    #[test]
    fn a_closed_date_is_a_day_of_the_persons_calendar() {
        let thanksgiving = ClosedDate::Once("2026-11-26".parse().unwrap());
        let holidays = hours(json!([]), vec![thanksgiving, ClosedDate::EveryYear(12, 25)]);
        // 04:00Z is still the 25th in Denver; the window has closed there all the same.
        let open = until(&[&weekdays(), &holidays], &[Denver], "2026-11-26T04:00:00Z");
        assert_eq!(open, Ok(Some("2026-11-27T16:00:00Z".into())));
        let open = until(&[&holidays], &[Denver], "2029-12-25T12:00:00Z");
        assert_eq!(open, Ok(Some("2029-12-26T07:00:00Z".into())), "without hours it opens at midnight");
    }

    #[test]
    fn an_hour_that_daylight_saving_leaves_out_opens_after_the_gap() {
        let early = hours(json!([{ "from": "02:15", "to": "05:00" }]), vec![]);
        let open = until(&[&early], &[New_York], "2026-03-08T06:00:00Z");
        assert_eq!(open, Ok(Some("2026-03-08T07:00:00Z".into())), "the wall clock goes from 02:00 to 03:00");
    }

    #[test]
    fn an_hour_that_comes_twice_is_judged_by_the_wall_clock_both_times() {
        let late = hours(json!([{ "from": "01:30", "to": "01:45" }]), vec![]);
        let open = until(&[&late], &[New_York], "2026-11-01T05:50:00Z");
        assert_eq!(open, Ok(Some("2026-11-01T06:30:00Z".into())));
        let calendar = Calendar { zones: vec![New_York], hours: vec![&late] };
        assert!(!calendar.is_open(at("2026-11-01T06:00:00Z")), "01:00 for the second time");
    }
}
