use super::*;
use crate::config::{Config, Environment, Secret};

const SID: &str = "CA00000000000000000000000000000001";

fn stopped(status: u16, body: &str) -> Result<(), PlatformError> {
    sort_stop(&Reply { status, body: bytes::Bytes::copy_from_slice(body.as_bytes()) })
}

#[test]
fn a_call_that_is_over_is_no_live_call() {
    assert_eq!(stopped(200, &format!(r#"{{"sid":"{SID}","status":"completed"}}"#)), Ok(()));
    let over = r#"{"code":21220,"message":"Call is not in-progress. Cannot redirect.","status":400}"#;
    assert_eq!(stopped(400, over), Err(PlatformError::NotFound));
    let gone = r#"{"code":20404,"message":"The requested resource was not found","status":404}"#;
    assert_eq!(stopped(404, gone), Err(PlatformError::NotFound));
    for (status, body) in [(404, "<html>"), (429, "{}"), (500, "<html>"), (200, "<html>")] {
        assert!(matches!(stopped(status, body), Err(PlatformError::Temporary(_))), "{status} {body}");
    }
    for (status, body) in [(400, r#"{"code":21218,"message":"x"}"#), (401, "{}"), (307, "")] {
        assert!(matches!(stopped(status, body), Err(PlatformError::Permanent(_))), "{status} {body}");
    }
}

fn section() -> PlatformConfig {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(NAME).unwrap();
    config.api_key = Secret::new("token");
    config.account_sid = Some("AC00000000000000000000000000000001".into());
    config
}

fn why_off(config: &PlatformConfig) -> Option<String> {
    from_config(config).err()
}

#[test]
fn an_account_that_is_not_set_says_what_is_missing() {
    assert_eq!(why_off(&section()), None);
    let config = PlatformConfig { api_key: Secret::default(), ..section() };
    assert_eq!(why_off(&config).as_deref(), Some("TWILIO_AUTH_TOKEN is not set"));
    for sid in [None, Some(String::new())] {
        let config = PlatformConfig { account_sid: sid, ..section() };
        assert_eq!(why_off(&config).as_deref(), Some("TWILIO_ACCOUNT_SID is not set"));
    }
    let config = PlatformConfig { account_sid: Some("AC1/../AC2".into()), ..section() };
    assert!(why_off(&config).is_some());
}

#[test]
fn the_auth_token_verifies_unless_secrets_are_given_or_an_api_key_is_used() {
    let signed = |token: &str| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let tag = BASE64_STANDARD.encode(aws_lc_rs::hmac::sign(&key, b"https://h.example/A1"));
        headers.insert(signature::SIGNATURE_HEADER, HeaderValue::from_str(&tag).unwrap());
        headers
    };
    let verified = |config: &PlatformConfig, token: &str| {
        from_config(config).unwrap().verify_webhook(&signed(token), "https://h.example/", b"A=1").map(|by| by.0)
    };
    assert_eq!(verified(&section(), "token").as_deref(), Ok("hmac_sha1"));
    let rotated = PlatformConfig { webhook_secret: vec![Secret::new("new"), Secret::new("old")], ..section() };
    assert_eq!(verified(&rotated, "old").as_deref(), Ok("hmac_sha1#2"));
    assert_eq!(verified(&rotated, "token"), Err(SignatureError::Mismatch));
    let keyed = PlatformConfig { api_key_sid: Some("SK00000000000000000000000000000001".into()), ..section() };
    assert_eq!(
        verified(&keyed, "token"),
        Err(SignatureError::NoSecret),
        "that is the key's secret, not the auth token"
    );
}

#[tokio::test]
async fn ids_that_would_leave_their_path_are_asked_of_nobody() {
    let platform = from_config(&section()).unwrap();
    for id in ["../../Accounts", "", "CA1/../CA2", "CA1?x", "AC00000000000000000000000000000001"] {
        let call = PlacedCall::new(id);
        assert_eq!(platform.call_status(&call).await, Err(PlatformError::NotFound), "{id}");
        assert_eq!(platform.end_call(&call).await, Err(PlatformError::NotFound), "{id}");
        assert_eq!(platform.cancel_queued(&call).await, Err(PlatformError::NotFound), "{id}");
    }
}
