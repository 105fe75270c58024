//! A simulated OpenAI-compatible speech server: strict about what it takes, and it hears and speaks tones that carry text
//! ([`super::tones`]).
//!
//! `POST /v1/audio/transcriptions` takes a WAV and answers with the words that its tones carry; `POST /v1/audio/speech`
//! answers with tones. Requests that OpenAI refuses are refused here, in OpenAI's shape of an error. Faults can be queued:
//! each spoils one request.

mod form;
mod hear;
mod say;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::net::TcpListener;

use crate::clock;
use crate::lifecycle::Lifecycle;

/// OpenAI's own limit on a recording.
pub const MAX_FILE_BYTES: usize = 25 * 1024 * 1024;
/// Beside the file.
const FORM_BYTES: usize = 64 * 1024;
const CUT_OFF_AFTER: Duration = Duration::from_millis(20);
pub const MAX_INPUT_CHARS: usize = 4096;
pub const STT_MODELS: &[&str] = &["whisper-1"];
pub const TTS_MODELS: &[&str] = &["tts-1"];
pub const VOICES: &[&str] = &["alloy", "echo", "nova"];

#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// Empty: no key is asked for, as most servers of one's own have it.
    pub api_key: String,
}

impl Default for OpenAiOptions {
    fn default() -> Self {
        Self { api_key: "sk-simulated".into() }
    }
}

/// What spoils one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status, with an error in OpenAI's shape.
    Status(u16),
    /// 429 with `Retry-After`, in seconds.
    Busy { retry_after: u32 },
    /// 429 that says: the money is used up.
    QuotaSpent,
    /// No answer, ever.
    Hang,
    /// The answer's first half, then the connection breaks.
    CutOff,
    /// 200 with a web page.
    Garbage,
    /// 200 and bytes without an end.
    Endless,
}

/// A request that was let in.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// `text`: what its tones say. `spoiled`: by a fault.
    Heard {
        seconds: f64,
        text: String,
        language: Option<String>,
        prompt: Option<String>,
        spoiled: bool,
    },
    Said {
        input: String,
        voice: String,
        speed: f64,
    },
}

#[derive(Clone)]
struct Shared {
    options: Arc<OpenAiOptions>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// All requests, refused and spoiled ones too.
    requests: Arc<Mutex<u64>>,
}

/// A running simulator.
pub struct OpenAiSim {
    base_url: String,
    shared: Shared,
    lifecycle: Lifecycle,
}

impl OpenAiSim {
    pub fn start(listener: TcpListener, options: OpenAiOptions) -> io::Result<Self> {
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let shared = Shared {
            options: Arc::new(options),
            faults: Arc::default(),
            asked: Arc::default(),
            requests: Arc::default(),
        };
        let router = Router::new()
            .route("/v1/audio/transcriptions", post(hear::transcriptions))
            .route("/v1/audio/speech", post(say::speech))
            .layer(middleware::from_fn_with_state(shared.clone(), gate))
            .route("/v1/models", get(models))
            .layer(DefaultBodyLimit::max(MAX_FILE_BYTES + FORM_BYTES))
            .with_state(shared.clone());
        let lifecycle = Lifecycle::new();
        let stop = lifecycle.clone();
        lifecycle.spawn(async move {
            let serving = axum::serve(listener, router).into_future();
            tokio::select! { _ = serving => {}, () = stop.stopping() => {} }
        });
        Ok(Self { base_url, shared, lifecycle })
    }

    /// `http://…/v1`
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What points a daemon here.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("VOXD_SPEECH__OPENAI__URL".into(), self.base_url.clone()),
            ("VOXD_SPEECH__OPENAI__API_KEY".into(), self.shared.options.api_key.clone()),
            // Tones are no voices.
            ("VOXD_SPEECH__OPENAI__DETECTION".into(), "level".into()),
        ]
    }

    /// Spoils requests to come, one each.
    pub fn spoil(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).extend(faults);
    }

    /// Requests that were let in, in order.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    pub fn requests(&self) -> u64 {
        *lock(&self.shared.requests)
    }

    pub async fn stop(self) {
        self.lifecycle.drain(Duration::from_secs(1)).await;
    }
}

impl Drop for OpenAiSim {
    fn drop(&mut self) {
        self.lifecycle.abort();
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error in OpenAI's shape.
struct Refusal {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    fn bad(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        Self { code: Some("model_not_found"), ..Self::new(StatusCode::NOT_FOUND, message) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = match self.status.as_u16() {
            429 if self.code == Some("insufficient_quota") => "insufficient_quota",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let error =
            json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } });
        (self.status, axum::Json(error)).into_response()
    }
}

/// The key, then the faults.
async fn gate(State(shared): State<Shared>, headers: HeaderMap, mut request: Request, next: Next) -> Response {
    *lock(&shared.requests) += 1;
    if !shared.options.api_key.is_empty() {
        let wanted = format!("Bearer {}", shared.options.api_key);
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given != Some(wanted.as_str()) {
            let shown = given.map(|given| given.trim_start_matches("Bearer ")).unwrap_or_default();
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, format!("Incorrect API key provided: {shown}."));
            return Refusal { code: Some("invalid_api_key"), ..refusal }.into_response();
        }
    }
    let fault = lock(&shared.faults).pop_front();
    request.extensions_mut().insert(Spoiled(fault.is_some()));
    let Some(fault) = fault else { return next.run(request).await };
    // As real servers do, only when the request is there as a whole.
    let response = next.run(request).await;
    spoil(fault, response).await
}

/// Whether a request is answered by a fault.
#[derive(Clone, Copy)]
struct Spoiled(bool);

async fn spoil(fault: Fault, response: Response) -> Response {
    match fault {
        Fault::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Refusal::new(status, "The server had an error while processing your request.").into_response()
        }
        Fault::Busy { retry_after } => {
            let mut busy = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit reached.").into_response();
            busy.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
            busy
        }
        Fault::QuotaSpent => {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "You exceeded your current quota.");
            Refusal { code: Some("insufficient_quota"), ..refusal }.into_response()
        }
        Fault::Hang => std::future::pending().await,
        Fault::CutOff => {
            let (mut head, body) = response.into_parts();
            let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            let half = whole.slice(..whole.len() / 2);
            head.headers.remove(header::CONTENT_LENGTH);
            // What was sent before goes out while nothing more is there.
            let end = stream::once(async {
                clock::sleep(CUT_OFF_AFTER).await;
                Err(io::Error::other("cut off by order"))
            });
            let broken = stream::iter([Ok(half)]).chain(end);
            Response::from_parts(head, Body::from_stream(broken))
        }
        Fault::Garbage => axum::response::Html("<html><body>Welcome to nginx!</body></html>").into_response(),
        Fault::Endless => {
            let kind = response.headers().get(header::CONTENT_TYPE).cloned();
            let piece = Bytes::from(vec![b' '; 64 * 1024]);
            let mut endless =
                Body::from_stream(stream::repeat_with(move || Ok::<_, io::Error>(piece.clone()))).into_response();
            endless.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
            endless
        }
    }
}

async fn models() -> Response {
    let model = |id: &&str| json!({ "id": id, "object": "model", "created": 0, "owned_by": "voxd" });
    let data: Vec<_> = STT_MODELS.iter().chain(TTS_MODELS).map(model).collect();
    axum::Json(json!({ "object": "list", "data": data })).into_response()
}
