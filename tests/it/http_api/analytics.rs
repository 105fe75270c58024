//! What calls cost, and `/api/analytics/calls/`.

use serde_json::{Value, json};
use sqlx::types::Decimal;
use uuid::Uuid;
use voxd::store::keys::Role;

use super::webhooks::{placed, post, until};
use super::{Side, message};
use crate::harness::{database, eventually};

const PRICES: &[(&str, &str)] =
    &[("VOXD_COSTS__BLAND_AI__PER_MINUTE", "0.09"), ("VOXD_COSTS__BLAND_AI__PER_ATTEMPT", "0.015")];

async fn with_prices() -> Side {
    Side::with(&database().await, PRICES).await
}

async fn tell(side: &Side, facts: &Value) {
    let mut body = json!({ "call_id": "bland-1", "status": "completed", "completed": true, "answered_by": "human" });
    body.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
    assert_eq!(post(side, "/webhooks/bland_ai", body.to_string()).await.status, 200);
}

async fn until_cost(side: &Side, attempt: Uuid, wanted: (&str, &str)) {
    let (amount, source) = wanted;
    eventually(&format!("it cost {amount}, {source}"), async || {
        let cost: (Option<Decimal>, Option<String>) =
            sqlx::query_as("select cost_amount, cost_source from call_attempts where id = $1")
                .bind(attempt)
                .fetch_one(&side.db)
                .await
                .unwrap();
        (cost == (Some(amount.parse().unwrap()), Some(source.into()))).then_some(())
    })
    .await;
}

/// `(scope, name, sum)` of what was spent, in USD.
async fn spending(side: &Side) -> Vec<(String, String, Decimal)> {
    let sums = "select scope, name, sum(amount) from spending where currency = 'USD' group by 1, 2 order by 1, 2";
    sqlx::query_as(sums).fetch_all(&side.db).await.unwrap()
}

#[tokio::test]
async fn a_cost_that_no_platform_tells_is_estimated_until_it_does() {
    let side = with_prices().await;
    let (call, attempt) = placed(&side, "a", "+14155550123", "bland-1").await;
    tell(&side, &json!({})).await;
    until(&side, call, "completed").await;
    until_cost(&side, attempt, ("0.015", "estimated")).await;
    // How long it lasted comes later, and makes a better estimate.
    tell(&side, &json!({ "corrected_duration": "61" })).await;
    until_cost(&side, attempt, ("0.195", "estimated")).await;
    let sums = |amount: &str| {
        [("platform", "bland_ai"), ("user", "user-7")]
            .map(|(scope, name)| (scope.to_owned(), name.to_owned(), amount.parse::<Decimal>().unwrap()))
    };
    assert_eq!(spending(&side).await, sums("0.195"));
    let key = side.key(Role::Operator, "ada").await;
    let costs = async || side.get("/api/analytics/calls/", &key).await.json()["total"]["costs"].clone();
    let (amount, estimated) = ("0.195", "0.195");
    let cost = |amount: &str, estimated: &str| json!([{ "currency": "USD", "amount": amount, "estimated": estimated, "per_completed_call": amount }]);
    assert_eq!(costs().await, cost(amount, estimated));
    // What the platform tells replaces it, and no later estimate replaces that.
    tell(&side, &json!({ "price": 0.11 })).await;
    until_cost(&side, attempt, ("0.11", "reported")).await;
    tell(&side, &json!({ "corrected_duration": "600" })).await;
    eventually("its duration is corrected", async || {
        let count = "select count(*) from call_attempts where duration_seconds = 600";
        (side.count(count).await == 1).then_some(())
    })
    .await;
    until_cost(&side, attempt, ("0.11", "reported")).await;
    assert_eq!(spending(&side).await, sums("0.11"));
    assert_eq!(costs().await, cost("0.11", "0"));
    let shown = side.get(&format!("/api/calls/{call}/"), &key).await.json();
    assert_eq!(shown["attempts"][0]["cost_source"], "reported");
}

#[tokio::test]
async fn without_a_price_nothing_is_estimated() {
    let side = Side::start().await;
    let (call, _) = placed(&side, "a", "+14155550123", "bland-1").await;
    tell(&side, &json!({ "corrected_duration": "61" })).await;
    until(&side, call, "completed").await;
    assert_eq!(side.count("select count(*) from call_attempts where cost_amount is not null").await, 0);
    assert_eq!(side.count("select count(*) from spending").await, 0);
}

/// Calls that ended in all ways: (name, campaign, end, cost).
const CALLS: &[(&str, &str, &str, Option<(&str, &str)>)] = &[
    ("n0", "spring", "completed", Some(("0.30", "USD"))),
    ("n1", "spring", "busy", Some(("0.10", "USD"))),
    ("n2", "=1+1", "completed", Some(("0.20", "EUR"))),
    ("n3", "=1+1", "no_answer", None),
    ("n4", "spring", "failed", None),
];

async fn many_calls() -> (Side, String) {
    let side = Side::start().await;
    let (service, operator) = (side.key(Role::Service, "crm").await, side.key(Role::Operator, "ada").await);
    for (n, (name, campaign, end, cost)) in CALLS.iter().enumerate() {
        let mut body = message(name, &format!("+1415555012{n}"));
        body["metadata"] = json!({ "campaign_id": campaign });
        let made = side.send(&service, name, &body).await;
        let call: Uuid = made.json()["call_id"].as_str().unwrap().parse().unwrap();
        let attempt = side.attempt(call, end, Some(name)).await;
        if let Some((amount, currency)) = cost {
            sqlx::query("update call_attempts set cost_amount = $2, cost_currency = $3, cost_source = 'reported', duration_seconds = 30 where id = $1")
                .bind(attempt)
                .bind(amount.parse::<Decimal>().unwrap())
                .bind(currency)
                .execute(&side.db)
                .await
                .unwrap();
        }
    }
    let mut waiting = message("n5", "+14155550125");
    waiting["metadata"] = json!({});
    side.send(&service, "n5", &waiting).await;
    (side, operator)
}

#[tokio::test]
async fn calls_are_counted_by_several_keys_and_currencies_stay_apart() {
    let (side, operator) = many_calls().await;
    let report = side.get("/api/analytics/calls/?group_by=campaign_id,platform", &operator).await.json();
    let items = report["items"].as_array().unwrap();
    let by = |campaign: Value| items.iter().find(|item| item["campaign_id"] == campaign).unwrap();
    let spring = by(json!("spring"));
    assert_eq!(
        (&spring["platform"], &spring["calls"], &spring["answer_rate"]),
        (&json!("bland_ai"), &json!(3), &json!(0.5))
    );
    assert_eq!(
        (&spring["completed"], &spring["busy"], &spring["failed"], &spring["open"]),
        (&json!(1), &json!(1), &json!(1), &json!(0))
    );
    // What a completed call costs includes the calls that nobody answered.
    assert_eq!(
        spring["costs"],
        json!([{ "currency": "USD", "amount": "0.4", "estimated": "0", "per_completed_call": "0.4" }])
    );
    assert_eq!(by(json!(null))["open"], 1);
    let total = &report["total"];
    assert_eq!((&total["calls"], &total["attempts"], &total["talk_seconds"]), (&json!(6), &json!(5), &json!(90)));
    let currencies: Vec<&Value> = total["costs"].as_array().unwrap().iter().map(|cost| &cost["currency"]).collect();
    assert_eq!(currencies, ["EUR", "USD"]);
    for (query, calls) in [
        ("status=completed,busy", 3),
        ("campaign_id=spring", 3),
        ("user_id=user-7", 6),
        ("user_id=user-8", 0),
        ("source=api:crm", 6),
        ("platform=vapi", 0),
        ("created_before=2020-01-02T00:00:00Z", 0),
        ("group_by=hour&group_by=day&group_by=status&group_by=user_id&group_by=source", 6),
    ] {
        let report = side.get(&format!("/api/analytics/calls/?{query}"), &operator).await.json();
        assert_eq!(report["total"]["calls"], calls, "{query}: {report}");
    }
}

#[tokio::test]
async fn spreadsheets_get_text_where_a_producer_wrote_a_formula() {
    let (side, operator) = many_calls().await;
    let by_parameter = side.get("/api/analytics/calls/?group_by=campaign_id&format=csv", &operator).await;
    let by_header = super::reply(
        side.request(reqwest::Method::GET, "/api/analytics/calls/?group_by=campaign_id", Some(&operator))
            .header("Accept", "text/csv, application/json;q=0.5"),
    )
    .await;
    for reply in [&by_parameter, &by_header] {
        assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/csv"), "{:?}", reply.headers);
        let lines: Vec<&str> = reply.text.split("\r\n").collect();
        assert!(
            lines[0].starts_with("campaign_id,calls,open,") && lines[0].ends_with("cost_per_completed_call_usd"),
            "{}",
            lines[0]
        );
        assert!(lines[1].starts_with(",1,1,"), "{}", reply.text);
        assert!(lines[2].starts_with("'=1+1,2,0,1,1,"), "{}", reply.text);
        assert!(lines[3].starts_with("spring,3,0,1,0,1,") && lines[3].ends_with(",,,,0.4,0,0.4"), "{}", reply.text);
    }
    let json = side.get("/api/analytics/calls/?format=json", &operator).await;
    assert_eq!(json.headers["content-type"], "application/json");
}

#[tokio::test]
async fn questions_that_cannot_be_answered_are_refused_by_name() {
    let (side, operator) = many_calls().await;
    let refused = side.get("/api/analytics/calls/?group_by=minute&format=xml&status=done&limit=1", &operator).await;
    refused.problem(400, "bad_request");
    assert_eq!(refused.pointers(), ["/group_by", "/status", "/format", "/limit"]);
    let long = side.get("/api/analytics/calls/?created_after=2020-01-01T00:00:00Z", &operator).await;
    assert!(long.problem(400, "bad_request").contains("more than 366 days"));
    let backwards = side.get("/api/analytics/calls/?created_after=2030-01-01T00:00:00Z", &operator).await;
    assert!(backwards.problem(400, "bad_request").contains("is not before"));
    let user = side.key(Role::User, "bob").await;
    side.get("/api/analytics/calls/", &user).await.problem(403, "forbidden");
}
