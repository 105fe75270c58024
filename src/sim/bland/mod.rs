//! A simulated Bland AI, as strict as the vendor's reference of 2026-08: authorization, field rules and error shapes,
//! listing and detail, stopping, recordings, signed post-call and in-call webhooks with repeats.
//!
//! What it plays is chosen by the called number ([`super::platform::scripts`]), and can be set at run time, from Rust or by
//! `POST /_voxd/scripts`. `GET /_voxd/journal` shows every request it saw.
//!
//! | file | its subject |
//! |---|---|
//! | `create` | `POST /v1/calls` and what can go wrong with its answer |
//! | `rules` | which create requests Bland refuses |
//! | `calls` | the calls, their records and listings |
//! | `play` | the course of a call and its webhooks |
//! | `routes` | everything else that Bland serves |
//! | `control` | `/_voxd/…` |

mod calls;
mod control;
mod create;
mod play;
mod routes;
mod rules;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::platform::{Journal, Script, ScriptBook, WebhookSender, server};
use crate::lifecycle::Lifecycle;
use calls::Calls;

/// How long running requests may take to end when the simulator stops.
const DRAIN: Duration = Duration::from_secs(2);

/// How the simulator is set up. The default is for tests: fast, and strict where strictness does not cost throughput.
#[derive(Debug, Clone)]
pub struct BlandOptions {
    /// The only accepted key.
    pub api_key: String,
    /// Signs webhooks; empty: they go out unsigned, as from an account without a secret.
    pub webhook_secret: String,
    /// Put on the scripts' durations: 1.0 is a person's time, 0.0 ends calls at once.
    pub time_scale: f64,
    pub seed: u64,
    /// Scripts with weights for numbers that nothing else decides; empty: completed.
    pub mix: Vec<(u32, Script)>,
    /// Whether the last four digits of the number choose the script.
    pub scripts_by_number: bool,
    /// Every create request takes this long.
    pub latency: Duration,
    /// Every so-many-th create request takes this long instead.
    pub slow_every: Option<(u64, Duration)>,
    /// Of the script `slow`.
    pub slow: Duration,
    /// Delay of webhooks that the script lets come late.
    pub late: Duration,
    /// Bland refuses a second call to a number within 10 s.
    pub same_number_window: Option<Duration>,
    /// A call is listed only so long after it was made.
    pub list_lag: Duration,
    /// Listings show numbers of North America without `+1`, as in the vendor's sample.
    pub rows_without_country: bool,
    /// Listings say `total_count` (documented, but missing from the vendor's sample).
    pub show_total: bool,
    /// Rows of a listing page at most, whatever is asked for.
    pub page_cap: usize,
    /// `GET /v1/calls/active` wants `x-bland-org-id`.
    pub require_org_id: bool,
    /// Tries for each webhook, and the wait after the first, doubling.
    pub webhook_tries: u32,
    pub webhook_wait: Duration,
}

impl Default for BlandOptions {
    fn default() -> Self {
        Self {
            api_key: "org_simulated".into(),
            webhook_secret: "bland-simulated-secret".into(),
            time_scale: 0.001,
            seed: 0,
            mix: Vec::new(),
            scripts_by_number: true,
            latency: Duration::ZERO,
            slow_every: None,
            slow: Duration::from_secs(1),
            late: Duration::from_millis(500),
            same_number_window: None,
            list_lag: Duration::ZERO,
            rows_without_country: true,
            show_total: false,
            page_cap: 1000,
            require_org_id: true,
            webhook_tries: 8,
            webhook_wait: Duration::from_millis(100),
        }
    }
}

impl BlandOptions {
    /// For people who watch: calls take seconds, all rules hold.
    pub fn for_people() -> Self {
        Self {
            time_scale: 1.0,
            slow: Duration::from_secs(5),
            late: Duration::from_secs(20),
            same_number_window: Some(Duration::from_secs(10)),
            list_lag: Duration::from_secs(1),
            webhook_wait: Duration::from_secs(1),
            ..Self::default()
        }
    }
}

/// A running simulator. Dropping it stops it at once; `shutdown` lets running requests end.
pub struct BlandSim {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    options: BlandOptions,
    journal: Journal,
    scripts: ScriptBook,
    sender: WebhookSender,
    calls: Mutex<Calls>,
    creates: AtomicU64,
    lifecycle: Lifecycle,
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlandSim {
    /// Serves on a bound listener. Call it within a tokio runtime.
    ///
    /// # Errors
    /// The listener has no address, or the HTTP client for webhooks cannot be made.
    pub fn start(listener: TcpListener, options: BlandOptions) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let lifecycle = Lifecycle::new();
        let sender = WebhookSender::new(options.webhook_tries, options.webhook_wait).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            journal: Journal::default(),
            scripts: ScriptBook::new(options.seed, options.mix.clone(), options.scripts_by_number),
            sender,
            calls: Mutex::new(Calls::default()),
            creates: AtomicU64::new(0),
            lifecycle: lifecycle.clone(),
            options,
        });
        let router = routes::router(shared.clone());
        lifecycle.spawn(server::accept(listener, router, shared.journal.clone(), lifecycle.clone()));
        Ok(Self { addr, shared })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For `platforms.bland_ai.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Everything that was asked.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// From now on requests for this number play this script.
    pub fn set_script(&self, number: &str, script: Script) {
        self.set_scripts(number, vec![script]);
    }

    /// One after another; the last one stays. None: back to the number's own script.
    pub fn set_scripts(&self, number: &str, scripts: Vec<Script>) {
        self.shared.scripts.set(number, scripts);
    }

    /// The ids of all calls made, oldest first.
    pub fn call_ids(&self) -> Vec<String> {
        self.shared.calls().ids()
    }

    /// The call's record as `GET /v1/calls/{id}` shows it.
    pub fn record(&self, id: &str) -> Option<Value> {
        self.shared.calls().record(id)
    }

    /// The address that the call's create request gave for its webhooks.
    pub fn webhook_address(&self, id: &str) -> Option<String> {
        self.shared.calls().get(id)?.webhook().map(str::to_owned)
    }

    /// Sends the call's webhook again, as it stands now.
    pub async fn resend_webhook(&self, id: &str) -> Option<u16> {
        play::resend(&self.shared, id, None).await
    }

    /// Webhook requests sent, repeats included.
    pub fn webhooks_sent(&self) -> u64 {
        self.shared.sender.sent()
    }

    /// Stops. Running requests get two seconds; hanging ones are cut.
    pub async fn shutdown(self) {
        self.shared.lifecycle.drain(DRAIN).await;
    }
}

impl Drop for BlandSim {
    fn drop(&mut self) {
        self.shared.lifecycle.abort();
    }
}

/// Bland's usual error shape.
fn error(status: StatusCode, message: &str, errors: &[String]) -> Response {
    let mut body = json!({ "status": "error", "message": message });
    if !errors.is_empty() {
        body["errors"] = json!(errors);
    }
    (status, Json(body)).into_response()
}

/// The raw key in `authorization`, or Bland's 401.
async fn authorize(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given == Some(shared.options.api_key.as_str()) {
        return next.run(request).await;
    }
    let body = json!({ "data": null, "errors": [{ "error": "AUTH_FAILURE", "message": "Authentication failed." }] });
    (StatusCode::UNAUTHORIZED, Json(body)).into_response()
}
