//! The server process.
//!
//! The kernel sends a child its parent-death signal when the *thread* that spawned it ends, so a thread of its own spawns
//! the server and then waits for it. When this process is gone, `kill -9` included, so is that thread, and the server
//! makes a fast stop.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::{ClusterError, StopMode, io};

#[derive(Debug)]
pub(super) struct Postmaster {
    pid: i32,
    /// How the process ended.
    exited: watch::Receiver<Option<String>>,
}

impl Postmaster {
    pub fn spawn(mut command: Command) -> Result<Self, ClusterError> {
        let (exit, exited) = watch::channel(None);
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let waiter = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(child.id()));
            let status = match child.wait() {
                Ok(status) => match status.signal() {
                    Some(signal) => format!("ended by signal {signal}"),
                    None => status.to_string(),
                },
                Err(error) => error.to_string(),
            };
            exit.send_replace(Some(status));
        };
        std::thread::Builder::new().name("postgres".into()).spawn(waiter).map_err(io("a thread for Postgres"))?;
        let pid =
            start.recv().unwrap_or_else(|gone| Err(std::io::Error::other(gone))).map_err(io("starting postgres"))?;
        Ok(Self { pid: pid.cast_signed(), exited })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How the process ended, once it has.
    pub fn exited(&self) -> Option<String> {
        self.exited.borrow().clone()
    }

    pub async fn wait(&self) -> String {
        let mut exited = self.exited.clone();
        match exited.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "its waiter is gone".into(),
        }
    }

    /// Signals of `postgres(1)`: SIGINT is the fast, SIGQUIT the immediate shutdown.
    pub fn signal(&self, mode: StopMode) {
        let signal = match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        };
        // Its number belongs to it until the waiter has reaped it, which it says at once.
        if let (None, Some(pid)) = (self.exited(), Pid::from_raw(self.pid)) {
            let _ = kill_process(pid, signal);
        }
    }
}
