//! Every metric, in one list: add a line and it is described, exported and checked.
//!
//! ```text
//! metrics::SQS_MESSAGES.add([queue, "received"], 10);
//! metrics::CALLS_IN_DOUBT.set([], 3.0);
//! metrics::PLATFORM_REQUEST.record(["bland_ai", "create"], elapsed);
//! ```
//!
//! Label values are words from small, closed sets (a queue's name, never its address; never an id or a number), so that
//! the number of series stays bounded. Gauges of the ledger ("now") are the same on every replica: take the maximum.

use super::meter::{self, Counter, Exporter, Histogram, Kind, Metric};

pub use super::meter::Gauge;

/// Within this machine or region: 0.5 ms to 30 s.
const FAST: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Waits that people and queues cause: 50 ms to 12 h.
const SLOW: &[f64] = &[0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0];

/// Makes a static per metric, whose doc comment is also the text that Prometheus shows, and the list of all of them.
macro_rules! catalogue {
    ($($(#[doc = $help:literal])+ $kind:ident $name:ident: $unit:ident = $text:literal [$($label:ident),*] $($buckets:ident)?;)+) => {
        $(
            $(#[doc = $help])+
            #[doc = concat!("\n\n`", $text, "`", $(" `", stringify!($label), "`",)*)]
            pub static $name: $kind<{ <[&str]>::len(&[$(stringify!($label)),*]) }> = $kind(Metric {
                kind: Kind::$kind,
                name: $text,
                unit: metrics::Unit::$unit,
                labels: &[$(stringify!($label)),*],
                help: concat!($($help),+),
                buckets: catalogue!(@buckets $($buckets)?),
            });
        )+

        static ALL: &[&Metric] = &[$(&$name.0),+];

        /// Sets every metric once, with its labels' names as values.
        #[cfg(test)]
        fn touch_all() {
            $(test_support::Touch::touch(&$name, [$(stringify!($label)),*]);)+
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

catalogue! {
    // Queues
    /// Messages by what became of them: received, accepted, duplicate, rejected, returned (not acceptable now).
    Counter SQS_MESSAGES: Count = "voxd_sqs_messages_total" [queue, result];
    /// Rejected messages by reason, as in rejected_messages.
    Counter MESSAGES_REJECTED: Count = "voxd_messages_rejected_total" [queue, reason];
    /// Requests to SQS by operation and result: ok, throttled, error, timeout.
    Counter SQS_REQUESTS: Count = "voxd_sqs_requests_total" [operation, result];
    /// Duration of requests to SQS; a long poll's waiting is part of receive.
    Histogram SQS_REQUEST: Seconds = "voxd_sqs_request_seconds" [operation] FAST;
    /// Entries of batch requests that SQS refused one by one.
    Counter SQS_BATCH_FAILURES: Count = "voxd_sqs_batch_failures_total" [operation];
    /// Messages in the queue by state: visible, in_flight, delayed (SQS's approximate figures).
    Gauge SQS_QUEUE_MESSAGES: Count = "voxd_sqs_queue_messages" [queue, state];
    /// From a message's sending to its receipt.
    Histogram SQS_MESSAGE_AGE: Seconds = "voxd_sqs_message_age_seconds" [queue] SLOW;
    /// Age of the oldest message in the last receive that brought any; 0 when the queue was empty.
    Gauge SQS_OLDEST_MESSAGE: Seconds = "voxd_sqs_oldest_message_seconds" [queue];
    /// Polls running at once.
    Gauge SQS_POLLERS: Count = "voxd_sqs_pollers" [queue];

    // Jobs
    /// Jobs accepted for the first time, by event type.
    Counter JOBS_ACCEPTED: Count = "voxd_jobs_accepted_total" [type];
    /// From a batch's receipt to the commit that accepts it.
    Histogram ACCEPT: Seconds = "voxd_accept_seconds" [queue] FAST;
    /// From a job's acceptance to the first byte of its create request.
    Histogram ACCEPT_TO_SEND: Seconds = "voxd_accept_to_send_seconds" [] FAST;
    /// From a message's receipt to the commit of the platform's answer.
    Histogram RECEIVE_TO_ANSWER: Seconds = "voxd_receive_to_answer_seconds" [] FAST;
    /// Accepted, unsent jobs that this replica holds.
    Gauge WORKER_BACKLOG: Count = "voxd_worker_backlog" [];
    /// 1 while this replica receives: Postgres is there, and the line is shorter than worker.max_waiting.
    Gauge RECEIVING: Count = "voxd_receiving" [];
    /// The backlog at which this replica stops receiving.
    Gauge WORKER_BACKLOG_LIMIT: Count = "voxd_worker_backlog_limit" [];

    // Calls and attempts
    /// Attempts by what the create request's answer meant: placed, refused, not_sent, in_doubt.
    Counter CALL_ATTEMPTS: Count = "voxd_call_attempts_total" [platform, verdict];
    /// Calls that reached a terminal status.
    Counter CALLS_FINISHED: Count = "voxd_calls_finished_total" [platform, status];
    /// Numbers put on the do-not-call list, by how: api, cli, import, platform.
    Counter SUPPRESSIONS: Count = "voxd_suppressions_total" [source];
    /// Calls now, by status; terminal ones are not counted.
    Gauge CALLS: Count = "voxd_calls" [status];
    /// Calls now whose placing is in doubt and being looked up.
    Gauge CALLS_IN_DOUBT: Count = "voxd_calls_in_doubt" [];
    /// Calls now that look-ups could not settle: a person must.
    Gauge CALLS_UNKNOWN: Count = "voxd_calls_unknown" [];
    /// Age of the oldest call that has no terminal status, from the moment it was due; unknown ones are not counted.
    Gauge OLDEST_OPEN_CALL: Seconds = "voxd_oldest_open_call_seconds" [];
    /// Scheduled calls now, by what they wait for: window, rate, cap, breaker, retry, number_busy, not_before, …
    Gauge CALLS_WAITING: Count = "voxd_calls_waiting" [reason];
    /// Facts that the transition table refuses: what we knew, and what the platform says against it.
    Counter CONTRADICTIONS: Count = "voxd_contradictions_total" [platform, known, claimed];

    // Costs
    /// What calls cost since the first one, reported or estimated, in whole units with decimals. Of the ledger: the same on every replica; a correction downwards does not show.
    Counter CALL_COST: Count = "voxd_call_cost_total" [platform, currency];
    /// The share of a platform's budget that is spent or held for calls under way, by period: day, month (UTC).
    Gauge BUDGET_USED: Count = "voxd_budget_used_ratio" [platform, period];

    // Platforms
    /// Requests to a platform by operation (create, find, status, end) and result (an HTTP status class, or the failure).
    Counter PLATFORM_REQUESTS: Count = "voxd_platform_requests_total" [platform, operation, result];
    /// Duration of requests to a platform.
    Histogram PLATFORM_REQUEST: Seconds = "voxd_platform_request_seconds" [platform, operation] FAST;
    /// Time a due call waited for its platform's rate limit.
    Histogram RATE_LIMIT_WAIT: Seconds = "voxd_rate_limit_wait_seconds" [platform] FAST;
    /// 429 answers that slowed a whole account.
    Counter PLATFORM_THROTTLED: Count = "voxd_platform_throttled_total" [platform];
    /// Calls per second that the account may make now, over all replicas, as this one sees it; 0: no limit.
    Gauge PLATFORM_RATE: Count = "voxd_platform_rate" [platform];
    /// Calls at once that the account may have, set or told by the platform; 0: no limit.
    Gauge PLATFORM_LIVE_LIMIT: Count = "voxd_platform_live_limit" [platform];
    /// What part of its full pace the account is used at: 1, less after "too many", 0 during a pause.
    Gauge PLATFORM_PACE: Count = "voxd_platform_pace" [platform];
    /// Requests that missed their slot in the rate (a slow commit, a busy machine) and took another.
    Counter PLATFORM_SLOTS_MISSED: Count = "voxd_platform_slots_missed_total" [platform];
    /// The account's circuit breaker on this replica: 0 closed, 0.5 half open, 1 open.
    Gauge PLATFORM_BREAKER: Count = "voxd_platform_breaker" [platform];
    /// How often the breaker opened.
    Counter PLATFORM_BREAKER_OPENED: Count = "voxd_platform_breaker_opened_total" [platform];
    /// Create requests under way.
    Gauge PLATFORM_REQUESTS_IN_FLIGHT: Count = "voxd_platform_requests_in_flight" [platform];
    /// Look-ups of attempts in doubt by result: found, absent, inconclusive, error.
    Counter LOOKUPS: Count = "voxd_reconcile_lookups_total" [platform, result];
    /// Looks at placed calls by result: changed, unchanged, missing, error; late: at an ended one, for what was not told.
    Counter POLLS: Count = "voxd_poller_polls_total" [platform, result];

    /// Reports of platforms whose word for a call's state or end we do not know; it stands in raw_status.
    Counter PLATFORM_UNKNOWN_WORDS: Count = "voxd_platform_unknown_words_total" [platform];

    // Webhooks
    /// Webhooks by result: stored, duplicate, bad_signature, unreadable, too_large, off, error; unmatched is a stored one of no call of ours.
    Counter WEBHOOKS: Count = "voxd_webhooks_total" [platform, result];
    /// From the time the platform puts on an event to its being applied here.
    Histogram WEBHOOK_LAG: Seconds = "voxd_webhook_lag_seconds" [platform] SLOW;

    // Leases and replicas
    /// Writes refused because another replica had taken over (the fence).
    Counter LEASE_LOST: Count = "voxd_lease_lost_total" [];
    /// Orphaned work taken over from a replica that fell silent.
    Counter LEASE_TAKEOVERS: Count = "voxd_lease_takeovers_total" [];
    /// Replicas with a fresh heartbeat.
    Gauge REPLICAS: Count = "voxd_replicas" [];

    // Postgres
    /// Connections of this replica's pool by state: in_use, idle, max.
    Gauge DB_CONNECTIONS: Count = "voxd_db_connections" [state];
    /// Wait for a connection of the pool.
    Histogram DB_ACQUIRE: Seconds = "voxd_db_acquire_seconds" [] FAST;
    /// Duration of units of work, the wait for a connection included.
    Histogram DB_WORK: Seconds = "voxd_db_work_seconds" [] FAST;
    /// Failed units of work by cause: unavailable (away, too slow), not_durable (settings that lose commits), refused.
    Counter DB_ERRORS: Count = "voxd_db_errors_total" [cause];
    /// Pools rebuilt because they stayed empty.
    Counter DB_POOL_REBUILDS: Count = "voxd_db_pool_rebuilds_total" [];

    // Outcomes
    /// Outcome events not yet delivered, by sink: sqs, webhook.
    Gauge OUTBOX_PENDING: Count = "voxd_outbox_pending" [sink];
    /// Age of the oldest outcome event not yet delivered.
    Gauge OUTBOX_OLDEST: Seconds = "voxd_outbox_oldest_seconds" [sink];
    /// Tries to deliver an outcome event by result: delivered, failed (tried again later), abandoned.
    Counter OUTBOX: Count = "voxd_outbox_total" [sink, result];

    // HTTP and health
    /// HTTP requests by route template, method and status.
    Counter HTTP_REQUESTS: Count = "voxd_http_requests_total" [route, method, status];
    /// Duration of HTTP requests.
    Histogram HTTP_REQUEST: Seconds = "voxd_http_request_seconds" [route, method] FAST;
    /// Open HTTP connections.
    Gauge HTTP_CONNECTIONS: Count = "voxd_http_connections" [];
    /// 1 when a part that readiness looks at is up: postgres, sqs, or a platform's name.
    Gauge PART_UP: Count = "voxd_part_up" [part];

    // Sessions
    /// Live sessions by transport.
    Gauge SESSIONS_ACTIVE: Count = "voxd_sessions_active" [transport];
    /// Sessions that ended, by reason; each by the replica that ended it.
    Counter SESSIONS_ENDED: Count = "voxd_sessions_ended_total" [reason];
    /// Time that a stage of a spoken turn took.
    Histogram TURN_STAGE: Seconds = "voxd_turn_stage_seconds" [stage] FAST;

    // Speech
    /// Streams of speech recognition that ended, by how: ok, over, idle, too_old, too_fast, token, or an error's kind.
    Counter SPEECH_STREAMS: Count = "voxd_speech_streams_total" [engine, result];
    /// Streams replaced because of their age, by how: planned (in a pause), forced (in the middle of speech).
    Counter SPEECH_ROTATIONS: Count = "voxd_speech_rotations_total" [engine, kind];
    /// Streams that got sound which another one had before.
    Counter SPEECH_REPLAYS: Count = "voxd_speech_replays_total" [engine];
    /// Sound that was sent again, by replay.
    Histogram SPEECH_REPLAYED: Seconds = "voxd_speech_replayed_seconds" [engine] SLOW;
    /// Words that two streams heard and that are told once.
    Counter SPEECH_DROPPED_WORDS: Count = "voxd_speech_dropped_words_total" [engine];
    /// Finals made of a stable interim, because its stream broke.
    Counter SPEECH_PROMOTED: Count = "voxd_speech_promoted_total" [engine];
    /// Streams that the engine ended because it was sent nothing.
    Counter SPEECH_IDLE_ABORTS: Count = "voxd_speech_idle_aborts_total" [engine];
    /// Streams replaced because they answered nothing to speech.
    Counter SPEECH_STALLS: Count = "voxd_speech_stalls_total" [engine];
    /// Requests to a speech engine that are no recognition streams, by method and result.
    Counter SPEECH_REQUESTS: Count = "voxd_speech_requests_total" [engine, method, result];
    /// Duration of those that succeeded.
    Histogram SPEECH_REQUEST: Seconds = "voxd_speech_request_seconds" [engine, method] FAST;

    /// 1, with the version and the commit this binary was built from.
    Gauge BUILD_INFO: Count = "voxd_build_info" [version, commit];
}

/// The commit, where the build was told (`VOXD_COMMIT`); asking git would rebuild the crate at every commit.
pub const COMMIT: &str = match option_env!("VOXD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Installs the recorder of this process; later calls give the same exporter.
pub fn install() -> Exporter {
    let exporter = meter::install(ALL);
    BUILD_INFO.set([env!("CARGO_PKG_VERSION"), COMMIT], 1.0);
    exporter
}

#[cfg(test)]
mod test_support {
    use super::*;

    pub(super) trait Touch<const N: usize> {
        fn touch(&self, labels: [&str; N]);
    }
    impl<const N: usize> Touch<N> for Counter<N> {
        fn touch(&self, labels: [&str; N]) {
            self.inc(labels);
        }
    }
    impl<const N: usize> Touch<N> for Gauge<N> {
        fn touch(&self, labels: [&str; N]) {
            self.set(labels, 1.0);
        }
    }
    impl<const N: usize> Touch<N> for Histogram<N> {
        fn touch(&self, labels: [&str; N]) {
            self.record(labels, std::time::Duration::from_millis(3));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_and_exported_once_touched() {
        let recorder = meter::recorder(ALL);
        metrics::with_local_recorder(&recorder, touch_all);
        let text = recorder.handle().render();
        for metric in ALL {
            let name = metric.name;
            assert!(
                text.contains(&format!("# HELP {name} {}", metric.help.trim())),
                "{name} is not described:\n{text}"
            );
            let sample = match metric.kind {
                Kind::Counter | Kind::Gauge => name.to_owned(),
                Kind::Histogram => format!("{name}_bucket"),
            };
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("{label}=\"{label}\"")).collect();
            let wanted = format!("{sample}{}{}", if metric.labels.is_empty() { "" } else { "{" }, labels.join(","));
            assert!(text.lines().any(|line| line.starts_with(&wanted)), "no sample {wanted} in:\n{text}");
        }
    }

    /// <https://prometheus.io/docs/practices/naming/>
    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is declared twice");
            assert!(name.starts_with("voxd_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}: counters end in _total");
            assert_eq!(name.ends_with("_seconds"), metric.unit == metrics::Unit::Seconds, "{name}: unit and name");
            assert_eq!(metric.buckets.is_empty(), metric.kind != Kind::Histogram, "{name}: buckets");
            assert!(metric.buckets.is_sorted(), "{name}: buckets");
            assert!(metric.help.trim().ends_with(['.', '…']) && !metric.help.contains('\n'), "{name}: {}", metric.help);
            assert!(metric.labels.iter().all(|label| *label != "le" && *label != "quantile"), "{name}: reserved label");
        }
    }

    #[test]
    fn the_names_that_dashboards_rely_on_are_there() {
        let contract = [
            "voxd_sqs_messages_total{queue,result}",
            "voxd_jobs_accepted_total{type}",
            "voxd_call_attempts_total{platform,verdict}",
            "voxd_calls_finished_total{platform,status}",
            "voxd_calls_in_doubt{}",
            "voxd_calls_unknown{}",
            "voxd_oldest_open_call_seconds{}",
            "voxd_calls_waiting{reason}",
            "voxd_accept_to_send_seconds{}",
            "voxd_platform_request_seconds{platform,operation}",
            "voxd_webhooks_total{platform,result}",
            "voxd_webhook_lag_seconds{platform}",
            "voxd_lease_lost_total{}",
            "voxd_sessions_active{transport}",
            "voxd_turn_stage_seconds{stage}",
            "voxd_build_info{version,commit}",
        ];
        let ours: Vec<_> = ALL.iter().map(|metric| format!("{}{{{}}}", metric.name, metric.labels.join(","))).collect();
        for wanted in contract {
            assert!(ours.iter().any(|name| name == wanted), "{wanted} is missing from {ours:#?}");
        }
    }

    #[test]
    fn installing_twice_gives_the_same_exporter() {
        let (first, second) = (install(), install());
        LEASE_TAKEOVERS.inc([]);
        let sample =
            |text: String| text.lines().find(|line| line.starts_with("voxd_lease_takeovers_total ")).map(str::to_owned);
        assert_eq!(sample(first.render()), sample(second.render()));
        assert!(first.render().contains("voxd_build_info{version="));
    }
}
