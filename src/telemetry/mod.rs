//! What a person or a machine can see of a running `voxd`: logs, traces and metrics.
//!
//! | file | holds |
//! |---|---|
//! | [`metrics`] | every metric: name, unit, labels, description |
//! | `meter` | what a counter, a gauge and a histogram are, and their output |
//! | [`logs`] | one event per line on standard error: JSON for machines, text for a terminal |
//! | [`trace`] | spans to an OpenTelemetry collector, and the producer's trace carried on |
//! | `process` | the process's own CPU, memory and file descriptors |

pub mod logs;
mod meter;
pub mod metrics;
mod process;
pub mod trace;

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use meter::Exporter;

use crate::config;

/// Longest wait for the last spans at shutdown.
const FLUSH: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Bad configuration: exit code 64.
    #[error("bad configuration: telemetry.otlp_endpoint (OTEL_EXPORTER_OTLP_ENDPOINT): {0}")]
    Endpoint(String),
    #[error("logs are already set up in this process")]
    AlreadySet,
}

/// Logs and traces of this process, until [`Telemetry::shutdown`].
#[must_use = "shutdown sends the last spans"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Sets up logs, and traces where a collector is configured. Once per process, within a Tokio runtime.
pub fn init(settings: &config::Telemetry) -> Result<Telemetry, InitError> {
    init_with(settings, || logs::layer(settings.log_format))
}

/// As [`init`], with the logs as JSON lines in a file instead of on standard error.
pub fn init_into(settings: &config::Telemetry, file: std::fs::File) -> Result<Telemetry, InitError> {
    init_with(settings, || logs::file_layer(file))
}

type LogLayer<S> = Box<dyn tracing_subscriber::Layer<S> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<tracing_subscriber::EnvFilter, tracing_subscriber::Registry>;

fn init_with(settings: &config::Telemetry, layer: impl FnOnce() -> LogLayer<Filtered>) -> Result<Telemetry, InitError> {
    let rust_log = std::env::var("RUST_LOG").ok();
    let (filter, problem) = logs::filter(rust_log.as_deref());
    let endpoint = Some(settings.otlp_endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());
    let traces = endpoint.map(|endpoint| trace::exporter(endpoint).map(trace::provider));
    let traces = traces.transpose().map_err(InitError::Endpoint)?;
    tracing_subscriber::registry()
        .with(filter)
        .with(layer())
        .with(traces.as_ref().map(trace::layer))
        .try_init()
        .map_err(|_| InitError::AlreadySet)?;
    if let Some(problem) = problem {
        tracing::warn!(problem, "RUST_LOG cannot be read, the default is used: {}", logs::DEFAULT_FILTER);
    }
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends the last spans, for at most three seconds.
    pub async fn shutdown(self) {
        let Some(traces) = self.traces else { return };
        let flushed = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(FLUSH)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(error = %error, "the last spans could not be sent");
        }
    }
}
