//! `POST /api/messages/`: the same acceptance as a job.

use reqwest::Method;
use serde_json::json;
use voxd::store::keys::Role;

use super::{Side, message, reply};

#[tokio::test]
async fn a_message_becomes_a_call_and_its_repeat_is_answered_alike() {
    let side = Side::start().await;
    let key = side.key(Role::Service, "crm").await;
    let first = side.send(&key, "welcome", &message("a", "+14155550123")).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let again = side.send(&key, "welcome", &message("a", "+14155550123")).await;
    assert_eq!((again.status.as_u16(), again.json()), (202, first.json()));
    assert_eq!(side.count("select count(*) from calls where source = 'api:crm' and event_id = 'welcome'").await, 1);
    assert_eq!(side.count("select count(*) from thread_messages where message_type = 'reminder'").await, 1);
}

#[tokio::test]
async fn a_key_reused_for_another_message_is_a_conflict() {
    let side = Side::start().await;
    let key = side.key(Role::Service, "crm").await;
    side.call(&key, "welcome", "+14155550123").await;
    let other = side.send(&key, "welcome", &message("b", "+14155550124")).await;
    assert_eq!(
        other.problem(409, "key_reused"),
        "the same Idempotency-Key came before with another message, expected a new key"
    );
    assert_eq!(side.count("select count(*) from calls").await, 1);
}

#[tokio::test]
async fn owners_do_not_share_keys() {
    let side = Side::start().await;
    let (crm, shop) = (side.key(Role::Service, "crm").await, side.key(Role::Service, "shop").await);
    let first = side.call(&crm, "welcome", "+14155550123").await;
    let other = side.send(&shop, "welcome", &message("b", "+14155550124")).await;
    assert_eq!(other.status, 202, "{}", other.text);
    assert_ne!(other.json()["call_id"], json!(first));
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_named_field_by_field() {
    let side = Side::start().await;
    let key = side.key(Role::Service, "crm").await;
    let mut bad = message("a", "+14155550123");
    bad["lead"] = json!({ "phone_nmber": "+14155550123" });
    let refused = side.send(&key, "k", &bad).await;
    let detail = refused.problem(422, "invalid");
    assert!(detail.starts_with("/lead/phone_nmber: unknown field (did you mean \"phone_number\"?)"), "{detail}");
    assert_eq!(refused.pointers(), ["/lead/phone_nmber", "/lead/phone_number"]);

    let mut bad = message("a", "+1415555");
    bad["channel"] = json!("sms");
    assert_eq!(side.send(&key, "k", &bad).await.problem(422, "invalid"), "/channel: is \"sms\", expected \"voice\"");
    bad["channel"] = json!("voice");
    let refused = side.send(&key, "k", &bad).await;
    assert_eq!(refused.pointers(), ["/lead/phone_number"]);

    let mut bad = message("a", "+14155550123");
    bad["content"] = json!("nul \u{0}");
    let detail = side.send(&key, "k", &bad).await.problem(422, "invalid");
    assert_eq!(detail, "/content: holds a NUL character (\\u0000), which cannot be stored");
    assert_eq!(side.count("select count(*) from calls").await, 0);
}

#[tokio::test]
async fn the_idempotency_key_is_demanded() {
    let side = Side::start().await;
    let key = side.key(Role::Service, "crm").await;
    let answer = side.post("/api/messages/", &key, &message("a", "+14155550123")).await;
    assert_eq!(
        answer.problem(400, "bad_request"),
        "the header Idempotency-Key is missing, expected 1 to 256 printable ASCII characters that name the message"
    );
    let long = side.send(&key, &"k".repeat(257), &message("a", "+14155550123")).await;
    assert!(long.problem(400, "bad_request").contains("has 257 characters"));
}

#[tokio::test]
async fn a_body_that_is_not_json_is_told_apart_from_one_that_does_not_fit() {
    let side = Side::start().await;
    let key = side.key(Role::Service, "crm").await;
    let post = |media: &'static str, body: Vec<u8>| {
        let request = side.request(Method::POST, "/api/messages/", Some(&key)).header("Idempotency-Key", "k");
        reply(request.header("content-type", media).body(body))
    };
    let broken = post("application/json", b"{\"channel\": ".to_vec()).await;
    assert!(broken.problem(400, "bad_request").starts_with("the body is not JSON: EOF while parsing"));
    let text = post("text/plain", b"{}".to_vec()).await;
    assert_eq!(
        text.problem(415, "unsupported_media_type"),
        "Content-Type is \"text/plain\", expected application/json"
    );
    let large = post("application/json", vec![b' '; 1_048_577]).await;
    assert_eq!(large.problem(413, "too_large"), "the body has more than 1048576 bytes");
    let list = post("application/json", b"[]".to_vec()).await;
    assert_eq!(list.problem(422, "invalid"), ": is not an object, expected an object");
}
