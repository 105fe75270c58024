//! Traces: spans to an OpenTelemetry collector over gRPC, where one is configured.
//!
//! A producer's trace is carried on: its W3C `traceparent` comes with the message, stands in the job's row, becomes the
//! parent of the spans that work on it, and goes out with the outcome. Sampling follows the producer's decision, and for
//! traces of our own the ecosystem's `OTEL_TRACES_SAMPLER`.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter};
use tonic::transport::{ClientTlsConfig, Endpoint};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER: &str = "traceparent";

/// The W3C `traceparent` as a parent for spans; `None` when it is not one.
pub fn parent_from(traceparent: &str) -> Option<Context> {
    let carrier = HashMap::from([(HEADER.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    parent.span().span_context().is_valid().then_some(parent)
}

/// Makes `span` continue the producer's trace. Call it before the span is entered; does nothing while traces are off.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(parent_from) {
        // It fails while traces are off, and for a span that the filter left out: there is nothing to continue then.
        let _ = span.set_parent(parent);
    }
}

/// The current span's `traceparent`, for what leaves this program. `None` while traces are off: pass the job's own on.
pub fn current_traceparent() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(HEADER)
}

/// Sends spans to the collector at `endpoint` (`http://…` or `https://…`, gRPC, usually port 4317).
///
/// Connects when the first span is sent; a collector that is away costs nothing but the spans. Needs a Tokio runtime.
pub(super) fn exporter(endpoint: &str) -> Result<opentelemetry_otlp::SpanExporter, String> {
    let mut address = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| error.to_string())?;
    match address.uri().scheme_str() {
        Some("http") => {}
        Some("https") => {
            let tls = ClientTlsConfig::new().with_native_roots();
            address = address.tls_config(tls).map_err(|error| error.to_string())?;
        }
        _ => return Err(format!("{endpoint:?} is not an http(s) address such as http://localhost:4317")),
    }
    let channel = address.connect_timeout(Duration::from_secs(5)).timeout(EXPORT_TIMEOUT).connect_lazy();
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_channel(channel);
    exporter.with_timeout(EXPORT_TIMEOUT).build().map_err(|error| error.to_string())
}

pub(super) fn provider(exporter: impl SpanExporter + 'static) -> SdkTracerProvider {
    // The builder's own detectors read OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which win over ours.
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("voxd");
    }
    SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build()
}

pub(super) fn layer<S>(provider: &SdkTracerProvider) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    Box::new(tracing_opentelemetry::layer().with_tracer(provider.tracer("voxd")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use http_body_util::BodyExt as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::SpanData;
    use tracing_subscriber::layer::SubscriberExt as _;

    use crate::lifecycle::Lifecycle;

    const PRODUCERS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn a_span_continues_the_producers_trace_and_passes_it_on() {
        let kept = Kept::default();
        let provider = provider(kept.clone());
        let passed_on =
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
                let span = tracing::info_span!("call");
                continue_trace(&span, Some(PRODUCERS));
                span.in_scope(current_traceparent)
            });
        provider.shutdown().unwrap();
        let spans = kept.0.lock().unwrap().clone();
        let [span] = &spans[..] else { panic!("{spans:?}") };
        let own = &span.span_context;
        assert_eq!(own.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(passed_on, Some(format!("00-{}-{}-01", own.trace_id(), own.span_id())));
    }

    #[test]
    fn what_is_not_a_traceparent_is_no_parent() {
        for text in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "nonsense"] {
            assert!(parent_from(text).is_none(), "{text:?}");
        }
        assert!(parent_from(PRODUCERS).is_some());
    }

    #[test]
    fn without_a_collector_there_is_no_traceparent_of_ours() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            assert_eq!(tracing::info_span!("call").in_scope(current_traceparent), None);
        });
    }

    /// A collector that takes one connection and hands on what it is sent: path and body.
    async fn collector(lifecycle: &Lifecycle) -> (String, tokio::sync::mpsc::Receiver<(String, Vec<u8>)>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = tokio::sync::mpsc::channel(8);
        let answer = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let sender = sender.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await?.to_bytes().to_vec();
                sender.send((path, body)).await.unwrap();
                // An empty message of gRPC, then its status.
                let empty = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
                let status = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                let body = empty.with_trailers(async { Some(Ok(status)) });
                let response = http::Response::builder().header("content-type", "application/grpc").body(body);
                Ok::<_, hyper::Error>(response.unwrap())
            }
        });
        lifecycle.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            let _ = server.serve_connection(hyper_util::rt::TokioIo::new(stream), answer).await;
        });
        (address, received)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_spans_reach_the_collector_at_shutdown() {
        let (address, mut received) = collector(&Lifecycle::new()).await;
        let provider = provider(exporter(&address).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
            tracing::info_span!("placing a call").in_scope(|| ());
        });
        let shutdown = tokio::task::spawn_blocking(move || provider.shutdown());
        let (path, body) = received.recv().await.unwrap();
        assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        let holds = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("placing a call") && holds("service.name") && holds("voxd"));
        shutdown.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_collectors_address_is_judged_at_start() {
        assert!(exporter("http://localhost:4317").is_ok());
        assert!(exporter("https://collector.example:4317").is_ok());
        assert!(exporter("localhost").unwrap_err().contains("http://localhost:4317"));
    }
}
