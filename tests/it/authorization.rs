//! Who may do what, and to whose objects: every route that the router has, with every role, against another's objects. A
//! route without a rule here fails.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Daemon, Reply, World, reply};
use crate::sessions::{begin, id_of, status, world};

/// Whose objects a route reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    /// Needs no key: probes, pages, and webhooks, which prove themselves by a signature.
    Open,
    /// Calls and what belongs to them are the business's, not one key's.
    Shared,
    /// The caller's own, with no other named.
    Own,
    /// A session that the request names.
    Session,
}

use Scope::{Open, Own, Session, Shared};

const OPERATOR: &[&str] = &["operator"];
const SERVICE: &[&str] = &["service"];
const READERS: &[&str] = &["operator", "service"];
const USER: &[&str] = &["user"];
const NOBODY: &[&str] = &[];

/// One line for each route of the router.
const RULES: &[(&str, &str, &[&str], Scope)] = &[
    ("GET", "/", NOBODY, Open),
    ("GET", "/docs", NOBODY, Open),
    ("GET", "/healthz", NOBODY, Open),
    ("GET", "/metrics", NOBODY, Open),
    ("GET", "/openapi.json", NOBODY, Open),
    ("GET", "/readyz", NOBODY, Open),
    ("POST", "/webhooks/{platform}", NOBODY, Open),
    ("POST", "/webhooks/{platform}/{attempt_id}", NOBODY, Open),
    // Idempotency keys of two owners do not meet: tests/it/http_api/messages.rs.
    ("POST", "/api/messages/", SERVICE, Shared),
    ("GET", "/api/calls/", READERS, Shared),
    ("GET", "/api/calls/{id}/", READERS, Shared),
    ("POST", "/api/calls/{id}/cancel/", OPERATOR, Shared),
    ("POST", "/api/calls/{id}/retry/", OPERATOR, Shared),
    ("POST", "/api/calls/{id}/settle/", OPERATOR, Shared),
    ("POST", "/api/calls/{id}/suppress/", OPERATOR, Shared),
    ("GET", "/api/suppressions/", OPERATOR, Shared),
    ("POST", "/api/suppressions/", OPERATOR, Shared),
    ("DELETE", "/api/suppressions/{number}/", OPERATOR, Shared),
    ("GET", "/api/analytics/calls/", OPERATOR, Shared),
    ("GET", "/api/budgets/", OPERATOR, Shared),
    ("PUT", "/api/budgets/{user_id}/", OPERATOR, Shared),
    ("DELETE", "/api/budgets/{user_id}/", OPERATOR, Shared),
    ("GET", "/api/thread-messages/", READERS, Shared),
    ("GET", "/api/voice-configs/", OPERATOR, Shared),
    ("GET", "/api/voice-configs/{name}/", OPERATOR, Shared),
    ("PUT", "/api/voice-configs/{name}/", OPERATOR, Shared),
    ("DELETE", "/api/voice-configs/{name}/", OPERATOR, Shared),
    ("POST", "/api/voice/initiate/", USER, Own),
    ("GET", "/api/voice/sessions/", USER, Own),
    ("GET", "/api/voice/config/", USER, Own),
    ("PUT", "/api/voice/config/", USER, Own),
    ("GET", "/api/voice/session/{id}/status/", USER, Session),
    ("POST", "/api/voice/end/", USER, Session),
    ("POST", "/api/voice/process-audio/", USER, Session),
    ("POST", "/api/voice/generate-speech/", USER, Session),
];

/// Stands in everything of Ada's.
const MARK: &str = "of-ada-alone";

/// The routes of the router, as its own description has them.
fn routes() -> Vec<(String, String)> {
    let document = voxd::http::openapi();
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| item.as_object().expect("operations").keys().cloned().collect::<Vec<_>>();
    let routes = paths
        .iter()
        .flat_map(|(path, item)| methods(item).into_iter().map(move |method| (method.to_uppercase(), path.clone())));
    routes.collect()
}

/// What a client might send to a route, with this session where it takes one.
fn asks(method: &str, path: &str, session: Uuid) -> Vec<(String, Option<Value>, Option<&'static str>)> {
    let filled = path
        .replace("{id}", &session.to_string())
        .replace("{platform}", "bland_ai")
        .replace("{attempt_id}", &session.to_string());
    let filled = filled.replace("{number}", "+14155550123").replace("{user_id}", "ada").replace("{name}", "x");
    let json = |body: Value| vec![(filled.clone(), Some(body), None)];
    match (method, path) {
        ("POST", "/api/voice/initiate/") => json(json!({ "caller_id": "bob" })),
        ("PUT", "/api/voice/config/") => json(json!({ "voice": "of-bob" })),
        ("POST", "/api/voice/end/") => json(json!({ "session_id": session })),
        ("POST", "/api/voice/generate-speech/") => json(json!({ "session_id": session, "text": "Hello." })),
        ("POST", "/api/voice/process-audio/") => vec![
            (filled.clone(), Some(json!({ "session_id": session, "audio": "AAAA", "format": "pcm16" })), None),
            (format!("{filled}?session_id={session}"), None, Some("audio/l16;rate=16000")),
        ],
        ("POST" | "PUT", _) => json(json!({})),
        _ => vec![(filled, None, None)],
    }
}

struct House {
    world: World,
    daemon: Daemon,
    /// Ada's.
    session: Uuid,
    client: reqwest::Client,
}

impl House {
    /// Ada has a session with a conversation, and a configuration.
    async fn new() -> Self {
        let world = world(&[("VOXD_SESSIONS__MAX_PER_USER", "50")]).await;
        let daemon = world.daemon().await;
        let ada = world.api(&daemon, "user").await;
        let config = json!({ "voice": MARK });
        assert_eq!(ada.put("/api/voice/config/", &config).await.status, 200);
        let wish = json!({ "caller_id": MARK, "metadata": { "mark": MARK } });
        let session = id_of(&ada.post("/api/voice/initiate/", &wish).await.body["session_id"]);
        for statement in [
            "insert into audio_chunks (id, session_id, owner, n, source, format, bytes, start_ms, duration_ms, transcription)
             values ($1, $1, 'ada', 1, 'upload', 'wav', 1, 0, 0, $2)",
            "insert into conversation_turns (id, session_id, owner, n, speaker, text, chunk_id, duration_ms)
             values ($1, $1, 'ada', 1, 'user', $2, $1, 0)",
        ] {
            sqlx::query(statement).bind(session).bind(MARK).execute(&world.db).await.unwrap();
        }
        let shown = status(&ada, session).await;
        assert_eq!(shown["conversation"][0]["text"], MARK);
        Self { world, daemon, session, client: reqwest::Client::new() }
    }

    /// All that is Ada's, to the last column.
    async fn all_of_ada(&self) -> Value {
        sqlx::query_scalar(
            "select jsonb_build_array(
                 (select jsonb_agg(to_jsonb(s) order by id) from call_sessions s where owner = 'ada'),
                 (select jsonb_agg(to_jsonb(k) order by id) from audio_chunks k where owner = 'ada'),
                 (select jsonb_agg(to_jsonb(t) order by id) from conversation_turns t where owner = 'ada'),
                 (select jsonb_agg(to_jsonb(v)) from voice_configurations v where owner = 'ada'))",
        )
        .fetch_one(&self.world.db)
        .await
        .unwrap()
    }

    async fn ask(
        &self,
        method: &str,
        ask: &(String, Option<Value>, Option<&'static str>),
        key: Option<&str>,
    ) -> Answer {
        let (path, body, media) = ask;
        let method: Method = method.parse().unwrap();
        let mut request: RequestBuilder = self.client.request(method, format!("{}{path}", self.daemon.base_url));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(media) = media {
            request = request.header("content-type", *media).body(vec![0; 320]);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = reply(request).await;
        Answer { marked: answer.body.to_string().contains(MARK), reply: answer }
    }
}

struct Answer {
    reply: Reply,
    /// It tells something of Ada's.
    marked: bool,
}

#[tokio::test]
async fn every_route_with_every_role_reads_and_writes_nothing_of_another_owner() {
    let house = House::new().await;
    let before = house.all_of_ada().await;
    assert_eq!(before.to_string().matches(MARK).count(), 6, "there is something to be found: {before}");
    let mut keys = Vec::new();
    for role in ["user", "operator", "service"] {
        keys.push((role, house.world.key(role, "bob").await));
    }
    // Another role under Ada's own name is not Ada.
    for role in ["operator", "service"] {
        keys.push((role, house.world.key(role, "ada").await));
    }
    let (mut crossed, mut tried) = (Vec::new(), 0);
    for (method, path) in routes() {
        let rule = RULES.iter().find(|(rule_method, rule_path, ..)| (*rule_method, *rule_path) == (&method, &path));
        let Some((_, _, roles, scope)) = rule else {
            panic!("{method} {path} has no rule in {}: say who may, and whose objects it reaches", file!());
        };
        for ask in asks(&method, &path, house.session) {
            let named = format!("{ask:?}").contains(&house.session.to_string());
            assert!(*scope != Session || named, "{method} {path}: the request names no session");
            if *scope == Open {
                continue;
            }
            assert_eq!(house.ask(&method, &ask, None).await.reply.status, 401, "{method} {path} without a key");
            for (role, key) in &keys {
                let Answer { reply, marked } = house.ask(&method, &ask, Some(key)).await;
                tried += 1;
                let wrong = match (roles.contains(role), scope) {
                    (false, _) => reply.status != 403,
                    (true, Session) => {
                        (reply.status, &reply.body["type"]) != (404, &json!("urn:voxd:problem:not_found"))
                    }
                    (true, Own) => !(200..300).contains(&reply.status),
                    (true, _) => reply.status == 401 || reply.status == 403,
                };
                if wrong || marked {
                    crossed.push(format!("{role} {method} {path}: {} {}", reply.status, reply.body));
                }
            }
        }
    }
    assert!(crossed.is_empty(), "{}", crossed.join("\n"));
    assert!(tried >= RULES.iter().filter(|(.., scope)| *scope != Open).count() * keys.len());
    assert_eq!(house.all_of_ada().await, before, "nothing of Ada's has changed");
}

#[tokio::test]
async fn the_owner_reaches_what_another_does_not() {
    let house = House::new().await;
    let key = house.world.key("user", "ada").await;
    for (method, path, ..) in RULES.iter().filter(|(.., scope)| *scope == Session || *scope == Own) {
        for ask in asks(method, path, house.session) {
            // Ended last: the others need it alive.
            if *path != "/api/voice/end/" {
                let Answer { reply, .. } = house.ask(method, &ask, Some(&key)).await;
                let known = (200..300).contains(&reply.status) || reply.body["type"] == "urn:voxd:problem:speech_off";
                assert!(known, "{method} {path}: {} {}", reply.status, reply.body);
            }
        }
    }
    let ada = house.world.api(&house.daemon, "user").await;
    let shown = ada.get("/api/voice/sessions/").await.body;
    assert!(shown["sessions"].as_array().unwrap().iter().any(|session| id_of(&session["session_id"]) == house.session));
    let end = ("/api/voice/end/".to_owned(), Some(json!({ "session_id": house.session })), None);
    assert_eq!(house.ask("POST", &end, Some(&key)).await.reply.status, 200);
}

#[test]
fn every_rule_has_its_route_and_stands_once() {
    let routes = routes();
    for (n, (method, path, ..)) in RULES.iter().enumerate() {
        assert!(routes.contains(&((*method).to_owned(), (*path).to_owned())), "{method} {path} is no route any more");
        let again = RULES.iter().skip(n + 1).any(|(other, other_path, ..)| (other, other_path) == (method, path));
        assert!(!again, "{method} {path} stands twice");
    }
}

/// What is described is what is served: handlers are mounted with their description, and in no other way.
#[test]
fn no_route_is_mounted_without_a_description() {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")];
    let (mut found, mut files) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let bare = [".route(", ".route_service(", ".nest(", ".nest_service("];
                found.extend(
                    bare.iter().filter(|call| code.contains(*call)).map(|call| format!("{}: {call}", path.display())),
                );
            }
        }
    }
    assert!(files > 15 && found.is_empty(), "mount with routes!(…): {found:?}");
}

/// Two users beside each other, each with a session: neither list tells of the other.
#[tokio::test]
async fn lists_of_two_users_share_nothing() {
    let house = House::new().await;
    let bob = house.world.api_of(&house.daemon, "user", "bob").await;
    let own = begin(&bob).await;
    let listed = bob.get("/api/voice/sessions/").await.body;
    let ids: Vec<Uuid> =
        listed["sessions"].as_array().unwrap().iter().map(|session| id_of(&session["session_id"])).collect();
    assert_eq!(ids, [own]);
    assert_eq!(bob.get("/api/voice/config/").await.body["voice"], Value::Null);
}
