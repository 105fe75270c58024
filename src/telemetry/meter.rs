//! Counters, gauges and histograms whose name, unit, labels and description are one declaration.
//!
//! The number of label values is part of the type, so a call with a label too many or too few does not compile.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::process;
use crate::lifecycle::Lifecycle;

/// Time of one scrape interval at the most common setting; histograms are drained this often even if nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One entry of the catalogue.
#[derive(Debug)]
pub struct Metric {
    pub(super) kind: Kind,
    pub name: &'static str,
    pub(super) unit: Unit,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// Upper bounds, for histograms.
    pub(super) buckets: &'static [f64],
}

/// Only rises. `N` is the number of labels.
pub struct Counter<const N: usize>(pub(super) Metric);
/// A value that goes up and down.
pub struct Gauge<const N: usize>(pub(super) Metric);
/// A distribution of durations.
pub struct Histogram<const N: usize>(pub(super) Metric);

impl<const N: usize> Counter<N> {
    pub fn inc(&self, labels: [&str; N]) {
        self.add(labels, 1);
    }

    pub fn add(&self, labels: [&str; N], n: u64) {
        let key = self.0.key(labels);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA)).increment(n);
    }
}

impl<const N: usize> Counter<N> {
    /// Shows every combination of these values at zero, so that its first increase is seen as one. Counts nothing.
    pub fn start(&self, values: [&[&str]; N]) {
        let combinations = values.iter().map(|values| values.len()).product();
        for n in 0..combinations {
            let mut rest = n;
            self.add(
                values.map(|values| {
                    let value = values[rest % values.len()];
                    rest /= values.len();
                    value
                }),
                0,
            );
        }
    }

    /// A counter that is kept elsewhere stands at `n` now; never goes back.
    pub fn raise_to(&self, labels: [&str; N], n: u64) {
        let key = self.0.key(labels);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA)).absolute(n);
    }
}

impl<const N: usize> Gauge<N> {
    pub fn set(&self, labels: [&str; N], value: f64) {
        let key = self.0.key(labels);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA)).set(value);
    }

    /// Raises, or lowers by a negative number.
    pub fn add(&self, labels: [&str; N], change: f64) {
        let key = self.0.key(labels);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA)).increment(change);
    }
}

impl<const N: usize> Histogram<N> {
    pub fn record(&self, labels: [&str; N], value: Duration) {
        let key = self.0.key(labels);
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA)).record(value.as_secs_f64());
    }
}

static METADATA: Metadata<'static> = Metadata::new("voxd", Level::INFO, None);

impl Metric {
    fn key<const N: usize>(&self, values: [&str; N]) -> Key {
        if N == 0 {
            return Key::from_static_name(self.name);
        }
        let labels = self.labels.iter().zip(values);
        Key::from_parts(self.name, labels.map(|(name, value)| Label::new(*name, value.to_owned())).collect::<Vec<_>>())
    }

    fn describe(&self, recorder: &dyn Recorder) {
        let (name, unit, help) = (KeyName::from_const_str(self.name), Some(self.unit), self.help.trim().into());
        match self.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}

/// Renders the metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    all: &'static [&'static Metric],
}

impl Exporter {
    /// The Prometheus text format (`text/plain; version=0.0.4`): the catalogue's metrics, then the process's own. Those of
    /// which nothing was measured yet are described all the same, so that the whole catalogue can be read from a daemon.
    pub fn render(&self) -> String {
        let mut text = in_whole_units(&self.handle.render());
        let shown: HashSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let mut silent = String::new();
        for metric in self.all.iter().filter(|metric| !shown.contains(metric.name)) {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(silent, "# HELP {0} {1}\n# TYPE {0} {kind}\n", metric.name, metric.help.trim());
        }
        text.push_str(&silent);
        process::render(&mut text);
        text
    }

    /// Drains histograms from time to time, so that they don't grow while nobody scrapes. Ends at shutdown.
    pub fn keep_up(&self, lifecycle: &Lifecycle) {
        let (handle, stop) = (self.handle.clone(), lifecycle.soft_token());
        lifecycle.spawn_critical("metrics upkeep", async move {
            while stop.run_until_cancelled(crate::clock::sleep(UPKEEP)).await.is_some() {
                handle.run_upkeep();
            }
        });
    }
}

/// Counters that are kept in millionths, so that they are exact, and shown as decimals.
const MILLIONTHS: &[&str] = &["voxd_call_cost_total"];

fn in_whole_units(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let kept =
            MILLIONTHS.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        match line.rsplit_once(' ').and_then(|(series, value)| Some((series, value.parse::<u64>().ok()?))) {
            Some((series, n)) if kept => {
                let _ = writeln!(shown, "{series} {}.{:06}", n / 1_000_000, n % 1_000_000);
            }
            _ => {
                shown.push_str(line);
                shown.push('\n');
            }
        }
    }
    shown
}

pub(super) fn recorder(all: &[&Metric]) -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for metric in all.iter().filter(|metric| metric.kind == Kind::Histogram) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
            .expect("every histogram of the catalogue has buckets");
    }
    let recorder = builder.build_recorder();
    for metric in all {
        metric.describe(&recorder);
        // A counter without labels shows from the start, so that its first increase is seen as one.
        if metric.kind == Kind::Counter && metric.labels.is_empty() {
            recorder.register_counter(&metric.key([]), &METADATA).increment(0);
        }
    }
    recorder
}

/// Installs the recorder of this process; later calls give the same one.
pub(super) fn install(all: &'static [&'static Metric]) -> Exporter {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    EXPORTER
        .get_or_init(|| {
            let recorder = recorder(all);
            let exporter = Exporter { handle: recorder.handle(), all };
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::error!("another metrics recorder is installed in this process; /metrics will stay empty");
            }
            exporter
        })
        .clone()
}
