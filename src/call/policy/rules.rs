//! The operator's own rules: a data file, not code. Which law holds where is the operator's to know.

use std::str::FromStr;
use std::time::Duration;

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hours::{ClosedDate, Hours};
use super::tables;
use crate::call::PhoneNumber;
use crate::call::config::CallingWindow;
use crate::call::request::FieldError;
use crate::config;

/// The rules file of `policy.rules_file`, TOML or JSON. All rules that match a number hold together, beside the calling
/// window: a rule can forbid, never allow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RulesFile {
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// Whom it is about (without `countries`, `states` and `area_codes`: everybody), and what it forbids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Stands in the timeline of a call that it holds back.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Of the called number, ISO 3166, e.g. `US`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// States of the US and provinces of Canada by postal abbreviation, e.g. `FL`, told by the area code. A number of these
    /// countries whose area code tells no state is held to every state's rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// Of +1 numbers, e.g. `305`; beside `states`, either is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub area_codes: Vec<String>,
    /// Local hours in which calls are allowed. A day that no entry names is closed. Absent: no limit to the hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<CallingWindow>,
    /// Local dates without calls: `2026-11-26`, or `12-25` for every year.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub closed_on: Vec<ClosedDate>,
    /// Attempts to one number, over all calls and platforms: `3/24h`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub max_attempts: Vec<Cap>,
}

/// At most so many attempts to one number within any stretch of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    pub attempts: u32,
    pub within: Duration,
}

/// Beyond it the attempts that count would be read again at each send for no good.
const LONGEST_CAP: Duration = Duration::from_secs(366 * 24 * 3600);

impl Cap {
    /// As `call_attempts.number_caps` holds it.
    pub fn as_row(&self) -> serde_json::Value {
        serde_json::json!({ "attempts": self.attempts, "seconds": self.within.as_secs_f64() })
    }
}

impl FromStr for Cap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("{text:?} is not a cap, expected ATTEMPTS/DURATION such as 3/24h or 10/7d");
        let (attempts, within) = text.split_once('/').ok_or_else(problem)?;
        let attempts: u32 = attempts.trim().parse().map_err(|_| problem())?;
        let within = humantime::parse_duration(within.trim()).map_err(|_| problem())?;
        let sensible = (1..=10_000).contains(&attempts) && !within.is_zero() && within <= LONGEST_CAP;
        if sensible { Ok(Self { attempts, within }) } else { Err(problem()) }
    }
}

impl std::fmt::Display for Cap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.attempts, config::duration::format(self.within).replace(' ', ""))
    }
}

impl FromStr for ClosedDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("{text:?} is not a date, expected YYYY-MM-DD, or MM-DD for every year");
        if text.len() == 5 {
            // A leap year, so that 02-29 is one.
            let date: NaiveDate = format!("2028-{text}").parse().map_err(|_| problem())?;
            use chrono::Datelike as _;
            return Ok(ClosedDate::EveryYear(date.month(), date.day()));
        }
        if text.len() == 10 { text.parse().map(ClosedDate::Once).map_err(|_| problem()) } else { Err(problem()) }
    }
}

impl std::fmt::Display for ClosedDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClosedDate::Once(date) => write!(f, "{date}"),
            ClosedDate::EveryYear(month, day) => write!(f, "{month:02}-{day:02}"),
        }
    }
}

macro_rules! as_text {
    ($($name:ty),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
as_text!(Cap, ClosedDate);

impl RulesFile {
    /// Reads and checks. `json`: otherwise it is TOML. The error names the place.
    pub fn parse(text: &str, json: bool) -> Result<Self, String> {
        let file: Self = if json {
            let reader = &mut serde_json::Deserializer::from_str(text);
            serde_path_to_error::deserialize(reader).map_err(|error| error.to_string())?
        } else {
            let table: toml::Value = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
            serde_path_to_error::deserialize(table).map_err(|error| error.to_string().trim().to_owned())?
        };
        let problems: Vec<String> = file
            .rules
            .iter()
            .enumerate()
            .flat_map(|(n, rule)| rule.problems().into_iter().map(move |problem| problem.below(&format!("/rules/{n}"))))
            .map(|problem| problem.to_string())
            .collect();
        if problems.is_empty() { Ok(file) } else { Err(problems.join("; ")) }
    }
}

impl Rule {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let mut wrong = |field: &str, detail: String| problems.push(FieldError::new(format!("/{field}"), detail));
        if self.name.trim().is_empty() {
            wrong("name", "is empty, expected what a person is to read in the timeline".into());
        }
        if self.hours.is_empty() && self.closed_on.is_empty() && self.max_attempts.is_empty() {
            wrong("hours", "the rule forbids nothing, expected hours, closed_on or max_attempts".into());
        }
        for country in &self.countries {
            if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
                wrong("countries", format!("{country:?} is not a country, expected ISO 3166 such as US"));
            }
        }
        for state in &self.states {
            match tables::country_of_state(state) {
                None => {
                    wrong("states", format!("{state:?} is no state of the US or province of Canada, expected e.g. FL"))
                }
                Some(country) if !self.countries.is_empty() && !self.countries.iter().any(|known| known == country) => {
                    wrong("states", format!("{state} is in {country}, which countries does not name"));
                }
                Some(_) => {}
            }
        }
        for area in &self.area_codes {
            if area.len() != 3 || !area.bytes().all(|b| b.is_ascii_digit()) {
                wrong("area_codes", format!("{area:?} is not an area code, expected three digits such as 305"));
            }
        }
        for window in &self.hours {
            if window.from >= window.to {
                wrong(
                    "hours",
                    format!("from {} is not before to {}", window.from.format("%H:%M"), window.to.format("%H:%M")),
                );
            }
        }
        problems
    }

    /// Whether it is about this number.
    pub fn is_about(&self, number: &PhoneNumber, country: Option<&str>) -> bool {
        if !self.countries.is_empty() && !country.is_some_and(|country| self.countries.iter().any(|c| c == country)) {
            return false;
        }
        if self.states.is_empty() && self.area_codes.is_empty() {
            return true;
        }
        if tables::area_code(number).is_some_and(|area| self.area_codes.iter().any(|known| known == area)) {
            return true;
        }
        let states = tables::states(number);
        if states.is_empty() {
            // Fails closed: it may be there.
            return self.states.iter().any(|state| tables::country_of_state(state) == country);
        }
        states.iter().any(|state| self.states.iter().any(|known| known == state))
    }

    /// What it says about hours, where it does.
    pub fn hours(&self) -> Option<Hours> {
        let says = !self.hours.is_empty() || !self.closed_on.is_empty();
        says.then(|| Hours { rule: self.name.clone(), open: self.hours.clone(), closed_on: self.closed_on.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../deploy/samples/rules.toml");

    fn about(rule: &Rule, number: &str) -> bool {
        let number = PhoneNumber::parse(number).unwrap();
        rule.is_about(&number, number.country().as_deref())
    }

    fn of_states(states: &[&str]) -> Rule {
        Rule { states: states.iter().map(|state| (*state).to_owned()).collect(), ..Rule::default() }
    }

    #[test]
    fn the_sample_file_is_read_in_both_languages() {
        let file = RulesFile::parse(SAMPLE, false).unwrap();
        assert!(file.rules.len() >= 3);
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(RulesFile::parse(&json, true).unwrap(), file);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong = |text: &str| RulesFile::parse(text, false).unwrap_err();
        let rule = |rest: &str| format!("[[rules]]\nname = \"r\"\n{rest}");
        assert!(wrong(&rule("state = [\"FL\"]")).contains("unknown field `state`"));
        assert!(
            wrong(&rule("states = [\"XX\"]\nclosed_on = [\"12-25\"]"))
                .starts_with("/rules/0/states: \"XX\" is no state")
        );
        assert!(
            wrong(&rule("countries = [\"CA\"]\nstates = [\"FL\"]\nclosed_on = [\"12-25\"]")).contains("FL is in US")
        );
        assert!(wrong(&rule("closed_on = [\"25.12.\"]")).contains("expected YYYY-MM-DD"));
        assert!(wrong(&rule("max_attempts = [\"0/24h\"]")).contains("expected ATTEMPTS/DURATION"));
        assert!(wrong(&rule("hours = [{ from = \"20:00\", to = \"08:00\" }]")).contains("is not before"));
        assert!(wrong(&rule("")).contains("forbids nothing"));
    }

    #[test]
    fn a_rule_is_about_the_numbers_of_its_states() {
        let florida = of_states(&["FL"]);
        assert!(about(&florida, "+13055550123") && !about(&florida, "+13035550123") && !about(&florida, "+4930123456"));
        assert!(about(&florida, "+18005550123"), "a number of no state may be in Florida");
        assert!(!about(&of_states(&["ON"]), "+13055550123") && about(&of_states(&["PE"]), "+19025550123"));
        let area = Rule { area_codes: vec!["305".into()], ..Rule::default() };
        assert!(about(&area, "+13055550123") && !about(&area, "+17865550123"));
        let country = Rule { countries: vec!["DE".into()], ..Rule::default() };
        assert!(about(&country, "+4930123456") && !about(&country, "+13055550123"));
        assert!(about(&Rule::default(), "+4930123456"), "without whom it is about everybody");
    }

    #[test]
    fn caps_and_dates_are_written_as_they_are_read() {
        for text in ["3/1day", "10/7days"] {
            assert_eq!(text.parse::<Cap>().unwrap().to_string(), text);
        }
        assert_eq!("3/24h".parse::<Cap>().unwrap(), Cap { attempts: 3, within: Duration::from_secs(86_400) });
        for text in ["2026-11-26", "12-25", "02-29"] {
            assert_eq!(text.parse::<ClosedDate>().unwrap().to_string(), text);
        }
        assert!("02-30".parse::<ClosedDate>().is_err());
    }
}
