//! `make bench`: how fast one `voxd serve` is and what it costs, beside two rivals on the same machine, the same SQS, the
//! same provider and the same Postgres.
//!
//! Every part is a process of its own, so that processor time can be told apart: Postgres, the local SQS, the simulated
//! provider, the worker, and this program, which is the producer. A worker starts on an empty queue, is warmed up, and is
//! stopped (`SIGSTOP`) while the queue is filled; the clock runs from its continuation to the last recorded answer. Each
//! figure is of the median run by events per second. Latency is measured apart, at an even pace, when nothing is crowded.
//!
//! `VOXD_BENCH_EVENTS` (10000), `VOXD_BENCH_RUNS` (3), `VOXD_BENCH_ONLY` (`voxd`, `sqs-consumer`, `poller`). Settings
//! of `voxd serve` are taken over from the environment (`VOXD_SECTION__KEY`). Results go to `target/bench.json` too.

mod process;
mod report;
mod simulators;
mod stage;
mod workers;

use std::time::Duration;

use self::report::{Report, Row};
use self::simulators::Provider;
use self::stage::{Measured, Stage};
use self::workers::Kind;

/// Create requests at once: `platforms.bland_ai.max_concurrent_requests`, and eight consumers with batches of ten.
const SLOTS: f64 = 80.0;
/// For latency.
const PACE: u32 = 100;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first.starts_with("simulate-")) {
        simulators::serve(&arguments).await;
        return;
    }
    let number = |name: &str, usual: usize| -> usize {
        let text = std::env::var(name).ok();
        text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
    };
    let (events, runs) = (number("VOXD_BENCH_EVENTS", 10_000), number("VOXD_BENCH_RUNS", 3).max(1));
    let only = std::env::var("VOXD_BENCH_ONLY").unwrap_or_default();
    let mut stage = Stage::new().await;
    let mut report = Report::new(events, runs);
    for kind in [Kind::Voxd, Kind::SqsConsumer, Kind::Poller] {
        if !kind.name().to_lowercase().contains(&only) {
            continue;
        }
        if let Some(missing) = kind.missing() {
            eprintln!("{missing}");
            continue;
        }
        for (name, provider) in providers() {
            let events = scaled(kind, provider, events);
            let mut measured = Vec::new();
            for run in 1..=runs {
                let one = stage.throughput(kind, provider, events).await;
                eprintln!("{}, {name}, run {run}: {:.0} events/s", kind.name(), one.events_per_second);
                measured.push(one);
            }
            report.rows.push(Row {
                worker: kind.name(),
                provider: name,
                of_ideal: ideal(kind, provider).map(|ideal| median(&measured).events_per_second / ideal),
                slowest: measured.iter().map(|one| one.events_per_second).fold(f64::INFINITY, f64::min),
                fastest: measured.iter().map(|one| one.events_per_second).fold(0.0, f64::max),
                measured: median(&measured),
            });
        }
        let paced = (events / 10).clamp(100, 1000);
        report.latencies.push((kind.name(), stage.latency(kind, providers()[0].1, paced, PACE).await));
    }
    report.print();
    report.write();
}

fn providers() -> [(&'static str, Provider); 3] {
    let latency = Duration::from_millis(100);
    [
        ("at once", Provider { latency: Duration::ZERO, slow: None }),
        ("100 ms", Provider { latency, slow: None }),
        ("100 ms, each 20th 1 s", Provider { latency, slow: Some((20, Duration::from_secs(1))) }),
    ]
}

/// Slots by latency; nothing is ideal for a provider that answers at once.
fn ideal(kind: Kind, provider: Provider) -> Option<f64> {
    let slots = if kind == Kind::Poller { 1.0 } else { SLOTS };
    (!provider.latency.is_zero()).then(|| slots / provider.mean().as_secs_f64())
}

/// The rivals get as many events as they handle in some ten seconds.
fn scaled(kind: Kind, provider: Provider, events: usize) -> usize {
    match (kind, provider.latency.is_zero(), provider.slow.is_some()) {
        (Kind::Poller, true, _) => events / 5,
        (Kind::Poller, false, _) => (events / 100).max(20),
        (Kind::SqsConsumer, _, true) => events / 5,
        _ => events,
    }
}

fn median(runs: &[Measured]) -> Measured {
    let mut sorted: Vec<&Measured> = runs.iter().collect();
    sorted.sort_by(|a, b| a.events_per_second.total_cmp(&b.events_per_second));
    sorted[sorted.len() / 2].clone()
}
