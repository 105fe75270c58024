//! A running simulated platform, whatever the vendor.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::calls::{Call, Calls, Peaks};
use super::{Answer, EntryId, Journal, Script, ScriptBook, SimOptions, Vendor, WebhookSender, control, play, server};
use crate::clock::Monotonic;
use crate::lifecycle::Lifecycle;

/// How long running requests may take to end when the simulator stops.
const DRAIN: Duration = Duration::from_secs(2);

/// The state of a vendor's routes.
pub type App<V> = Arc<Shared<V>>;

/// What all parts of one simulator share.
pub struct Shared<V> {
    pub vendor: V,
    pub options: SimOptions,
    pub journal: Journal,
    pub scripts: ScriptBook,
    pub sender: WebhookSender,
    calls: Mutex<Calls>,
    creates: AtomicU64,
    list_health: Mutex<ListHealth>,
    account_webhook: Mutex<Option<String>>,
    pub lifecycle: Lifecycle,
}

/// How the vendor's listings do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListHealth {
    #[default]
    Well,
    /// They come back empty, with 200.
    Empty,
    /// They fail with 503.
    Failing,
}

impl<V: Vendor> Shared<V> {
    pub fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn record(&self, id: &str) -> Option<Value> {
        self.calls().get(id).map(|call| self.vendor.record(call, crate::clock::monotonic()))
    }

    /// Whether the listings show this call yet.
    pub fn is_listed(&self, call: &Call, now: Monotonic) -> bool {
        let seen = now.saturating_duration_since(call.playback.created()) >= self.options.list_lag;
        seen && self.list_health() != ListHealth::Empty
    }

    /// The answer of a listing that is out of order.
    pub fn list_failure(&self) -> Option<Response> {
        let failing = self.list_health() == ListHealth::Failing;
        failing.then(|| (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "unavailable" }))).into_response())
    }

    fn list_health(&self) -> ListHealth {
        *self.list_health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_list_health(&self, health: ListHealth) {
        *self.list_health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    pub fn set_account_webhook(&self, url: Option<String>) {
        *self.account_webhook.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// Where this call's webhooks go.
    pub fn webhook_target(&self, call: &Call) -> Option<String> {
        let account = || self.account_webhook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        call.request.webhook.clone().or_else(account)
    }

    /// Counts a create request; says how long it takes.
    pub(super) fn next_latency(&self) -> Duration {
        let number = self.creates.fetch_add(1, Ordering::Relaxed) + 1;
        match self.options.slow_every {
            Some((every, latency)) if every > 0 && number.is_multiple_of(every) => latency,
            _ => self.options.latency,
        }
    }
}

/// A running simulator. Dropping it stops it at once; `shutdown` lets running requests end.
pub struct PlatformSim<V: Vendor> {
    addr: SocketAddr,
    shared: App<V>,
}

impl<V: Vendor> PlatformSim<V> {
    /// Serves on a bound listener, with the vendor's usual quirks. Call it within a tokio runtime.
    ///
    /// # Errors
    /// The listener has no address, or the HTTP client for webhooks cannot be made.
    pub fn start(listener: TcpListener, options: SimOptions) -> io::Result<Self>
    where
        V: Default,
    {
        Self::start_as(listener, options, V::default())
    }

    /// As [`PlatformSim::start`], with other quirks.
    ///
    /// # Errors
    /// As there.
    pub fn start_as(listener: TcpListener, options: SimOptions, vendor: V) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let lifecycle = Lifecycle::new();
        let sender = WebhookSender::new(options.webhook_tries, options.webhook_wait).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            vendor,
            journal: Journal::default(),
            scripts: ScriptBook::new(options.seed, options.mix.clone(), options.scripts_by_number),
            sender,
            calls: Mutex::default(),
            creates: AtomicU64::new(0),
            list_health: Mutex::default(),
            account_webhook: Mutex::default(),
            lifecycle: lifecycle.clone(),
            options,
        });
        lifecycle.spawn(server::accept(listener, router(&shared), shared.journal.clone(), lifecycle.clone()));
        Ok(Self { addr, shared })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For `platforms.NAME.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn options(&self) -> &SimOptions {
        &self.shared.options
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

    /// The call as the vendor shows it.
    pub fn record(&self, id: &str) -> Option<Value> {
        self.shared.record(id)
    }

    /// The address that the call's create request gave for its webhooks.
    pub fn webhook_address(&self, id: &str) -> Option<String> {
        self.shared.calls().get(id)?.request.webhook.clone()
    }

    /// Sends the webhooks of the call's end again, as they stand now.
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

impl<V: Vendor> Drop for PlatformSim<V> {
    fn drop(&mut self) {
        self.shared.lifecycle.abort();
    }
}

/// A simulated platform of whatever vendor.
pub trait Simulator: Send + Sync {
    fn name(&self) -> &'static str;
    fn base_url(&self) -> String;
    fn options(&self) -> &SimOptions;
    fn journal(&self) -> &Journal;
    fn set_scripts(&self, number: &str, scripts: Vec<Script>);
    fn call_ids(&self) -> Vec<String>;
    fn record(&self, id: &str) -> Option<Value>;
    /// How the call with this id goes, by its script.
    fn script(&self, id: &str) -> Option<Script>;
    /// Whether this vendor can answer so at all.
    fn plays(&self, answer: Answer) -> bool;
    fn set_list_health(&self, health: ListHealth);
    /// Where webhooks of calls go that bring no address of their own.
    fn set_account_webhook(&self, url: Option<String>);
    fn webhooks_sent(&self) -> u64;
    fn peaks(&self) -> Peaks;
    /// A voice configuration that this platform takes.
    fn voice_config(&self) -> Value;
    /// Settings that point voxd here.
    fn environment(&self) -> Vec<(String, String)>;
    /// Stops; running requests get two seconds.
    fn stop(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<V: Vendor> Simulator for PlatformSim<V> {
    fn name(&self) -> &'static str {
        V::NAME
    }

    fn base_url(&self) -> String {
        self.base_url()
    }

    fn options(&self) -> &SimOptions {
        self.options()
    }

    fn journal(&self) -> &Journal {
        self.journal()
    }

    fn set_scripts(&self, number: &str, scripts: Vec<Script>) {
        self.set_scripts(number, scripts);
    }

    fn call_ids(&self) -> Vec<String> {
        self.call_ids()
    }

    fn record(&self, id: &str) -> Option<Value> {
        self.record(id)
    }

    fn script(&self, id: &str) -> Option<Script> {
        self.shared.calls().get(id).map(|call| call.script.clone())
    }

    fn plays(&self, answer: Answer) -> bool {
        super::create::plays(&self.shared.vendor, answer)
    }

    fn set_list_health(&self, health: ListHealth) {
        self.shared.set_list_health(health);
    }

    fn set_account_webhook(&self, url: Option<String>) {
        self.shared.set_account_webhook(url);
    }

    fn webhooks_sent(&self) -> u64 {
        self.webhooks_sent()
    }

    fn peaks(&self) -> Peaks {
        self.shared.calls().peaks()
    }

    fn voice_config(&self) -> Value {
        self.shared.vendor.voice_config()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let name = V::NAME.to_uppercase();
        let options = &self.shared.options;
        let mut settings = vec![
            (format!("VOXD_PLATFORMS__{name}__BASE_URL"), self.base_url()),
            (format!("VOXD_PLATFORMS__{name}__API_KEY"), options.api_key.clone()),
            (format!("VOXD_PLATFORMS__{name}__WEBHOOK_SECRET"), options.webhook_secret.clone()),
        ];
        settings.extend(self.shared.vendor.environment(options));
        let addresses = self.shared.vendor.address_settings().iter();
        settings.extend(addresses.map(|setting| ((*setting).to_owned(), self.base_url())));
        settings
    }

    fn stop(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.shutdown())
    }
}

/// Starts a vendor's simulator with its usual quirks; the shape of the list in [`crate::sim::PLATFORMS`].
///
/// # Errors
/// As [`PlatformSim::start`].
pub fn start<V: Vendor + Default>(listener: TcpListener, options: SimOptions) -> io::Result<Box<dyn Simulator>> {
    Ok(Box::new(PlatformSim::<V>::start(listener, options)?))
}

fn router<V: Vendor>(shared: &App<V>) -> Router {
    let api = shared.vendor.routes();
    let api = api
        .layer(middleware::from_fn_with_state(shared.clone(), authorize::<V>))
        // Outside of the authorization: a create request is one also when it is refused for its key.
        .layer(middleware::from_fn_with_state(shared.clone(), mark_create::<V>));
    api.merge(shared.vendor.open_routes()).merge(control::router()).fallback(not_found::<V>).with_state(shared.clone())
}

async fn authorize<V: Vendor>(State(shared): State<App<V>>, request: Request, next: Next) -> Response {
    match shared.vendor.authorize(&shared.options, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal,
    }
}

async fn mark_create<V: Vendor>(
    State(shared): State<App<V>>,
    Extension(entry): Extension<EntryId>,
    request: Request,
    next: Next,
) -> Response {
    if shared.vendor.is_create(request.method(), request.uri().path()) {
        shared.journal.note(entry, |entry| entry.create = true);
    }
    next.run(request).await
}

async fn not_found<V: Vendor>(State(shared): State<App<V>>) -> Response {
    shared.vendor.not_found()
}
