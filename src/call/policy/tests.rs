use super::*;
use std::time::Duration;

const RULES: &str = r#"
[[rules]]
name = "Florida"
states = ["FL"]
hours = [{ days = ["mon", "tue", "wed", "thu", "fri", "sat"], from = "08:00", to = "18:00" }]
max_attempts = ["3/24h"]

[[rules]]
name = "holidays"
countries = ["US"]
closed_on = ["2026-11-26", "12-25"]
"#;

fn policy(window: &str, rules: &str) -> CallingPolicy {
    let mut settings = config::Config::load(None, &Default::default()).unwrap().policy;
    settings.calling_window = window.into();
    settings.max_attempts_per_number = vec!["10/7d".into()];
    CallingPolicy::new(&settings, RulesFile::parse(rules, false).unwrap()).unwrap()
}

fn when(policy: &CallingPolicy, number: &str, zone: Option<&str>, at: &str) -> Result<When, Refusal> {
    let number = PhoneNumber::parse(number).unwrap();
    policy.when(&number, zone, None, at.parse().unwrap(), TimeDelta::seconds(30))
}

fn text(when: Result<When, Refusal>) -> String {
    match when {
        Ok(When::Open { .. }) => "open".into(),
        Ok(When::Closed(hold)) => hold.text,
        Err(refusal) => refusal.reason.into(),
    }
}

const DENVER: &str = "+13035550123";
const MIAMI: &str = "+13055550123";
const BOISE_OR_LEWISTON: &str = "+12082990123";
const TOLL_FREE: &str = "+18005550123";

#[test]
fn without_any_hours_it_is_always_open() {
    assert_eq!(when(&policy("", ""), TOLL_FREE, None, "2026-11-20T03:00:00Z"), Ok(When::Open { closes: None }));
}

#[test]
fn the_zone_comes_from_the_job_else_from_the_number() {
    let policy = policy("09:00-20:00", "");
    let early = "2026-11-20T14:30:00Z";
    let from_number = text(when(&policy, DENVER, None, early));
    assert_eq!(
        from_number,
        "would call at 09:00 America/Denver: window (policy.calling_window 09:00-20:00, Fri 2026-11-20)"
    );
    assert_eq!(text(when(&policy, DENVER, Some("America/New_York"), early)), "open");
    assert_eq!(text(when(&policy, DENVER, Some("Denver"), early)), "timezone_unknown");
    // Half of area code 208 is an hour behind the other.
    assert_eq!(
        text(when(&policy, BOISE_OR_LEWISTON, None, "2026-11-20T16:30:00Z")),
        "would call at 09:00 America/Los_Angeles: window (policy.calling_window 09:00-20:00, Fri 2026-11-20)"
    );
    // A number of no place: from Pago Pago over Newfoundland to Guam it is nine to eight everywhere for half an hour a day.
    let everywhere = text(when(&policy, TOLL_FREE, None, early));
    assert!(everywhere.starts_with("would call at 09:00 Pacific/Guam: window"), "{everywhere}");
    let never = when(&self::policy("10:00-20:00", ""), TOLL_FREE, None, early).unwrap_err();
    assert_eq!(never.reason, "window_never_opens");
}

#[test]
fn rules_narrow_the_window_and_hold_without_one() {
    let evening = "2026-11-20T23:30:00Z";
    for window in ["", "09:00-20:00"] {
        let policy = policy(window, RULES);
        assert_eq!(text(when(&policy, DENVER, None, evening)), "open");
        let held = text(when(&policy, MIAMI, None, evening));
        assert!(held.starts_with("would call at ") && held.contains("America/New_York: window ("), "{held}");
        assert!(held.contains("Sat 2026-11-21"), "{held}");
    }
    let sunday = "2026-11-22T18:00:00Z";
    let held = text(when(&policy("09:00-20:00", RULES), MIAMI, None, sunday));
    assert_eq!(
        held,
        "would call at 09:00 America/New_York: window (policy.calling_window 09:00-20:00, Mon 2026-11-23)"
    );
    let thanksgiving = text(when(&policy("", RULES), DENVER, None, "2026-11-26T18:00:00Z"));
    assert_eq!(thanksgiving, "would call at 00:00 America/Denver: window (holidays, Fri 2026-11-27)");
}

#[test]
fn the_end_of_an_open_window_is_told_when_it_is_near() {
    let policy = policy("09:00-20:00", "");
    let closes = |at: &str| match when(&policy, DENVER, None, at) {
        Ok(When::Open { closes }) => closes.map(|at| at.format("%H:%M:%S").to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(closes("2026-11-21T02:59:45Z").as_deref(), Some("03:00:00"));
    assert_eq!(closes("2026-11-21T02:59:15Z"), None);
}

#[test]
fn caps_of_settings_and_of_matching_rules_hold_together() {
    let policy = policy("", RULES);
    let caps = |number: &str| policy.caps(&PhoneNumber::parse(number).unwrap());
    let week = Cap { attempts: 10, within: Duration::from_secs(7 * 86_400) };
    assert_eq!(caps(DENVER), [week]);
    assert_eq!(caps(MIAMI), [week, Cap { attempts: 3, within: Duration::from_secs(86_400) }]);
}

#[test]
fn a_setting_that_cannot_be_read_is_named() {
    let mut settings = config::Config::load(None, &Default::default()).unwrap().policy;
    settings.refuse_numbers = vec!["premium".into()];
    let problem = CallingPolicy::new(&settings, RulesFile::default()).unwrap_err();
    assert!(problem.starts_with("policy.refuse_numbers: \"premium\" is not one of premium_rate"), "{problem}");
}

#[test]
fn a_queued_call_is_explained_by_the_rule_that_decides() {
    let policy = policy("09:00-20:00", "");
    let number = PhoneNumber::parse(DENVER).unwrap();
    let explain = |reason: Option<&str>, due: Option<&str>, now: &str| {
        let scheduled_for = due.map(|due| due.parse().unwrap());
        let queued = explain::Queued { number: &number, zone: None, window: None, reason, scheduled_for };
        policy.explain(queued, now.parse().unwrap())
    };
    let day = "2026-11-20T18:00:00Z";
    assert_eq!(explain(None, None, day).text, "would call now");
    // A retry that falls into the night waits for the morning.
    let night = explain(Some("retry"), Some("2026-11-21T04:00:00Z"), day);
    assert_eq!((night.rule.as_str(), night.local_time.as_deref()), ("window", Some("2026-11-21T09:00:00")));
    assert!(night.text.starts_with("would call at 09:00 America/Denver: window"), "{}", night.text);
    let retry = explain(Some("retry"), Some("2026-11-20T18:05:00Z"), day);
    assert_eq!(retry.text, "would call at 11:05 America/Denver: retry (Fri 2026-11-20)");
    // Scheduled for the opening: the rule that was closed until then is named.
    let opening = explain(Some("window"), Some("2026-11-21T16:00:00Z"), "2026-11-21T04:00:00Z");
    assert_eq!(
        opening.text,
        "would call at 09:00 America/Denver: window (policy.calling_window 09:00-20:00, Sat 2026-11-21)"
    );
    // Due, and closed meanwhile.
    assert_eq!(explain(Some("number_busy"), Some(day), "2026-11-21T04:00:00Z").rule, "window");
}
