//! `voxd serve` as a child process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::within;

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    pub base_url: String,
    log: PathBuf,
}

impl Daemon {
    pub async fn start(port: u16, environment: &[(String, String)], log: &Path) -> Self {
        let file = std::fs::File::create(log).expect("a log file");
        // It ends with the test's thread, also where the test program is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_voxd"), "serve"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_LOG", "voxd=debug")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        Self { child, base_url: format!("http://127.0.0.1:{port}"), log: log.to_owned() }
    }

    /// Until `/readyz` says so.
    pub async fn ready(mut self) -> Self {
        let url = format!("{}/readyz", self.base_url);
        let client = reqwest::Client::new();
        within(Duration::from_secs(60), "the daemon is ready", async || {
            if let Some(status) = self.child.try_wait().expect("its status") {
                panic!("the daemon ended ({status}); its log:\n{}", self.log());
            }
            let answer = client.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        self
    }

    pub fn pid(&self) -> i32 {
        self.child.id().expect("it runs") as i32
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// `SIGTERM`, then the exit.
    pub async fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exit(limit).await
    }

    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        tokio::time::timeout(limit, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("it did not end within {limit:?}; its log:\n{}", self.log()))
            .expect("its status")
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    /// Stopped by `SIGSTOP`?
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A metric's value, summed over the series whose labels contain all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let answer = reqwest::get(format!("{}/metrics", self.base_url)).await.expect("metrics answer");
        let text = answer.text().await.expect("metrics text");
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}
