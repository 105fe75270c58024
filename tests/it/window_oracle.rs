//! Calling hours against an oracle that shares no code and no time zone data with us: Python's zoneinfo.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use chrono::{DateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::json;
use voxd::call::policy::hours::{Calendar, Hours};
use voxd::call::policy::tables;

/// Zones for which the machine's time zone data may say otherwise than ours: governments decide late.
const MAY_DIFFER: usize = 8;
const STEPS: usize = 480;

#[derive(Deserialize)]
struct Told {
    zone: String,
    at: i64,
    offset: i32,
    open: Vec<String>,
}

fn ask(zones: &[Tz], windows: &serde_json::Value) -> Vec<Told> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/window_oracle.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python3 is missing or cannot be run ({error}); `make deps` installs it"));
    let names: Vec<&str> = zones.iter().map(|zone| zone.name()).collect();
    let question = json!({ "zones": names, "windows": windows, "from_year": 2024, "to_year": 2030 });
    python.stdin.take().unwrap().write_all(question.to_string().as_bytes()).expect("the oracle listens");
    let output = python.wait_with_output().expect("the oracle ends");
    assert!(output.status.success(), "tests/window_oracle.py: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of the oracle")).collect()
}

#[test]
fn hours_are_open_when_another_clock_says_so_around_every_change_of_the_clocks() {
    let windows = json!([
        { "from": "09:00", "to": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"] },
        // Across the hours at which clocks are changed, so that a window begins or ends in what is left out or doubled.
        { "from": "00:30", "to": "02:15", "days": ["sun", "mon", "fri", "sat"] },
        { "from": "01:45", "to": "03:30" },
        { "from": "00:00", "to": "23:45", "days": ["sun"] },
    ]);
    let hours: Vec<Hours> = windows
        .as_array()
        .unwrap()
        .iter()
        .map(|window| {
            let open = vec![serde_json::from_value(window.clone()).unwrap()];
            Hours { rule: window.to_string(), open, closed_on: vec![] }
        })
        .collect();
    let told = ask(&tables::all_zones(), &windows);
    let mut differ = BTreeSet::new();
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &told {
        let zone: Tz = change.zone.parse().unwrap();
        if !agrees(zone, change) {
            differ.insert(change.zone.as_str());
        }
    }
    for change in told.iter().filter(|change| !differ.contains(change.zone.as_str())) {
        let zone: Tz = change.zone.parse().unwrap();
        *compared.entry(&change.zone).or_default() += 1;
        for (hours, open) in hours.iter().zip(&change.open) {
            compare(zone, hours, change.at, open);
        }
    }
    let changes: usize = compared.values().sum();
    println!("{changes} changes of the clocks in {} zones; data differs in {differ:?}", compared.len());
    assert!(differ.len() <= MAY_DIFFER, "time zone data differs in {differ:?}: is this machine's tzdata old?");
    assert!(changes > 1000 && compared.len() + differ.len() == tables::all_zones().len());
}

/// Whether both sides' data change the clock alike: otherwise it is not the rule that is compared.
fn agrees(zone: Tz, change: &Told) -> bool {
    let offset = |at: i64| {
        let at = DateTime::from_timestamp(at, 0).unwrap();
        zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
    };
    let changed = offset(change.at - 1) != offset(change.at);
    let quiet = change.at == 1_814_400_000;
    offset(change.at) == change.offset && (changed || quiet)
}

fn compare(zone: Tz, hours: &Hours, change: i64, open: &str) {
    let calendar = Calendar { zones: vec![zone], hours: vec![hours] };
    let start: DateTime<Utc> = DateTime::from_timestamp(change, 0).unwrap() - TimeDelta::hours(30);
    let at = |step: usize| start + TimeDelta::minutes(15 * step as i64);
    let flags: Vec<bool> = open.bytes().map(|flag| flag == b'1').collect();
    assert_eq!(flags.len(), STEPS);
    for (step, flag) in flags.iter().enumerate() {
        assert_eq!(calendar.is_open(at(step)), *flag, "{zone} at {}: {}", at(step), hours.rule);
    }
    // Where it changes, and now and then: when it opens, and when it closes.
    let edges = (1..STEPS).filter(|step| flags[*step] != flags[*step - 1]);
    for step in edges.chain((0..STEPS).step_by(37)) {
        let next = (step..STEPS).find(|later| flags[*later]);
        let closed = calendar.next_open(at(step)).unwrap();
        match next {
            Some(next) if next == step => assert!(closed.is_none(), "{zone} at {}", at(step)),
            Some(next) => assert_eq!(closed.unwrap().until, at(next), "{zone} from {}: {}", at(step), hours.rule),
            None => assert!(closed.unwrap().until >= at(STEPS), "{zone} from {}: {}", at(step), hours.rule),
        }
        if flags[step] {
            let end = (step..STEPS).find(|later| !flags[*later]);
            let told = calendar.closes(at(step), TimeDelta::hours(20));
            let expected = end.map(at).filter(|end| *end <= at(step) + TimeDelta::hours(20));
            if end.is_some() || told.is_some_and(|told| told < at(STEPS)) {
                assert_eq!(told, expected, "{zone} open at {}: {}", at(step), hours.rule);
            }
        }
    }
}
