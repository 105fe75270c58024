//! Where platforms post to.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use http::header::HOST;
use serde::Serialize;
use uuid::Uuid;

use super::errors::{Kind, Problem};
use super::input::{Name, Names};
use super::watch::AsCalled;
use super::{HttpState, input};
use crate::webhooks::{Incoming, MAX_BODY_BYTES, Received, Refused};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WebhookTaken {
    /// `stored`, or `repeat` for the same bytes again, which change nothing.
    status: &'static str,
}

/// A platform's webhook. It is stored before it is answered.
#[utoipa::path(post, path = "/webhooks/{platform}", operation_id = "receive_webhook", tag = "webhooks",
    params(("platform" = String, Path, description = "e.g. `bland_ai`")),
    request_body(description = "As the platform sends it, at most 262,144 bytes", content = String),
    responses(
        (status = 200, description = "Stored", body = WebhookTaken),
        (status = 400, description = "Signed, but unreadable; kept"),
        (status = 401, description = "Bad signature; nothing is kept"),
        (status = 404, description = "The platform is off"),
        (status = 413, description = "Over 262,144 bytes"),
        (status = 503, description = "Postgres is away"),
    ))]
pub async fn webhook(
    State(state): State<HttpState>,
    Extension(called): Extension<AsCalled>,
    Name(platform): Name,
    request: Request,
) -> Result<Json<WebhookTaken>, Problem> {
    take(&state, &called, &platform, None, request).await
}

/// A platform's webhook for one attempt. The signed body's own attempt id comes before the address's.
#[utoipa::path(post, path = "/webhooks/{platform}/{attempt_id}", operation_id = "receive_webhook_for_attempt", tag = "webhooks",
    params(("platform" = String, Path, description = "e.g. `bland_ai`"), ("attempt_id" = String, Path, description = "As we gave it to the platform")),
    request_body(description = "As the platform sends it, at most 262,144 bytes", content = String),
    responses(
        (status = 200, description = "Stored", body = WebhookTaken),
        (status = 400, description = "Signed, but unreadable; kept"),
        (status = 401, description = "Bad signature; nothing is kept"),
        (status = 404, description = "The platform is off"),
        (status = 413, description = "Over 262,144 bytes"),
        (status = 503, description = "Postgres is away"),
    ))]
pub async fn webhook_for_attempt(
    State(state): State<HttpState>,
    Extension(called): Extension<AsCalled>,
    Names(platform, attempt_id): Names,
    request: Request,
) -> Result<Json<WebhookTaken>, Problem> {
    // An address that somebody mangled loses us the fallback, not the webhook.
    take(&state, &called, &platform, attempt_id.parse().ok(), request).await
}

async fn take(
    state: &HttpState,
    called: &AsCalled,
    platform: &str,
    attempt_id: Option<Uuid>,
    request: Request,
) -> Result<Json<WebhookTaken>, Problem> {
    state.webhooks.is_on(platform)?;
    let headers = request.headers().clone();
    let body = input::body(request, MAX_BODY_BYTES).await.inspect_err(|problem| {
        if problem.kind == Kind::TooLarge {
            state.webhooks.too_large(platform);
        }
    })?;
    let url = public_url(state, called, &headers);
    let incoming = Incoming { platform, attempt_id, headers: &headers, url: &url, body: &body };
    let status = match state.webhooks.receive(incoming).await? {
        Received::Stored => "stored",
        Received::Repeat => "repeat",
    };
    Ok(Json(WebhookTaken { status }))
}

/// The address as the platform knows it: a proxy in front of us may have changed scheme and host, never the path.
fn public_url(state: &HttpState, called: &AsCalled, headers: &http::HeaderMap) -> String {
    let path = called.0.path_and_query().map_or("/", |path| path.as_str());
    match state.config.public_url() {
        Some(public) => format!("{public}{path}"),
        None => {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            format!("http://{host}{path}")
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Off(why) => Problem::new(Kind::PlatformOff, why),
            Refused::BadSignature(why) => Problem::new(Kind::BadSignature, why.to_string()),
            Refused::Unreadable(why) => Problem::new(Kind::Unreadable, why),
            Refused::Store(error) => error.into(),
        }
    }
}
