//! `/api/calls/` and `/api/thread-messages/`.

use serde_json::json;
use voxd::store::keys::Role;

use super::{Side, message};

async fn three_calls() -> (Side, String, String) {
    let side = Side::start().await;
    let (service, operator) = (side.key(Role::Service, "crm").await, side.key(Role::Operator, "ada").await);
    for (n, campaign) in [json!("123"), json!(123), json!("other")].into_iter().enumerate() {
        let name = format!("n{n}");
        let mut body = message(&name, &format!("+1415555012{n}"));
        body["metadata"] = json!({ "campaign_id": campaign });
        assert_eq!(side.send(&service, &name, &body).await.status, 202);
    }
    (side, service, operator)
}

fn names(list: &serde_json::Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|call| call["event_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn calls_are_listed_newest_first_with_masked_numbers() {
    let (side, service, operator) = three_calls().await;
    for key in [&operator, &service] {
        let list = side.get("/api/calls/", key).await;
        assert_eq!(list.status, 200, "{}", list.text);
        assert_eq!(names(&list.json()), ["n2", "n1", "n0"]);
        assert_eq!(list.json()["next_cursor"], json!(null));
        assert_eq!(list.json()["items"][0]["to_number"], "+1415•••••22");
        assert!(!list.text.contains("+1415555012"), "{}", list.text);
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let (side, _, operator) = three_calls().await;
    let (mut path, mut seen) = ("/api/calls/?limit=1".to_owned(), Vec::new());
    for _ in 0..3 {
        let page = side.get(&path, &operator).await.json();
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/calls/?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["n2", "n1", "n0"]);
}

#[tokio::test]
async fn calls_are_found_by_status_platform_lead_metadata_and_time() {
    let (side, _, operator) = three_calls().await;
    let cancelled: String =
        sqlx::query_scalar("select id::text from calls where event_id = 'n0'").fetch_one(&side.db).await.unwrap();
    assert_eq!(side.post(&format!("/api/calls/{cancelled}/cancel/"), &operator, &json!({})).await.status, 200);
    for (query, expected) in [
        ("status=cancelled", vec!["n0"]),
        ("status=cancelled,completed", vec!["n0"]),
        ("status=completed", vec![]),
        ("platform=bland_ai", vec!["n2", "n1", "n0"]),
        ("platform=vapi", vec![]),
        ("lead_id=lead-n1", vec!["n1"]),
        // As text and as number.
        ("metadata.campaign_id=123", vec!["n1", "n0"]),
        ("metadata.campaign_id=other&metadata.team=x", vec![]),
        ("created_after=2020-01-01T00:00:00Z", vec!["n2", "n1", "n0"]),
        ("created_before=2020-01-01T00:00:00Z", vec![]),
    ] {
        let list = side.get(&format!("/api/calls/?{query}"), &operator).await;
        assert_eq!(names(&list.json()), expected, "{query}");
    }
}

#[tokio::test]
async fn filters_that_cannot_be_read_are_refused_by_name() {
    let (side, _, operator) = three_calls().await;
    let refused = side.get("/api/calls/?status=done&limit=1000&cursor=x&created_after=soon&sttus=x", &operator).await;
    refused.problem(400, "bad_request");
    assert_eq!(refused.pointers(), ["/limit", "/status", "/created_after", "/cursor", "/sttus"]);
    assert!(refused.text.contains("did you mean \\\"status\\\"?"), "{}", refused.text);
    let nul = side.get("/api/calls/?lead_id=%00", &operator).await;
    assert_eq!(nul.problem(400, "bad_request"), "/lead_id: holds a NUL character");
}

#[tokio::test]
async fn one_call_comes_with_its_attempts_and_its_timeline() {
    let side = Side::start().await;
    let (service, operator) = (side.key(Role::Service, "crm").await, side.key(Role::Operator, "ada").await);
    let call = side.call(&service, "one", "+14155550123").await;
    let attempt = side.attempt(call, "placed", Some("bland-1")).await;
    let shown = side.get(&format!("/api/calls/{call}/"), &service).await;
    let detail = shown.json();
    assert_eq!(detail["status"], "placed");
    assert_eq!(detail["to_number"], "+1415•••••23");
    assert_eq!(detail["request"]["content"], "Hello Ada.");
    assert_eq!(detail["attempts"][0]["id"], json!(attempt));
    assert_eq!(detail["attempts"][0]["platform_call_id"], "bland-1");
    assert!(detail["thread_message_id"].is_string());
    let timeline: Vec<_> =
        detail["timeline"].as_array().unwrap().iter().map(|event| event["to_status"].clone()).collect();
    assert_eq!(timeline.last(), Some(&json!("placed")), "{timeline:?}");
    assert!(!shown.text.contains("+14155550123"));

    let revealed = side.get(&format!("/api/calls/{call}/?reveal=1"), &operator).await;
    assert_eq!(revealed.json()["to_number"], "+14155550123");
    let refused = side.get(&format!("/api/calls/{call}/?reveal=1"), &service).await;
    assert_eq!(refused.problem(403, "forbidden"), "reveal=1 is for operators");
}

#[tokio::test]
async fn a_call_that_is_not_there_is_not_found() {
    let side = Side::start().await;
    let operator = side.key(Role::Operator, "ada").await;
    let id = "00000000-0000-7000-8000-000000000000";
    let detail = format!("there is no call {id}");
    assert_eq!(side.get(&format!("/api/calls/{id}/"), &operator).await.problem(404, "not_found"), detail);
    assert_eq!(
        side.get("/api/calls/nonsense/", &operator).await.problem(404, "not_found"),
        "there is no call nonsense"
    );
    let cancel = side.post(&format!("/api/calls/{id}/cancel/"), &operator, &json!({})).await;
    assert_eq!(cancel.problem(404, "not_found"), detail);
    let settle = json!({ "as": "absent", "because": "asked them" });
    assert_eq!(
        side.post(&format!("/api/calls/{id}/settle/"), &operator, &settle).await.problem(404, "not_found"),
        detail
    );
}

#[tokio::test]
async fn an_unsent_call_is_cancelled_and_a_live_one_asked_to_end() {
    let side = Side::start().await;
    let (service, operator) = (side.key(Role::Service, "crm").await, side.key(Role::Operator, "ada").await);
    let unsent = side.call(&service, "unsent", "+14155550123").await;
    let path = format!("/api/calls/{unsent}/cancel/");
    let done = side.post(&path, &operator, &json!({ "reason": "wrong lead" })).await;
    assert_eq!((done.status.as_u16(), done.json()["status"].clone()), (200, json!("cancelled")));
    // Without a body, and a second time.
    let again = super::reply(side.request(reqwest::Method::POST, &path, Some(&operator))).await;
    assert_eq!((again.status.as_u16(), again.json()["detail"].clone()), (200, json!("it was cancelled before")));
    let timeline = side.get(&format!("/api/calls/{unsent}/"), &operator).await.json()["timeline"].to_string();
    assert!(timeline.contains("wrong lead") && timeline.contains("operator:ada"), "{timeline}");

    let live = side.call(&service, "live", "+14155550124").await;
    side.attempt(live, "placed", Some("bland-1")).await;
    let asked = side.post(&format!("/api/calls/{live}/cancel/"), &operator, &json!({})).await;
    assert_eq!((asked.status.as_u16(), asked.json()["status"].clone()), (202, json!("placed")));

    let over = side.call(&service, "over", "+14155550125").await;
    side.attempt(over, "completed", Some("bland-2")).await;
    let late = side.post(&format!("/api/calls/{over}/cancel/"), &operator, &json!({})).await;
    assert_eq!(late.problem(409, "wrong_status"), "the call has ended: it is completed");
    let empty = side.post(&path, &operator, &json!({ "reason": "" })).await;
    assert_eq!(empty.problem(422, "invalid"), "/reason: has 0 characters, expected text of 1 to 500 characters");
}

#[tokio::test]
async fn only_an_unknown_call_is_settled() {
    let side = Side::start().await;
    let (service, operator) = (side.key(Role::Service, "crm").await, side.key(Role::Operator, "ada").await);
    let known = side.call(&service, "known", "+14155550123").await;
    let settle = json!({ "as": "placed", "because": "seen in their console", "platform_call_id": "bland-7" });
    let refused = side.post(&format!("/api/calls/{known}/settle/"), &operator, &settle).await;
    let detail = refused.problem(409, "wrong_status");
    assert!(detail.starts_with("only unknown calls are settled, this one is "), "{detail}");

    let unknown = side.call(&service, "unknown", "+14155550124").await;
    side.attempt(unknown, "unknown", None).await;
    let path = format!("/api/calls/{unknown}/settle/");
    for (body, pointer) in [
        (json!({ "as": "maybe", "because": "x" }), "/as"),
        (json!({ "as": "absent" }), ""),
        (json!({ "as": "absent", "because": " " }), "/because"),
        (json!({ "as": "absent", "because": "x", "platform_call_id": "y" }), "/platform_call_id"),
        (json!({ "as": "absent", "because": "x", "becaus": "y" }), "/becaus"),
    ] {
        let refused = side.post(&path, &operator, &body).await;
        refused.problem(422, "invalid");
        assert_eq!(refused.pointers(), [pointer], "{body}");
    }
    let settled = side.post(&path, &operator, &settle).await;
    assert_eq!((settled.status.as_u16(), settled.json()["status"].clone()), (200, json!("placed")));
    let shown = side.get(&format!("/api/calls/{unknown}/"), &operator).await.json();
    assert_eq!(shown["attempts"][0]["platform_call_id"], "bland-7");
    assert_eq!(shown["attempts"][0]["evidence"][0]["because"], "seen in their console");
}

#[tokio::test]
async fn a_leads_messages_are_listed_for_operators_and_services() {
    let side = Side::start().await;
    let (service, operator) = (side.key(Role::Service, "crm").await, side.key(Role::Operator, "ada").await);
    let call = side.call(&service, "a", "+14155550123").await;
    side.call(&service, "b", "+14155550124").await;
    for key in [&service, &operator] {
        let list = side.get("/api/thread-messages/?lead_id=lead-a", key).await.json();
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{list}");
        assert_eq!((&items[0]["call_id"], &items[0]["content"]), (&json!(call), &json!("Hello Ada.")));
    }
    let missing = side.get("/api/thread-messages/", &operator).await;
    assert_eq!(missing.problem(400, "bad_request"), "/lead_id: is missing, expected a lead's id");
}
