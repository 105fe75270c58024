//! When and whom: may this number be called at this instant? Pure; time is passed in.
//!
//! | file | holds |
//! |---|---|
//! | `hours` | local hours, days and dates, open in every zone at once |
//! | `tables` | a number's time zones and states (libphonenumber) |
//! | `rules` | the operator's rules file |
//! | `numbers` | countries and kinds of numbers |
//! | `explain` | what a queued call waits for |
//!
//! It fails closed: what cannot be told (no zone for a window, no state for a state's rule) forbids.

pub mod explain;
pub mod hours;
pub mod numbers;
pub mod rules;
pub mod tables;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use self::hours::{Calendar, Hours};
use self::numbers::NumberKind;
use self::rules::{Cap, Rule, RulesFile};
use super::PhoneNumber;
use super::config::CallingWindow;
use super::window;
use crate::config;

/// Why a call can never be made as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable: `timezone_unknown`, `window_never_opens`, `country_not_allowed`, `number_not_allowed`.
    pub reason: &'static str,
    pub detail: String,
}

impl Refusal {
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Whether a call may go out at an instant.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Now. `closes`: when that ends, where it does soon.
    Open {
        closes: Option<DateTime<Utc>>,
    },
    Closed(Hold),
}

/// What holds a call back, and until when, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Hold {
    /// As `status_reason`: `window`, `frequency`, `not_before`, `retry`, `number_busy`, …; `none` for a call that may go out now.
    pub rule: String,
    /// Whose rule it is, e.g. the job's calling_window, or a name from the rules file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    pub until: DateTime<Utc>,
    /// `YYYY-MM-DDTHH:MM:SS` where the person is; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_time: Option<String>,
    /// IANA name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// `would call at 09:00 America/Denver: window (…)`
    pub text: String,
}

impl Hold {
    /// `zone`: where the person is, where that is known.
    pub fn new(rule: &str, of: Option<&str>, until: DateTime<Utc>, zone: Option<Tz>) -> Self {
        let local = zone.map(|zone| until.with_timezone(&zone).naive_local());
        let (time, place, date) = match (local, zone) {
            (Some(local), Some(zone)) => (local.format("%H:%M"), zone.name(), local.format("%a %Y-%m-%d")),
            _ => (until.format("%H:%M"), "UTC", until.format("%a %Y-%m-%d")),
        };
        let of_whom = of.map(|of| format!("{of}, ")).unwrap_or_default();
        Self {
            rule: rule.to_owned(),
            of: of.map(str::to_owned),
            until,
            local_time: local.map(|local| local.format("%Y-%m-%dT%H:%M:%S").to_string()),
            zone: zone.map(|zone| zone.name().to_owned()),
            text: format!("would call at {time} {place}: {rule} ({of_whom}{date})"),
        }
    }
}

/// The settings of section `policy` and the rules file, ready to judge.
#[derive(Debug, Clone)]
pub struct CallingPolicy {
    countries: Vec<String>,
    refuse_numbers: Vec<NumberKind>,
    default_hours: Option<Hours>,
    caps: Vec<Cap>,
    rules: Vec<(Rule, Option<Hours>)>,
}

const OF_THE_JOB: &str = "the job's calling_window";
const OF_THE_SETTINGS: &str = "policy.calling_window";

impl CallingPolicy {
    /// The error names the setting.
    pub fn new(settings: &config::Policy, rules: RulesFile) -> Result<Self, String> {
        fn all<T: std::str::FromStr<Err = String>>(key: &str, texts: &[String]) -> Result<Vec<T>, String> {
            texts.iter().map(|text| text.parse().map_err(|problem| format!("policy.{key}: {problem}"))).collect()
        }
        let window =
            window::parse(&settings.calling_window).map_err(|problem| format!("{OF_THE_SETTINGS}: {problem}"))?;
        let rules = rules.rules.into_iter().map(|rule| {
            let hours = rule.hours();
            (rule, hours)
        });
        Ok(Self {
            countries: settings.countries.clone(),
            refuse_numbers: all("refuse_numbers", &settings.refuse_numbers)?,
            default_hours: window.map(|window| of_window(window, OF_THE_SETTINGS)),
            caps: all("max_attempts_per_number", &settings.max_attempts_per_number)?,
            rules: rules.collect(),
        })
    }

    /// Why this number is never called, where it is not.
    pub fn refuses(&self, number: &PhoneNumber) -> Option<Refusal> {
        numbers::refusal(number, &self.countries, &self.refuse_numbers)
    }

    /// How often this number may be called.
    pub fn caps(&self, number: &PhoneNumber) -> Vec<Cap> {
        let mut caps = self.caps.clone();
        if self.rules.iter().any(|(rule, _)| !rule.max_attempts.is_empty()) {
            let country = number.country();
            let of_rules = self.rules.iter().filter(|(rule, _)| rule.is_about(number, country.as_deref()));
            caps.extend(of_rules.flat_map(|(rule, _)| rule.max_attempts.iter().copied()));
        }
        caps
    }

    /// Whether `number` may be called at `at`; `zone` is what the job says of the person's whereabouts (`lead.timezone`), and
    /// `window` the job's own calling window.
    ///
    /// Hours of rules hold beside the window, and without one. `soon`: within which the end of an open window is told.
    pub fn when(
        &self,
        number: &PhoneNumber,
        zone: Option<&str>,
        window: Option<&CallingWindow>,
        at: DateTime<Utc>,
        soon: TimeDelta,
    ) -> Result<When, Refusal> {
        let own = window.map(|window| of_window(window.clone(), OF_THE_JOB));
        let mut hours: Vec<&Hours> = own.as_ref().or(self.default_hours.as_ref()).into_iter().collect();
        if self.rules.iter().any(|(_, hours)| hours.is_some()) {
            let country = number.country();
            let holding = self.rules.iter().filter(|(rule, _)| rule.is_about(number, country.as_deref()));
            hours.extend(holding.filter_map(|(_, hours)| hours.as_ref()));
        }
        if hours.is_empty() {
            return Ok(When::Open { closes: None });
        }
        let calendar = Calendar { zones: zones_of(number, zone)?, hours };
        match calendar.next_open(at) {
            Err(never) => Err(Refusal::new("window_never_opens", never)),
            Ok(None) => Ok(When::Open { closes: calendar.closes(at, soon) }),
            Ok(Some(closed)) => {
                Ok(When::Closed(Hold::new("window", Some(&closed.rule), closed.until, Some(closed.zone))))
            }
        }
    }
}

fn of_window(window: CallingWindow, rule: &str) -> Hours {
    let text = format!("{rule} {}-{}", window.from.format("%H:%M"), window.to.format("%H:%M"));
    Hours { rule: text, open: vec![window], closed_on: Vec::new() }
}

/// Where the person may be: what the job says, else what the number's prefix tells.
pub fn zones_of(number: &PhoneNumber, zone: Option<&str>) -> Result<Vec<Tz>, Refusal> {
    if let Some(name) = zone {
        let problem = |_| Refusal::new("timezone_unknown", format!("{name:?} is not an IANA time zone"));
        return name.parse().map(|zone| vec![zone]).map_err(problem);
    }
    match tables::zones(number) {
        [] => {
            let detail =
                "hours apply, lead.timezone does not say where the person is, and the number's prefix does not either";
            Err(Refusal::new("timezone_unknown", detail))
        }
        zones => Ok(zones.to_vec()),
    }
}

#[cfg(test)]
mod tests;
