//! The simulators as processes of their own: this program starts itself again.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use voxd::sim::bland::{BlandOptions, BlandSim};
use voxd::sim::sqs::{SqsOptions, SqsServer};

/// How the provider answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Provider {
    pub latency: Duration,
    /// Every so-many-th request takes this long instead.
    pub slow: Option<(u64, Duration)>,
}

impl Provider {
    /// The mean time of a request.
    pub fn mean(&self) -> Duration {
        match self.slow {
            Some((every, slow)) => (self.latency * (every as u32 - 1) + slow) / every as u32,
            None => self.latency,
        }
    }
}

/// A simulator that runs. Dropping it ends it.
pub struct Simulator {
    child: Child,
    pub address: String,
    http: reqwest::Client,
}

impl Simulator {
    pub fn sqs() -> Self {
        Self::start(&["simulate-sqs".into()])
    }

    pub fn bland(provider: Provider) -> Self {
        let (every, slow) = provider.slow.unwrap_or_default();
        let ms = |duration: Duration| duration.as_millis().to_string();
        Self::start(&["simulate-bland".into(), ms(provider.latency), every.to_string(), ms(slow)])
    }

    fn start(arguments: &[String]) -> Self {
        let program = std::env::current_exe().expect("this program's path");
        // Its standard input ends with this process, and with it the simulator.
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the simulator starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        std::io::BufReader::new(output).read_line(&mut line).expect("its address");
        Self { child, address: line.trim().to_owned(), http: reqwest::Client::new() }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url())).send().await.expect("the simulator answers");
        answer.json().await.expect("JSON")
    }

    /// One request of the AWS JSON protocol.
    pub async fn aws(&self, operation: &str, body: Value) -> Value {
        let request = self
            .http
            .post(self.url())
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        let answer = request.send().await.expect("SQS answers");
        assert!(answer.status().is_success(), "{operation}: {}", answer.text().await.unwrap_or_default());
        answer.json().await.unwrap_or(Value::Null)
    }

    /// Requests so far of those who receive: all but the producer's and the set-up's.
    pub async fn consumer_requests(&self) -> u64 {
        let stats = self.get("/_voxd/stats").await;
        let others = ["SendMessage", "SendMessageBatch", "CreateQueue"];
        let operations = stats["operations"].as_object().cloned().unwrap_or_default();
        let ours = operations.iter().filter(|(name, _)| !others.contains(&name.as_str()));
        ours.map(|(_, counted)| counted["requests"].as_u64().unwrap_or_default()).sum()
    }

    /// The queue `jobs`, empty.
    pub async fn make_queue(&self) {
        self.aws("CreateQueue", json!({ "QueueName": "jobs" })).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of [`Simulator`]: serves until standard input ends. `false` where the arguments ask for no simulator.
pub async fn serve(arguments: &[String]) -> bool {
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_sqs, _bland);
    match arguments.first().map(String::as_str) {
        Some("simulate-sqs") => {
            let options = SqsOptions { cool_downs: false, ..SqsOptions::default() };
            _sqs = SqsServer::start(listener, options).expect("the local SQS starts");
        }
        Some("simulate-bland") => {
            let options = BlandOptions {
                latency: Duration::from_millis(number(1)),
                slow_every: Some((number(2), Duration::from_millis(number(3)))),
                scripts_by_number: false,
                time_scale: 0.0,
                ..BlandOptions::default()
            };
            _bland = BlandSim::start(listener, options).expect("the simulated Bland starts");
        }
        _ => return false,
    }
    println!("{address}");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let _ = ended.await;
    true
}
