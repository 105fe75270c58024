//! What surrounds the daemon in `voxd dev`: Postgres, SQS, the simulated platforms and Google Speech, in one directory.
//!
//! In the directory: `postgres/`, `sqs.json` (the queues, from stop to start), `runs` (how often it was started), `keys`
//! (API keys for development), `env` (for other terminals), `voxd.log` (what the daemon logs).

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::ports;
use super::postgres::{Cluster, ClusterError, ClusterOptions, StopMode};
use crate::config::{Config, ConfigError, Environment, PlatformConfig, Secret};
use crate::queue::SqsOptions as SqsClientOptions;
use crate::sim::google::{GoogleOptions, GoogleSim};
use crate::sim::platform::{SimOptions, Simulator};
use crate::sim::sqs::{SqsOptions, SqsServer};
use crate::sim::{self, PLATFORMS};

/// The queue that the daemon reads.
pub const QUEUE: &str = "calls";
/// The queue that gets outcome events.
pub const OUTCOMES: &str = "outcomes";
const DATABASE: &str = "voxd";
const REGION: &str = "us-east-1";
/// Deliveries until SQS itself gives a message up.
const MAX_RECEIVE_COUNT: u32 = 5;

/// Times that let a person see retries, doubts and a stop end while they watch. Variables that are set win.
const SHORTER_TIMES: [(&str, &str); 6] = [
    // A running poll is waited for at the stop.
    ("VOXD_QUEUE__WAIT", "2s"),
    ("VOXD_WORKER__LEASE", "10s"),
    ("VOXD_RECONCILE__MARGIN", "2s"),
    ("VOXD_RECONCILE__LISTING_INTERVAL", "10s"),
    ("VOXD_POLLER__INTERVAL", "10s"),
    ("VOXD_WORKER__SHUTDOWN_GRACE", "10s"),
];

/// Where things are. Port 0 is any free one.
#[derive(Debug, Clone)]
pub struct StackOptions {
    pub dir: PathBuf,
    pub http_port: u16,
    pub sqs_port: u16,
    /// Of the first simulated platform; the others follow.
    pub bland_port: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error(transparent)]
    Postgres(#[from] ClusterError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Names the port, who has it, and the option that chooses another.
    #[error("{0}")]
    Port(String),
    #[error("{what}: {problem}")]
    Other { what: String, problem: String },
}

fn other(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StackError {
    let what = what.into();
    move |error| StackError::Other { what, problem: error.to_string() }
}

/// Everything but the daemon, running.
pub struct Stack {
    pub dir: PathBuf,
    pub cluster: Cluster,
    pub sqs: SqsServer,
    pub sims: Vec<Box<dyn Simulator>>,
    pub google: GoogleSim,
    /// The daemon's side port, already ours; for it to take.
    pub http: Option<TcpListener>,
    pub http_addr: SocketAddr,
    /// How often this directory was started, this time included.
    pub run: u64,
}

impl Stack {
    /// Starts it all. `done` gets a line for each part that is up, `progress` one at each step that takes time.
    ///
    /// # Errors
    /// What is missing or in the way, and what to do about it.
    pub async fn start(
        options: &StackOptions,
        progress: &(dyn Fn(&str) + Send + Sync),
        done: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, StackError> {
        let dir = &options.dir;
        std::fs::create_dir_all(dir).map_err(other(dir.display().to_string()))?;
        let dir = dir.canonicalize().map_err(other(dir.display().to_string()))?;
        // Ports first: one in use is told at once.
        let http = ports::listen(options.http_port, "--http-port").await.map_err(StackError::Port)?;
        let sqs = ports::listen(options.sqs_port, "--sqs-port").await.map_err(StackError::Port)?;
        let platforms = ports::listen_from(options.bland_port, PLATFORMS.len(), "--bland-port").await;
        let platforms = platforms.map_err(StackError::Port)?;
        let beside =
            if options.bland_port == 0 { 0 } else { options.bland_port.saturating_add(PLATFORMS.len() as u16) };
        let google = ports::listen(beside, "--bland-port").await.map_err(StackError::Port)?;
        let http_addr = http.local_addr().map_err(other("the side port"))?;

        let cluster = Cluster::start(&dir.join("postgres"), ClusterOptions::default(), progress).await?;
        if !cluster.has_database(DATABASE).await? {
            cluster.create_database(DATABASE, None).await?;
        }
        done(&format!("Postgres {:<6}{}", cluster.major_version(), dir.join("postgres").display()));

        // Another seed each time: SQS never gives a message id twice, and a rejected message is kept once by its id.
        let seed = Uuid::new_v4().as_u64_pair().0;
        let snapshot = Some(dir.join("sqs.json"));
        let sqs_options = SqsOptions { seed, snapshot, cool_downs: false, ..SqsOptions::default() };
        let sqs = SqsServer::start(sqs, sqs_options).map_err(other("the local SQS"))?;
        for queue in [QUEUE, OUTCOMES] {
            let problem = |problem| StackError::Other { what: "the local SQS".into(), problem };
            sqs.ensure_queue(queue, MAX_RECEIVE_COUNT).map_err(problem)?;
        }
        done(&format!("local SQS      {}  queues {QUEUE}, {OUTCOMES}", sqs.endpoint()));

        let mut sims = Vec::new();
        for ((name, start), listener) in PLATFORMS.iter().zip(platforms) {
            let options = SimOptions { webhook_secret: random(), seed: 1, ..SimOptions::for_people() };
            let sim = start(listener, options).map_err(other(format!("the simulated {name}")))?;
            sim.set_account_webhook(Some(format!("http://{http_addr}/webhooks/{name}")));
            done(&format!("{name:<14} {}  simulated, shows what it was asked", sim::page(sim.as_ref())));
            sims.push(sim);
        }
        let google_options = GoogleOptions { seed, ..GoogleOptions::default() };
        let google = GoogleSim::start(google, google_options).map_err(other("the simulated Google Speech"))?;
        done(&format!("google speech  {}  simulated, speaks and hears tones that carry text", google.endpoint()));
        let run = next_run(&dir.join("runs")).map_err(other(dir.join("runs").display().to_string()))?;
        Ok(Self { dir, cluster, sqs, sims, google, http: Some(http), http_addr, run })
    }

    /// The daemon's settings: the given ones, pointed at this stack and at nothing else.
    ///
    /// # Errors
    /// The settings of the file or of the environment are not valid.
    pub fn config(&self, file: Option<&Path>, environment: &Environment) -> Result<Config, StackError> {
        let names = self.sims.iter().map(|sim| sim.name().to_uppercase());
        let timeouts: Vec<String> = names.map(|name| format!("VOXD_PLATFORMS__{name}__REQUEST_TIMEOUT")).collect();
        let shorter = SHORTER_TIMES.into_iter().chain(timeouts.iter().map(|name| (name.as_str(), "10s")));
        let mut config = Config::load(file, &environment.clone().or(shorter))?;
        config.database.url = Secret::new(self.cluster.url(DATABASE));
        config.queue.urls = vec![QUEUE.to_owned()];
        config.http.bind = self.http_addr;
        config.http.public_url = self.base_url();
        config.outcomes.queue = OUTCOMES.to_owned();
        if config.outcomes.signing_secret.is_empty() {
            let key = base64::engine::general_purpose::STANDARD.encode(random());
            config.outcomes.signing_secret = Secret::new(format!("whsec_{key}"));
        }
        config.egress.allow_private_addresses = true;
        if config.speech.engine.is_empty() {
            config.speech.engine = "google".to_owned();
        }
        config.speech.google.project = "simulated".to_owned();
        config.speech.google.credentials_file = PathBuf::new();
        config.speech.google.stt_endpoint = self.google.endpoint();
        config.speech.google.tts_endpoint = self.google.endpoint();
        // Addresses and keys are the simulators' own, whatever is set: a real account must not be reached.
        let settings: Vec<(String, String)> = self.sims.iter().flat_map(|sim| sim.environment()).collect();
        let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut simulated = Config::load(None, &Environment::from_pairs(settings))?;
        for (name, platform) in &mut config.platforms {
            let Some(theirs) = simulated.platforms.remove(name) else { continue };
            *platform = PlatformConfig {
                request_timeout: platform.request_timeout,
                connect_timeout: platform.connect_timeout,
                max_concurrent_requests: platform.max_concurrent_requests,
                calls_per_second: platform.calls_per_second,
                max_live_calls: platform.max_live_calls,
                ..theirs
            };
        }
        Ok(config)
    }

    /// The daemon's way to the local SQS; the machine's AWS settings are not looked at.
    pub fn sqs_client_options(&self, config: &Config) -> SqsClientOptions {
        SqsClientOptions {
            region: Some(REGION.into()),
            endpoint: Some(self.sqs.endpoint()),
            credentials: Some(("voxd-dev".into(), "voxd-dev".into())),
            ..SqsClientOptions::from_config(&config.queue)
        }
    }

    /// Of the daemon's side port.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.http_addr)
    }

    /// Writes the file that another terminal reads (`. .voxd/env`), for this user's eyes only. Returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_env(&self, api_key: &str, service_key: &str) -> Result<PathBuf, StackError> {
        let path = self.dir.join("env");
        let name = path.display().to_string();
        let binary = std::env::current_exe().map_err(other("the path of this program"))?;
        let binary = quoted(&binary.display().to_string());
        let variables = [
            ("DATABASE_URL", self.cluster.url(DATABASE)),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "voxd-dev".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "voxd-dev".to_owned()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.endpoint()),
            ("VOXD_QUEUES", QUEUE.to_owned()),
            ("VOXD_URL", self.base_url()),
            ("VOXD_API_KEY", api_key.to_owned()),
            ("VOXD_DEV_SERVICE_KEY", service_key.to_owned()),
        ];
        let mut text = String::from("# Written by voxd dev for other terminals:  . this-file\n");
        for (variable, value) in variables {
            text += &format!("export {variable}={}\n", quoted(&value));
        }
        text += &format!("voxd() {{ {binary} \"$@\"; }}\n");
        write_private(&path, &text).map_err(other(name))?;
        Ok(path)
    }

    /// Stops it all and waits: queues are kept in their file, Postgres writes everything down.
    ///
    /// # Errors
    /// What could not be kept or stopped; the rest has stopped.
    pub async fn stop(mut self) -> Result<(), StackError> {
        for sim in self.sims {
            sim.stop().await;
        }
        self.google.stop().await;
        let queues = self.sqs.shutdown().await.map_err(other("keeping the queues"));
        let postgres = self.cluster.stop(StopMode::Fast).await;
        queues?;
        Ok(postgres?)
    }
}

/// Readable and writable for this user only, from its first byte.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(beside, path)
}

fn next_run(path: &Path) -> std::io::Result<u64> {
    let before = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    let run = before + 1;
    std::fs::write(path, format!("{run}\n"))?;
    Ok(run)
}

/// 32 characters that nobody guesses.
fn random() -> String {
    Uuid::new_v4().simple().to_string()
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_from_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs");
        assert_eq!([next_run(&path).unwrap(), next_run(&path).unwrap()], [1, 2]);
    }

    #[test]
    fn values_are_quoted_for_the_shell() {
        assert_eq!(quoted("a'b $c"), r"'a'\''b $c'");
    }
}
