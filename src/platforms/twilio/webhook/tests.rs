use super::*;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const CALL: &str = "CA00000000000000000000000000000001";

fn one(rest: &str) -> CallUpdate {
    let body = format!("CallSid={CALL}&AccountSid={ACCOUNT}&From=%2B15550100001&To=%2B15550100002{rest}");
    let mut updates = normalize(body.as_bytes(), ACCOUNT).unwrap();
    assert_eq!(updates.len(), 1);
    updates.remove(0)
}

#[test]
fn the_documented_end_of_a_call_fills_state_and_facts() {
    let update = one(
        "&Caller=%2B15550100001&Called=%2B15550100002&Direction=outbound-api&ApiVersion=2010-04-01&CallStatus=completed\
         &Timestamp=Sun%2C+30+Aug+2026+10%3A01%3A14+%2B0000&CallbackSource=call-progress-events&SequenceNumber=3\
         &CallDuration=65&Duration=2&SipResponseCode=200",
    );
    assert_eq!((update.platform_call_id.as_deref(), update.state), (Some(CALL), Some(AttemptState::Completed)));
    assert_eq!(update.facts.duration_seconds, Some(65), "Duration is in minutes");
    assert_eq!(
        (update.occurred_at, update.facts.ended_at),
        (update.facts.ended_at, "2026-08-30T10:01:14Z".parse().ok())
    );
    assert_eq!(update.raw_status.as_deref(), Some("status=completed sip=200 sequence=3"));
    assert_eq!((update.attempt_id, update.reason), (None, None), "the address names the attempt");
}

#[test]
fn every_event_has_its_state() {
    use AttemptState::*;
    for (status, state) in [
        ("queued", Placed),
        ("initiated", Placed),
        ("ringing", Ringing),
        ("in-progress", InProgress),
        ("completed", Completed),
        ("busy", Busy),
        ("no-answer", NoAnswer),
        ("canceled", Cancelled),
        ("failed", Failed),
    ] {
        assert_eq!(one(&format!("&CallStatus={status}")).state, Some(state), "{status}");
    }
    let update = one("&CallStatus=levitating&SequenceNumber=1");
    assert_eq!((update.state, update.raw_status.as_deref()), (None, Some("status=levitating sequence=1")));
}

#[test]
fn a_machine_that_answers_with_the_end_makes_it_a_voicemail_and_a_fax_a_failure() {
    for machine in ["machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other"] {
        let update = one(&format!("&CallStatus=completed&AnsweredBy={machine}"));
        assert_eq!(update.state, Some(AttemptState::Voicemail), "{machine}");
        assert_eq!(update.facts.answered_by.as_deref(), Some("voicemail"));
    }
    let update = one("&CallStatus=completed&AnsweredBy=fax");
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Failed), Some("fax")));
    assert_eq!(one("&CallStatus=in-progress&AnsweredBy=machine_start").state, Some(AttemptState::InProgress));
}

#[test]
fn what_detection_says_alone_is_a_fact() {
    let update = one("&AnsweredBy=machine_end_beep&MachineDetectionDuration=4200");
    assert_eq!((update.state, update.facts.answered_by.as_deref()), (None, Some("voicemail")));
    assert_eq!(one("&AnsweredBy=human").facts.answered_by.as_deref(), Some("human"));
    assert_eq!(one("&AnsweredBy=parrot").facts.answered_by.as_deref(), Some("parrot"));
}

#[test]
fn a_recording_counts_once_its_media_exists() {
    let recorded = |status: &str| {
        let url = "https%3A%2F%2Fapi.twilio.com%2F2010-04-01%2FAccounts%2FAC1%2FRecordings%2FRE1";
        one(&format!("&RecordingSid=RE1&RecordingUrl={url}&RecordingStatus={status}&RecordingDuration=65"))
    };
    let update = recorded("completed");
    assert_eq!(update.state, None);
    assert_eq!(
        update.facts.recording_url.as_deref(),
        Some("https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1")
    );
    assert!(recorded("in-progress").facts.is_empty());
    assert!(one("&RecordingStatus=absent").facts.is_empty());
    assert!(one("&RecordingUrl=javascript%3Aalert(1)").facts.is_empty());
}

#[test]
fn failures_are_told_apart_by_the_carriers_code() {
    for (code, reason) in [
        ("404", "invalid_number"),
        ("484", "invalid_number"),
        ("603", "declined"),
        ("607", "spam_blocked"),
        ("608", "spam_blocked"),
        ("480", "unavailable"),
        ("503", "carrier_error"),
        ("", "provider_error"),
        ("5", "provider_error"),
        ("999", "provider_error"),
    ] {
        let update = one(&format!("&CallStatus=failed&SipResponseCode={code}"));
        assert_eq!(update.reason.as_deref(), Some(reason), "{code}");
    }
    let update = one("&CallStatus=failed&ErrorCode=22005&ErrorMessage=Call+to+%2B14155550123+waited+too+long");
    assert_eq!(update.reason.as_deref(), Some("queue_timeout"));
    assert_eq!(update.facts.error_message.as_deref(), Some("Call to +…23 waited too long"));
    // A carrier's code beside another end is none of a failure.
    assert_eq!(one("&CallStatus=busy&SipResponseCode=603").reason, None);
}

#[test]
fn what_is_not_ours_or_names_no_call_is_unreadable() {
    let other = "AC00000000000000000000000000000002";
    for body in [
        String::new(),
        "<xml/>".into(),
        "[]".into(),
        "{}".into(),
        format!("AccountSid={ACCOUNT}&CallStatus=completed"),
        format!("CallSid=../../x&AccountSid={ACCOUNT}&CallStatus=completed"),
        format!("CallSid={CALL}&CallStatus=completed"),
        format!("CallSid={CALL}&AccountSid={other}&CallStatus=completed"),
    ] {
        assert!(normalize(body.as_bytes(), ACCOUNT).is_err(), "{body}");
    }
    assert!(normalize(&[0xff, 0x00, b'='], ACCOUNT).is_err());
}

#[test]
fn the_same_words_in_json_are_read_too() {
    let body = format!(r#"{{"CallSid":"{CALL}","AccountSid":"{ACCOUNT}","CallStatus":"busy","SequenceNumber":3}}"#);
    assert_eq!(normalize(body.as_bytes(), ACCOUNT).unwrap()[0].state, Some(AttemptState::Busy));
}
