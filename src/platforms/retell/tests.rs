use serde_json::json;

use super::*;
use crate::config::{Config, Environment, Secret};

fn section() -> PlatformConfig {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(NAME).unwrap();
    config.api_key = Secret::new("key_1");
    config
}

#[test]
fn a_platform_without_its_key_says_which_one() {
    let config = PlatformConfig { api_key: Secret::default(), ..section() };
    assert_eq!(from_config(&config).err().as_deref(), Some("RETELL_API_KEY is not set"));
    let config = PlatformConfig { api_key: Secret::new("line\nbreak"), ..section() };
    assert!(from_config(&config).err().is_some_and(|reason| !reason.contains("break")));
}

fn verified(config: &PlatformConfig, secret: &str) -> Result<VerifiedBy, SignatureError> {
    let (body, stamp) = (b"{}", clock::now().timestamp_millis().to_string());
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, &[body, stamp.as_bytes()].concat());
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let header = HeaderValue::from_str(&format!("v={stamp},d={tag}")).unwrap();
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-retell-signature"), header)]);
    from_config(config).unwrap().verify_webhook(&headers, "https://voxd.example/webhooks/retell", body)
}

#[test]
fn the_api_key_verifies_unless_secrets_are_set() {
    assert_eq!(verified(&section(), "key_1"), Ok(VerifiedBy("hmac".into())));
    let rotated = PlatformConfig { webhook_secret: vec![Secret::new("key_9"), Secret::new("key_8")], ..section() };
    assert_eq!(verified(&rotated, "key_8"), Ok(VerifiedBy("hmac#2".into())));
    assert_eq!(verified(&rotated, "key_1"), Err(SignatureError::Mismatch));
}

#[tokio::test]
async fn ids_that_would_leave_their_path_are_asked_of_nobody() {
    let platform = from_config(&section()).unwrap();
    for id in ["../create-phone-call", "", "a/b", "a?b"] {
        assert_eq!(platform.call_status(&PlacedCall::new(id)).await, Err(PlatformError::NotFound), "{id}");
        assert_eq!(platform.end_call(&PlacedCall::new(id)).await, Err(PlatformError::NotFound), "{id}");
    }
}

#[test]
fn lines_are_read_from_what_the_account_tells() {
    for (answer, expected) in [
        (json!({ "current_concurrency": 3, "concurrency_limit": 20, "concurrency_burst_limit": 60 }), Some((3, 20))),
        (json!({ "current_concurrency": 0, "base_concurrency": 20, "purchased_concurrency": 5 }), Some((0, 25))),
        (json!({ "concurrency_limit": 20 }), None),
        (json!({ "current_concurrency": 3, "concurrency_limit": 0 }), None),
        (json!({ "current_concurrency": -1, "concurrency_limit": "20" }), None),
        (json!([]), None),
    ] {
        assert_eq!(concurrency(&answer).map(|lines| (lines.current, lines.limit)), expected, "{answer}");
    }
}
