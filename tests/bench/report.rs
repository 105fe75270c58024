//! The results: a table for people, JSON for programs.

use std::path::Path;

use serde::Serialize;

use super::stage::{Latency, Measured};

#[derive(Serialize)]
pub struct Report {
    events: usize,
    runs: usize,
    processors: usize,
    pub rows: Vec<Row>,
    pub latencies: Vec<(&'static str, Latency)>,
}

#[derive(Serialize)]
pub struct Row {
    pub worker: &'static str,
    pub provider: &'static str,
    #[serde(flatten)]
    pub measured: Measured,
    /// Of slots by latency.
    pub of_ideal: Option<f64>,
    /// Events per second of the slowest and of the fastest run.
    pub slowest: f64,
    pub fastest: f64,
}

impl Report {
    pub fn new(events: usize, runs: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        Self { events, runs, processors, rows: Vec::new(), latencies: Vec::new() }
    }

    pub fn print(&self) {
        println!(
            "\n{} events, median of {} runs, {} processors for all parts\n",
            self.events, self.runs, self.processors
        );
        println!(
            "{:<20} {:<22} {:>8} {:>15} {:>6}   {:>35}   {:>8} {:>8} {:>8}   {:>8}",
            "",
            "provider answers",
            "events/s",
            "(all runs)",
            "ideal",
            "CPU s / 1,000 events",
            "SQS",
            "SQL",
            "commits",
            "MB"
        );
        println!(
            "{:<20} {:<22} {:>8} {:>15} {:>6}   {:>8} {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}   {:>4} {:>4}",
            "", "", "", "", "", "worker", "Postgres", "SQS", "provider", "/event", "/event", "/event", "rest", "peak"
        );
        for row in &self.rows {
            let one = &row.measured;
            let cpu = &one.cpu_per_thousand;
            println!(
                "{:<20} {:<22} {:>8.0} {:>15} {:>6}   {:>8.2} {:>8.2} {:>8.2} {:>8.2}   {:>8.2} {:>8.2} {:>8.3}   {:>4.0} {:>4.0}",
                row.worker,
                row.provider,
                one.events_per_second,
                format!("{:.0}-{:.0}", row.slowest, row.fastest),
                row.of_ideal.map_or(String::new(), |share| format!("{:.0} %", share * 100.0)),
                cpu.worker,
                cpu.postgres,
                cpu.sqs,
                cpu.provider,
                one.sqs_requests,
                one.sql_statements,
                one.sql_commits,
                one.mb_at_rest,
                one.mb_peak,
            );
        }
        println!(
            "\nfrom sending an event to its request, {} events a second:",
            self.latencies.first().map_or(0, |(_, one)| one.per_second)
        );
        for (worker, latency) in &self.latencies {
            println!("{worker:<20} p50 {:>6.1} ms   p99 {:>6.1} ms", latency.p50_ms, latency.p99_ms);
        }
    }

    pub fn write(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
        let json = serde_json::to_vec_pretty(self).expect("numbers");
        match std::fs::write(&path, json) {
            Ok(()) => println!("\n{}", path.display()),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
    }
}
