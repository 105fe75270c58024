//! The side port: webhooks, the API, health and metrics, and the description of it all.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the routes, in one list |
//! | `server` | connections, their limits, their end |
//! | `watch` | around every request: time limit, metrics, panics, one spelling of paths |
//! | `errors` | problem documents; the one table from problems to statuses |
//! | `auth` | API keys and roles |
//! | `input` | bodies, names, queries, cursors |
//! | `docs` | the OpenAPI document and its page |
//! | the rest | one resource each |
//!
//! Handlers translate: what they do is done by the services and the store.

mod analytics;
mod auth;
mod budgets;
mod calls;
mod docs;
mod errors;
mod health;
mod input;
mod messages;
mod server;
mod suppressions;
mod thread_messages;
mod voice;
mod voice_configs;
mod watch;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use http::{Method, Uri};
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::errors::{Kind, Problem};
use crate::call::policy::CallingPolicy;
use crate::config::{Config, Role};
use crate::health::Health;
use crate::platforms::PlatformRegistry;
use crate::processors::ProcessorFactory;
use crate::realtime::Sessions;
use crate::store::Store;
use crate::telemetry::Exporter;
use crate::webhooks::Webhooks;

pub use docs::openapi;
pub use server::serve;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    pub store: Store,
    pub registry: Arc<PlatformRegistry>,
    pub config: Arc<Config>,
    pub health: Health,
    pub metrics: Exporter,
    pub processors: ProcessorFactory,
    pub webhooks: Webhooks,
    /// What queued calls wait for is told by it.
    pub policy: Arc<CallingPolicy>,
    pub sessions: Sessions,
}

/// Every route, with its description.
fn routes() -> OpenApiRouter<HttpState> {
    probes()
        .routes(routes!(webhooks::webhook))
        .routes(routes!(webhooks::webhook_for_attempt))
        .routes(routes!(messages::send))
        .routes(routes!(calls::list))
        .routes(routes!(calls::show))
        .routes(routes!(calls::cancel))
        .routes(routes!(calls::settle))
        .routes(routes!(calls::retry))
        .routes(routes!(suppressions::of_call))
        .routes(routes!(suppressions::list, suppressions::add))
        .routes(routes!(suppressions::remove))
        .routes(routes!(analytics::calls))
        .routes(routes!(budgets::list))
        .routes(routes!(budgets::put, budgets::delete))
        .routes(routes!(thread_messages::list))
        .routes(routes!(voice_configs::list))
        .routes(routes!(voice_configs::show, voice_configs::put, voice_configs::delete))
        .routes(routes!(voice::sessions::initiate))
        .routes(routes!(voice::sessions::end))
        .routes(routes!(voice::sessions::status))
        .routes(routes!(voice::sessions::list))
        .routes(routes!(voice::audio::process))
        .routes(routes!(voice::speech::generate))
        .routes(routes!(voice::config::show, voice::config::put))
        .routes(routes!(docs::document))
        .routes(routes!(docs::page))
        .routes(routes!(docs::landing))
}

/// What a replica without the role `http` serves: enough to be watched.
fn probes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::with_openapi(docs::frame())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// The whole side port.
pub fn router(state: HttpState) -> Router {
    let limit = state.config.http.request_timeout;
    let all = state.config.has_role(Role::Http);
    let (routes, _) = if all { routes() } else { probes() }.split_for_parts();
    let served = routes
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(axum::middleware::from_fn_with_state(limit, watch::watch))
        .with_state(state);
    // Around the routing, not within: the path is spelt in one way before a route is looked for.
    Router::new().fallback_service(served.map_request(|request: Request| watch::one_spelling(request)))
}

async fn nothing_here(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("{method} {} is no address of voxd; /docs lists them", uri.path()))
}

async fn other_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} is not for {method}; /docs says what it is for", uri.path()))
}
