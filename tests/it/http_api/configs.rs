//! `/api/voice-configs/`.

use reqwest::Method;
use serde_json::json;
use voxd::store::keys::Role;

use super::{Side, reply};

#[tokio::test]
async fn a_configuration_is_stored_replaced_listed_and_removed() {
    let side = Side::start().await;
    let key = side.key(Role::Operator, "ada").await;
    let path = "/api/voice-configs/appointment-reminder/";
    let config = json!({ "platform": "bland_ai", "language": "en", "max_duration": 5, "platform_config": { "temperature": 0.7 } });
    let new = side.put(path, &key, &config).await;
    assert_eq!(new.status, 201, "{}", new.text);
    assert_eq!(new.json()["config"]["max_duration"], 5);
    let replaced = side.put(path, &key, &json!({ "platform": "bland_ai", "max_duration": 6 })).await;
    assert_eq!((replaced.status.as_u16(), replaced.json()["config"]["max_duration"].clone()), (200, json!(6)));
    assert_eq!(side.get(path, &key).await.json()["config"]["max_duration"], 6);

    side.put("/api/voice-configs/Zoe/", &key, &json!({ "platform": "bland_ai" })).await;
    let first = side.get("/api/voice-configs/?limit=1", &key).await.json();
    assert_eq!(first["items"][0]["name"], "Zoe");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = side.get(&format!("/api/voice-configs/?limit=1&cursor={cursor}"), &key).await.json();
    assert_eq!((&second["items"][0]["name"], &second["next_cursor"]), (&json!("appointment-reminder"), &json!(null)));

    let delete = || reply(side.request(Method::DELETE, path, Some(&key)));
    assert_eq!(delete().await.status, 204);
    let detail = "there is no voice configuration \"appointment-reminder\"";
    assert_eq!(delete().await.problem(404, "not_found"), detail);
    assert_eq!(side.get(path, &key).await.problem(404, "not_found"), detail);
}

#[tokio::test]
async fn what_no_call_could_be_made_with_is_not_stored() {
    let side = Side::start().await;
    let key = side.key(Role::Operator, "ada").await;
    for (config, pointers) in [
        (json!({ "platform": "bland_ai", "max_durration": 5 }), vec!["/max_durration"]),
        (json!({ "platform": "bland_ai", "max_duration": 0 }), vec!["/max_duration"]),
        (json!({}), vec!["/platform"]),
        (json!({ "platform": "nobody", "fallback_platforms": ["noone"] }), vec!["/platform", "/fallback_platforms/0"]),
        (
            json!({ "platform": "bland_ai", "platform_config": { "temprature": 1 } }),
            vec!["/platform_config/temprature"],
        ),
        (
            json!({ "platform": "bland_ai", "platform_config": { "temperature": 7 } }),
            vec!["/platform_config/temperature"],
        ),
        (
            json!({ "platform": "bland_ai", "calling_window": { "from": "20:00", "to": "09:00" } }),
            vec!["/calling_window/to"],
        ),
    ] {
        let refused = side.put("/api/voice-configs/x/", &key, &config).await;
        refused.problem(422, "invalid");
        assert_eq!(refused.pointers(), pointers, "{config}: {}", refused.text);
    }
    let misspelt = side
        .put("/api/voice-configs/x/", &key, &json!({ "platform": "bland_ai", "platform_config": { "temprature": 1 } }))
        .await;
    assert!(misspelt.problem(422, "invalid").contains("temperature"), "{}", misspelt.text);
    let unsupported = side.put("/api/voice-configs/x/", &key, &json!({ "platform": "nobody" })).await;
    assert_eq!(
        unsupported.problem(422, "invalid"),
        "/platform: platform \"nobody\" is not supported, expected one of: bland_ai, elevenlabs, retell, twilio, vapi"
    );
    let name = side.put("/api/voice-configs/-x/", &key, &json!({ "platform": "bland_ai" })).await;
    assert_eq!(
        name.problem(422, "invalid"),
        "the name has 1 to 128 letters, digits, \".\", \"_\" or \"-\", and begins with a letter or digit"
    );
    assert_eq!(side.count("select count(*) from voice_configs").await, 0);
}
