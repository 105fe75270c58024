//! Those who are measured: `voxd serve`, and its rivals, which do less (receive, one request, one row, delete).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use voxd::clock;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Voxd,
    SqsConsumer,
    Poller,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Voxd => "voxd",
            Kind::SqsConsumer => "sqs-consumer 8 x 10",
            Kind::Poller => "Python poller",
        }
    }

    /// What recorded answers are counted by; all of them are on the database's clock.
    pub fn count(self) -> &'static str {
        match self {
            Kind::Voxd => {
                "select count(*), max(answered_at) from /* bench */ call_attempts where answered_at is not null"
            }
            _ => "select count(*), max(recorded_at) from /* bench */ bench_calls",
        }
    }

    /// `None`: it can run here; else what is missing.
    pub fn missing(self) -> Option<String> {
        let wanted = match self {
            Kind::Voxd => return None,
            Kind::SqsConsumer => root().join(".voxd/peers/node_modules/.bin/node"),
            Kind::Poller => root().join(".voxd/venv-peers/bin/python"),
        };
        (!wanted.exists()).then(|| format!("{} is left out: make bench-peers installs it", self.name()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where a worker finds the others.
pub struct Surroundings<'a> {
    pub database_url: &'a str,
    pub sqs: &'a str,
    pub bland: &'a str,
    pub dir: &'a Path,
}

/// A running worker. Dropping it kills it.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts it and waits until it receives.
    pub async fn start(kind: Kind, around: &Surroundings<'_>) -> Self {
        let log = around.dir.join("worker.log");
        let file = std::fs::File::create(&log).expect("a log file");
        let mut command = match kind {
            Kind::Voxd => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_voxd"));
                command.arg("serve");
                command
            }
            Kind::SqsConsumer => {
                let mut command = Command::new(root().join(".voxd/peers/node_modules/.bin/node"));
                command.arg(root().join("tests/bench/peers/consumer.mjs")).current_dir(root().join(".voxd/peers"));
                command
            }
            Kind::Poller => {
                let mut command = Command::new(root().join(".voxd/venv-peers/bin/python"));
                command.arg(root().join("tests/bench/peers/poller.py"));
                command
            }
        };
        let queue_url = format!("{}/000000000000/jobs", around.sqs);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", around.dir)
            .env("DATABASE_URL", around.database_url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_ENDPOINT_URL_SQS", around.sqs)
            .env("QUEUE_URL", queue_url)
            .env("PROVIDER_URL", around.bland)
            .env("PROVIDER_KEY", "simulated-key")
            .env("VOXD_QUEUES", "jobs")
            .env("BLAND_AI_API_KEY", "simulated-key")
            .env("VOXD_PLATFORMS__BLAND_AI__BASE_URL", around.bland)
            .env("VOXD_HTTP__BIND", "127.0.0.1:0")
            .envs(std::env::vars().filter(|(name, _)| name.starts_with("VOXD_") && name.contains("__")))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file);
        let child = command.spawn().expect("the worker starts");
        Self { child, log }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn check(&mut self) {
        if let Some(status) = self.child.try_wait().expect("its status") {
            panic!("the worker ended ({status}); its log:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }

    /// So that the queue can be filled before the clock starts.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).expect("a process id"), signal).expect("the signal is sent");
    }

    /// Until it has come to rest in its first long poll.
    pub async fn rest(&self) {
        clock::sleep(Duration::from_secs(2)).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A job with a number of its own.
pub fn event(run: &str, n: usize) -> (String, Value) {
    let number = format!("+1415{:03}{:04}", 200 + n / 10_000, n % 10_000);
    let event = json!({
        "specversion": "1.0", "source": "bench", "id": format!("{run}-{n}"), "type": "voice.call.requested",
        "data": {
            "content": "Hello Ada, this is a reminder of your appointment tomorrow at ten.", "message_type": "regular",
            "lead": { "id": format!("lead-{n}"), "phone_number": number, "name": "Ada" }, "user": { "id": "user-7" },
            "voice_config": { "platform": "bland_ai", "language": "en", "max_duration": 5 }, "metadata": { "campaign_id": "123" },
        },
    });
    (number, event)
}
