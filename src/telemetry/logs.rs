//! Logs: one event per line on standard error.
//!
//! JSON for machines: `timestamp` (UTC), `level`, `target`, `message`, then the fields of the spans around the event and
//! its own, all on the top level, so that `call_id` stands at the same place whoever logged it. On a terminal: text.
//!
//! A line is one write. What must not be logged (secrets, full phone numbers, bodies, transcripts) is kept out by the
//! types that hold it, not here.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use chrono::SecondsFormat;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogFormat;

/// What is logged unless `RUST_LOG` says otherwise.
pub const DEFAULT_FILTER: &str = "warn,voxd=info";

/// The filter of `RUST_LOG`, or the default one; with what is wrong about `RUST_LOG`, to be logged once logs work.
pub(super) fn filter(rust_log: Option<&str>) -> (EnvFilter, Option<String>) {
    let Some(wanted) = rust_log.filter(|text| !text.trim().is_empty()) else {
        return (EnvFilter::new(DEFAULT_FILTER), None);
    };
    match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error.to_string())),
    }
}

/// The layer that writes to standard error in `format`.
pub(super) fn layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let terminal = std::io::stderr().is_terminal();
    match format {
        LogFormat::Auto if !terminal => Box::new(JsonLines::new(write_to_stderr)),
        LogFormat::Json => Box::new(JsonLines::new(write_to_stderr)),
        LogFormat::Auto | LogFormat::Pretty => {
            // https://no-color.org
            let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Box::new(fmt::layer().compact().with_ansi(colours).with_writer(std::io::stderr))
        }
    }
}

/// The layer that writes JSON lines to a file.
pub(super) fn file_layer<S>(file: std::fs::File) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Box::new(JsonLines::new(move |line: &[u8]| {
        // There is nowhere left to report that the file cannot be written.
        let _ = (&file).write_all(line);
    }))
}

fn write_to_stderr(line: &[u8]) {
    // There is nowhere left to report that standard error is gone.
    let _ = std::io::stderr().lock().write_all(line);
}

/// Writes each event as one line of JSON.
struct JsonLines<W> {
    write: W,
    /// Asked for the span's trace, so that a line can be found from a trace and the other way round.
    dispatch: OnceLock<WeakDispatch>,
}

/// What a span's fields held when they were recorded; kept in the span.
struct SpanFields(Map<String, Value>);

impl<W: Fn(&[u8])> JsonLines<W> {
    fn new(write: W) -> Self {
        Self { write, dispatch: OnceLock::new() }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + Send + Sync + 'static,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Map::new();
        attributes.record(&mut Collect(&mut fields));
        span.extensions_mut().insert(SpanFields(fields));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            values.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Map::new();
        let now = crate::clock::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        line.insert("timestamp".into(), now.into());
        line.insert("level".into(), metadata.level().as_str().into());
        line.insert("target".into(), metadata.target().into());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            line.insert("span".into(), span.name().into());
        }
        let dispatch = self.dispatch.get().and_then(WeakDispatch::upgrade);
        let traced = dispatch
            .zip(context.event_span(event))
            .and_then(|(dispatch, span)| tracing_opentelemetry::get_otel_context(&span.id(), &dispatch));
        if let Some(trace) = traced {
            line.insert("trace_id".into(), trace.span().span_context().trace_id().to_string().into());
        }
        event.record(&mut Collect(&mut line));
        let mut bytes = Vec::with_capacity(256);
        if serde_json::to_writer(&mut bytes, &line).is_ok() {
            bytes.push(b'\n');
            (self.write)(&bytes);
        }
    }
}

/// Gathers fields as JSON values.
struct Collect<'a>(&'a mut Map<String, Value>);

impl Collect<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Collect<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    /// The error with its causes.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.put(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    fn lines_of(work: impl FnOnce()) -> Vec<Value> {
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = written.clone();
        let layer = JsonLines::new(move |line: &[u8]| sink.lock().unwrap().extend_from_slice(line));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_is_one_line_with_the_fields_of_its_spans_on_the_top_level() {
        let lines = lines_of(|| {
            let call = tracing::info_span!("call", call_id = "c-1", attempt_id = tracing::field::Empty);
            let _call = call.enter();
            call.record("attempt_id", "a-1");
            tracing::info_span!("send").in_scope(|| tracing::info!(http_status = 200, "sent\nand \"answered\""));
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["message"], "sent\nand \"answered\"");
        assert_eq!((&line["call_id"], &line["attempt_id"]), (&"c-1".into(), &"a-1".into()));
        assert_eq!(
            (&line["http_status"], &line["span"], &line["level"]),
            (&200.into(), &"send".into(), &"INFO".into())
        );
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn the_inner_spans_value_wins_and_the_events_own_over_both() {
        let lines = lines_of(|| {
            let _outer = tracing::info_span!("outer", platform = "a", queue = "q").entered();
            let _inner = tracing::info_span!("inner", platform = "b").entered();
            tracing::warn!("first");
            tracing::warn!(platform = "c", "second");
        });
        assert_eq!((&lines[0]["platform"], &lines[1]["platform"]), (&"b".into(), &"c".into()));
        assert_eq!(lines[1]["queue"], "q");
    }

    #[test]
    fn an_error_brings_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot receive")]
        struct Outer(#[source] std::io::Error);
        let lines = lines_of(|| {
            let error = Outer(std::io::Error::other("connection refused"));
            tracing::error!(error = &error as &dyn std::error::Error, "queue away");
        });
        assert_eq!(lines[0]["error"], "cannot receive: connection refused");
    }

    #[test]
    fn a_line_names_its_trace_where_there_is_one() {
        use opentelemetry::trace::TracerProvider as _;
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = written.clone();
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::default();
        let subscriber = tracing_subscriber::registry()
            .with(JsonLines::new(move |line: &[u8]| sink.lock().unwrap().extend_from_slice(line)))
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("call");
            let producers = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            crate::telemetry::trace::continue_trace(&span, Some(producers));
            span.in_scope(|| tracing::info!("sent"));
        });
        let line: Value = serde_json::from_slice(&written.lock().unwrap()).unwrap();
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn an_unreadable_filter_is_reported_and_the_default_taken() {
        let (filter, problem) = filter(Some("voxd=loud"));
        assert!(problem.is_some(), "{problem:?}");
        assert_eq!(filter.to_string(), EnvFilter::new(DEFAULT_FILTER).to_string());
        assert_eq!(super::filter(Some("voxd=debug")).1, None);
        assert_eq!(super::filter(Some(" ")).1, None);
    }
}
