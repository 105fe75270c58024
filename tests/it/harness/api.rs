//! The daemon's HTTP interface as a client uses it, with a key that the command made.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::process::Command;

use super::{Daemon, World};

/// Speaks to one daemon with one key.
pub struct Api {
    base_url: String,
    key: String,
    client: reqwest::Client,
}

/// What came back. The body is null where it is not JSON.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub body: Value,
}

impl World {
    /// A key of `owner`, as `voxd keys create` makes it.
    pub async fn key(&self, role: &str, owner: &str) -> String {
        let made = self.command(&["keys", "create", "--role", role, "--owner", owner, "--json"]).await;
        let key = made["key"].as_str().expect("a key");
        assert_eq!((made["role"].as_str(), made["owner"].as_str()), (Some(role), Some(owner)));
        key.to_owned()
    }

    pub async fn api(&self, daemon: &Daemon, role: &str) -> Api {
        self.api_of(daemon, role, "ada").await
    }

    /// With a key of this owner.
    pub async fn api_of(&self, daemon: &Daemon, role: &str, owner: &str) -> Api {
        let key = self.key(role, owner).await;
        Api { base_url: daemon.base_url.clone(), key, client: reqwest::Client::new() }
    }

    /// Runs a command of the real binary in this world and reads the JSON that it prints.
    pub async fn command(&self, arguments: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_voxd"))
            .args(arguments)
            .env_clear()
            .envs(self.environment().iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .output()
            .await
            .expect("the binary starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }
}

impl Api {
    pub fn key(&self) -> &str {
        &self.key
    }

    pub async fn get(&self, path: &str) -> Reply {
        reply(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        reply(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        reply(self.request(Method::PUT, path).json(body)).await
    }

    /// `POST /api/messages/`
    pub async fn send(&self, idempotency_key: &str, message: &Value) -> Reply {
        let request = self.request(Method::POST, "/api/messages/").header("Idempotency-Key", idempotency_key);
        reply(request.json(message)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base_url)).bearer_auth(&self.key)
    }
}

pub async fn reply(request: RequestBuilder) -> Reply {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    let text = answer.text().await.expect("a body");
    Reply { status, content_type, body: serde_json::from_str(&text).unwrap_or(Value::Null) }
}
