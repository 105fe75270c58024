use super::*;
use crate::config::{Config, Environment, Secret};

fn stopped(status: u16, body: &str) -> Result<(), PlatformError> {
    sort_stop(&Reply { status, body: bytes::Bytes::copy_from_slice(body.as_bytes()) })
}

#[test]
fn a_stop_is_judged_by_its_body() {
    assert_eq!(stopped(200, r#"{"status":"success","message":"Call ended successfully."}"#), Ok(()));
    for status in [200, 400, 404, 500] {
        let unknown = stopped(status, r#"{"status":"error","message":"SID not found for call x"}"#);
        assert_eq!(unknown, Err(PlatformError::NotFound), "{status}");
    }
    for (status, body) in [
        (200, r#"{"status":"error","message":"Internal error"}"#),
        (200, ""),
        (200, "{}"),
        (404, "<html>"),
        (500, "<html>"),
        (400, r#"{"status":"success"}"#),
    ] {
        assert!(matches!(stopped(status, body), Err(PlatformError::Temporary(_))), "{status} {body}");
    }
    for status in [307, 401, 403] {
        assert!(matches!(stopped(status, "{}"), Err(PlatformError::Permanent(_))), "{status}");
    }
}

fn section() -> PlatformConfig {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(NAME).unwrap();
    config.api_key = Secret::new("org_1");
    config
}

#[test]
fn a_platform_without_its_key_says_which_one() {
    let config = PlatformConfig { api_key: Secret::default(), ..section() };
    assert_eq!(from_config(&config).err().as_deref(), Some("BLAND_AI_API_KEY is not set"));
    let config = PlatformConfig { api_key: Secret::new("line\nbreak"), ..section() };
    assert!(from_config(&config).err().is_some_and(|reason| !reason.contains("break")));
}

#[tokio::test]
async fn ids_that_would_leave_their_path_are_asked_of_nobody() {
    let platform = from_config(&section()).unwrap();
    for id in ["../../v1/calls/active", "", "a/stop", "a?b"] {
        assert_eq!(platform.call_status(&PlacedCall::new(id)).await, Err(PlatformError::NotFound), "{id}");
        assert_eq!(platform.end_call(&PlacedCall::new(id)).await, Err(PlatformError::NotFound), "{id}");
    }
    // A plausible word that is a path of its own: ending it would end every call of the account.
    assert_eq!(platform.end_call(&PlacedCall::new("active")).await, Err(PlatformError::NotFound));
}
