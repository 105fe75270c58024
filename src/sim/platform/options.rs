//! How a simulated platform is set up. What only one vendor has stands in that vendor's own type.

use std::time::Duration;

use super::Script;

/// The default is for tests: fast, and strict where strictness does not cost throughput.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// The only accepted key.
    pub api_key: String,
    /// Signs webhooks; empty: they go out unsigned, as from an account without a secret.
    pub webhook_secret: String,
    /// Put on the scripts' durations: 1.0 is a person's time, 0.0 ends calls at once.
    pub time_scale: f64,
    pub seed: u64,
    /// Scripts with weights for numbers that nothing else decides; empty: completed.
    pub mix: Vec<(u32, Script)>,
    /// Whether the last four digits of the number choose the script.
    pub scripts_by_number: bool,
    /// Every create request takes this long.
    pub latency: Duration,
    /// Every so-many-th create request takes this long instead.
    pub slow_every: Option<(u64, Duration)>,
    /// Of the script `slow`.
    pub slow: Duration,
    /// Delay of webhooks that the script lets come late.
    pub late: Duration,
    /// A second call to a number is refused within so long (where the vendor has such a rule).
    pub same_number_window: Option<Duration>,
    /// Live calls of the account; one more is answered as the vendor answers it.
    pub max_live: Option<usize>,
    /// A call is listed only so long after it was made.
    pub list_lag: Duration,
    /// Rows of a listing page at most, whatever is asked for.
    pub page_cap: usize,
    /// Tries for each webhook, and the wait after the first, doubling.
    pub webhook_tries: u32,
    pub webhook_wait: Duration,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            api_key: "simulated-key".into(),
            webhook_secret: "simulated-secret".into(),
            time_scale: 0.001,
            seed: 0,
            mix: Vec::new(),
            scripts_by_number: true,
            latency: Duration::ZERO,
            slow_every: None,
            slow: Duration::from_secs(1),
            late: Duration::from_millis(500),
            same_number_window: None,
            max_live: None,
            list_lag: Duration::ZERO,
            page_cap: 1000,
            webhook_tries: 8,
            webhook_wait: Duration::from_millis(100),
        }
    }
}

impl SimOptions {
    /// For people who watch: calls take seconds, all rules hold.
    pub fn for_people() -> Self {
        Self {
            time_scale: 1.0,
            slow: Duration::from_secs(5),
            late: Duration::from_secs(20),
            same_number_window: Some(Duration::from_secs(10)),
            list_lag: Duration::from_secs(1),
            webhook_wait: Duration::from_secs(1),
            ..Self::default()
        }
    }
}
