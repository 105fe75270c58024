use super::*;
use crate::config::{Config, Environment};

fn section() -> PlatformConfig {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(NAME).unwrap();
    config.api_key = Secret::new("key");
    config
}

fn vapi(config: &PlatformConfig) -> Vapi {
    Vapi {
        base_url: config.base_url.clone(),
        authorization: HeaderValue::from_static("Bearer key"),
        create: CreateClient::new(config.connect_timeout, config.request_timeout).unwrap(),
        read: ReadClient::new(NAME, config.connect_timeout, config.request_timeout).unwrap(),
        verifier: webhook::Verifier::new(WebhookAuth::Hmac, &[]),
        credential_id: None,
        inline_secret: Some(Secret::new("hush")),
    }
}

#[test]
fn a_platform_without_its_key_says_which_one() {
    let config = PlatformConfig { api_key: Secret::default(), ..section() };
    assert_eq!(from_config(&config).err().as_deref(), Some("VAPI_API_KEY is not set"));
    let config = PlatformConfig { api_key: Secret::new("line\nbreak"), ..section() };
    assert!(from_config(&config).err().is_some_and(|reason| !reason.contains("break")));
}

#[tokio::test]
async fn ids_that_would_leave_their_path_are_asked_of_nobody() {
    let platform = from_config(&section()).unwrap();
    for id in ["../../call", "", "a/stop", "a?b"] {
        assert_eq!(platform.call_status(&PlacedCall::new(id)).await, Err(PlatformError::NotFound), "{id}");
        assert_eq!(platform.end_call(&PlacedCall::new(id)).await, Err(PlatformError::NotFound), "{id}");
    }
}

#[test]
fn commands_go_to_https_addresses_only_or_to_where_the_api_itself_is() {
    let real = vapi(&section());
    for fine in
        ["https://phone-call-websocket.aws-us-west-2-backend-production1.vapi.ai/x/control", "https://api.vapi.ai/x"]
    {
        assert!(real.control_address(fine).is_ok(), "{fine}");
    }
    for bad in [
        "http://control.vapi.ai/x",
        "http://127.0.0.1/x",
        "https://user:pw@vapi.ai/",
        "file:///etc/passwd",
        "wss://x.vapi.ai/",
        "x",
        "",
    ] {
        assert!(real.control_address(bad).is_err(), "{bad}");
    }
    let simulated = vapi(&PlatformConfig { base_url: "http://127.0.0.1:4010".parse().unwrap(), ..section() });
    assert!(simulated.control_address("http://127.0.0.1:4010/control/x").is_ok());
    assert!(simulated.control_address("http://127.0.0.1:4011/control/x").is_err());
}

#[test]
fn an_inline_secret_goes_out_and_shows_nowhere_else() {
    let platform = vapi(&section());
    let payload = Payload {
        path: "/call".into(),
        encoding: Encoding::Json,
        fields: serde_json::from_str(r#"{"assistantOverrides":{"server":{"url":"https://x.example"}}}"#).unwrap(),
    };
    assert_eq!(platform.with_secret(&payload).fields["assistantOverrides"]["server"]["secret"], "hush");
    let shown = format!("{:?} {:?}", payload, platform.preview(&payload));
    assert!(!shown.contains("hush") && !shown.contains("Bearer key"));
}
