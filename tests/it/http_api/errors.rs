//! Keys, roles, and every error that does not belong to one resource.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use voxd::store::keys::Role;

use super::{Side, message, reply};

fn keyed_routes() -> Vec<(Method, String)> {
    let document = voxd::http::openapi();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/")) {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{id}", "00000000-0000-7000-8000-000000000000").replace("{name}", "x");
            routes.push((method.to_uppercase().parse().unwrap(), path));
        }
    }
    assert!(routes.len() >= 10, "{routes:?}");
    routes
}

#[tokio::test]
async fn no_route_of_the_api_opens_without_a_key() {
    let side = Side::start().await;
    for (method, path) in keyed_routes() {
        let answer = reply(side.request(method.clone(), &path, None)).await;
        let detail = answer.problem(401, "unauthorized");
        assert_eq!(detail, "the header Authorization is missing, expected: Bearer vx_<id>_<secret>", "{method} {path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"voxd\"");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn unknown_wrong_expired_and_revoked_keys_are_answered_alike() {
    let side = Side::start().await;
    let good = side.key(Role::Operator, "ada").await;
    assert_eq!(side.get("/api/calls/", &good).await.status, 200);
    let expired =
        side.store.create_key(Role::Operator, "ada", Some(Duration::ZERO)).await.unwrap().key.expose().to_owned();
    let revoked = side.store.create_key(Role::Operator, "ada", None).await.unwrap();
    assert!(side.store.revoke_key(&revoked.id).await.unwrap());
    assert!(!side.store.revoke_key(&revoked.id).await.unwrap(), "a second time changes nothing");
    let wrong = format!("{}0", &good[..good.len() - 1]);
    let wrong = if wrong == good { format!("{}1", &good[..good.len() - 1]) } else { wrong };
    for key in ["vx_0000000000000000_00000000000000000000000000000000", "x", &wrong, &expired, revoked.key.expose()] {
        let answer = side.get("/api/calls/", key).await;
        assert_eq!(answer.problem(401, "unauthorized"), "the API key is unknown, wrong, expired or revoked", "{key}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"voxd\", error=\"invalid_token\"");
    }
    let used = side.store.list_keys().await.unwrap().into_iter().filter(|key| key.last_used_at.is_some()).count();
    assert_eq!(used, 1, "only the good one counts as used");
}

#[tokio::test]
async fn each_role_has_its_own_doors() {
    let side = Side::start().await;
    let (user, service, operator) =
        (side.key(Role::User, "u").await, side.key(Role::Service, "s").await, side.key(Role::Operator, "o").await);
    for (method, path) in keyed_routes() {
        let open_to: &[&str] = match path.split('/').nth(2).unwrap() {
            "messages" => &["service"],
            "thread-messages" => &["operator", "service"],
            "voice" => &["user"],
            "calls" if method == Method::GET => &["operator", "service"],
            _ => &["operator"],
        };
        for (role, key) in [("user", &user), ("service", &service), ("operator", &operator)] {
            let answer = reply(side.request(method.clone(), &path, Some(key))).await;
            let opened = answer.status != 403;
            assert_eq!(opened, open_to.contains(&role), "{role} {method} {path}: {}", answer.text);
            if !opened {
                let expected = format!("the key's role is {role}, expected {}", open_to.join(" or "));
                assert_eq!(answer.problem(403, "forbidden"), expected);
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_stored_as_a_hash_only() {
    let side = Side::start().await;
    let key = side.key(Role::Operator, "ada").await;
    let secret = key.rsplit('_').next().unwrap();
    let row: String = sqlx::query_scalar("select api_keys::text from api_keys").fetch_one(&side.db).await.unwrap();
    assert!(!row.contains(secret) && secret.len() == 64, "{row}");
    let problem = side.store.create_key(Role::User, "", None).await.unwrap_err().to_string();
    assert!(problem.contains("an owner has 1 to 200 printable characters"), "{problem}");
}

#[tokio::test]
async fn every_path_works_with_and_without_a_trailing_slash() {
    let side = Side::start().await;
    let key = side.key(Role::Operator, "ada").await;
    for path in ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/api/calls", "/api/voice-configs"] {
        for spelt in [path.to_owned(), format!("{path}/")] {
            assert_eq!(side.get(&spelt, &key).await.status, 200, "{spelt}");
        }
    }
}

#[tokio::test]
async fn an_address_or_a_method_that_is_not_ours_is_a_problem_document_too() {
    let side = Side::start().await;
    let nowhere = reply(side.request(Method::GET, "/nowhere", None)).await;
    assert_eq!(nowhere.problem(404, "not_found"), "GET /nowhere is no address of voxd; /docs lists them");
    let garbled = reply(side.request(Method::POST, "/webhooks/%ff/%ff", None)).await;
    assert!(garbled.problem(400, "bad_request").starts_with("the address cannot be read: "), "{}", garbled.text);
    let method = reply(side.request(Method::DELETE, "/healthz", None)).await;
    assert_eq!(method.problem(405, "method_not_allowed"), "/healthz is not for DELETE; /docs says what it is for");
    assert_eq!(method.headers["allow"], "GET,HEAD");
}

#[tokio::test]
async fn without_postgres_the_api_says_when_to_try_again() {
    let dead = "postgres://nobody@127.0.0.1:1/none";
    let side = Side::with(dead, &[("VOXD_DATABASE__CONNECT_TIMEOUT", "300ms")]).await;
    let key = "vx_0000000000000000_00000000000000000000000000000000";
    for answer in [side.get("/api/calls/", key).await, side.send(key, "k", &message("a", "+14155550123")).await] {
        assert_eq!(answer.problem(503, "unavailable"), "the database is not available; try again");
        assert_eq!(answer.headers["retry-after"], "2");
    }
}

#[tokio::test]
async fn a_problem_never_repeats_the_body() {
    let side = Side::start().await;
    let key = side.key(Role::Service, "crm").await;
    let mut body = message("a", "+14155550123");
    body["content"] = json!("a very private matter");
    body["surplus"] = Value::Null;
    let refused = side.send(&key, "k", &body).await;
    refused.problem(422, "invalid");
    assert!(!refused.text.contains("private") && !refused.text.contains("+14155550123"), "{}", refused.text);
}
