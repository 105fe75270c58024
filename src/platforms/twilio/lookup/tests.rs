use super::*;
use crate::call::PhoneNumber;
use uuid::Uuid;

fn attempt() -> AttemptRef {
    AttemptRef {
        attempt_id: Uuid::from_u128(2),
        call_id: Uuid::from_u128(1),
        to: PhoneNumber::parse("+14155550123").unwrap(),
        from: PhoneNumber::parse("+14155550100").ok(),
        committed_at: "2026-11-21T00:02:00.7Z".parse().unwrap(),
        settled_at: "2026-11-21T00:03:10Z".parse().unwrap(),
        platform_call_id: None,
        bound: vec!["CA0b".into()],
    }
}

fn row(sid: &str, created: Value) -> Value {
    json!({ "sid": sid, "direction": "outbound-api", "to": "+14155550123", "from": "+14155550100", "date_created": created,
        "status": "completed" })
}

fn at(time: &str) -> Value {
    json!(format!("Sat, 21 Nov 2026 {time} +0000"))
}

fn looked(rows: &[Value]) -> Lookup {
    let mut search = Search::default();
    for row in rows {
        if let Err(reason) = search.take(row, &attempt()) {
            return Lookup::Inconclusive { reason: reason.into() };
        }
    }
    search.conclude(&attempt(), "2026-11-20")
}

fn found(rows: &[Value]) -> Option<String> {
    match looked(rows) {
        Lookup::Found(update) => {
            assert_eq!(update.attempt_id, Some(attempt().attempt_id));
            update.platform_call_id
        }
        _ => None,
    }
}

#[test]
fn one_call_within_the_attempts_time_is_its_own() {
    for time in ["00:02:00", "00:02:30", "00:01:01", "00:04:10"] {
        assert_eq!(found(&[row("CA01", at(time))]).as_deref(), Some("CA01"), "{time}");
    }
    // The same call in two listings is one call.
    assert_eq!(found(&[row("CA01", at("00:02:01")), row("CA01", at("00:02:01"))]).as_deref(), Some("CA01"));
    // First seen queued, without its time.
    assert_eq!(found(&[row("CA01", Value::Null), row("CA01", at("00:02:01"))]).as_deref(), Some("CA01"));
}

#[test]
fn calls_of_others_are_none_of_ours() {
    let mut incoming = row("CA01", at("00:02:01"));
    incoming["direction"] = json!("inbound");
    let mut elsewhere = row("CA02", at("00:02:01"));
    elsewhere["to"] = json!("+14155550124");
    let mut other_from = row("CA03", at("00:02:01"));
    other_from["from"] = json!("+14155550101");
    let yesterday = row("CA04", json!("Fri, 20 Nov 2026 20:00:00 +0000"));
    let later = row("CA05", at("00:20:00"));
    let bound = row("CA0b", at("00:02:01"));
    let lookup = looked(&[incoming, elsewhere, other_from, yesterday, later, bound]);
    assert!(matches!(lookup, Lookup::Absent { .. }), "{lookup:?}");
}

#[test]
fn two_candidates_or_one_that_cannot_be_judged_prove_nothing() {
    let mut nameless = row("CA03", at("00:02:01"));
    nameless["direction"] = Value::Null;
    for rows in [
        vec![row("CA01", at("00:02:01")), row("CA02", at("00:02:09"))],
        vec![row("CA01", at("00:02:01")), row("CA02", at("00:08:00"))],
        vec![row("CA01", at("23:00:00")), row("CA02", Value::Null)],
        vec![row("CA01", at("00:08:00"))],
        vec![row("CA01", json!("yesterday"))],
        vec![nameless],
        vec![row("", at("00:02:01"))],
        vec![json!("row")],
    ] {
        assert!(matches!(looked(&rows), Lookup::Inconclusive { .. }), "{rows:?}");
    }
}

#[test]
fn the_next_page_is_of_the_same_listing_or_none() {
    let config = crate::config::Config::load(None, &Default::default()).unwrap().platforms.remove("twilio").unwrap();
    let config = crate::config::PlatformConfig {
        api_key: crate::config::Secret::new("token"),
        account_sid: Some("AC1".into()),
        base_url: "https://proxy.example/twilio".parse().unwrap(),
        ..config
    };
    let twilio = super::super::Twilio::new(&config).unwrap();
    let page = |uri: &str| twilio.page(uri).map(String::from);
    assert_eq!(
        page("/2010-04-01/Accounts/AC1/Calls.json?To=%2B1415&PageToken=PA1&Page=1").as_deref(),
        Some("https://proxy.example/twilio/2010-04-01/Accounts/AC1/Calls.json?To=%2B1415&PageToken=PA1&Page=1")
    );
    for elsewhere in [
        "https://evil.example/2010-04-01/Accounts/AC1/Calls.json?Page=1",
        "//evil.example/2010-04-01/Accounts/AC1/Calls.json?Page=1",
        "/2010-04-01/Accounts/AC2/Calls.json?Page=1",
        "/2010-04-01/Accounts/AC1/Calls.json",
        "",
    ] {
        assert_eq!(page(elsewhere), None, "{elsewhere}");
    }
}
