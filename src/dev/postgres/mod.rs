//! A private Postgres cluster for development and tests.
//!
//! It lives in one directory, listens on a Unix socket that only its owner can reach, keeps what it acknowledged
//! (`fsync` on), and does not outlive this process, however that ends.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Cluster`]: start, stop, databases, addresses |
//! | `binaries` | where Postgres is installed |
//! | `place` | whose directory it is, who runs the server, where the socket fits |
//! | `postmaster` | the server process |
//!
//! In the directory: `data/` (the cluster), `log`, `password` (for TCP), `owner` (locked while in use), `socket/`.

mod binaries;
mod place;
mod postmaster;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use self::binaries::Binaries;
use self::place::{Place, Runner};
use self::postmaster::Postmaster;
use crate::clock;
use crate::config::Secret;

/// Crash recovery of a busy development cluster takes seconds; a machine under load multiplies that.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// A fast stop writes a checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The server's name for itself and its socket's suffix when it has no TCP port.
const SOCKET_PORT: u16 = 5432;
const SUPERUSER: &str = "postgres";

/// What can be chosen about a cluster at each start.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Also listens on this port of 127.0.0.1, with a password.
    pub port: Option<u16>,
    pub max_connections: u16,
    /// More settings of `postgresql.conf`, name and value.
    pub settings: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { port: None, max_connections: 100, settings: Vec::new() }
    }
}

/// How the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends sessions, writes everything down, exits.
    Fast,
    /// Like a power cut for the server: the next start recovers from the write-ahead log.
    Immediate,
}

/// Every variant says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "Postgres is not installed: no initdb and postgres in PATH or /usr/lib/postgresql/*/bin. Type: apt-get install postgresql"
    )]
    NotInstalled,
    #[error(
        "{dir} was made by Postgres {wanted}, and only {found} is installed. Type: apt-get install postgresql-{wanted}, or drop the data by removing {dir}"
    )]
    OtherVersion { dir: PathBuf, wanted: String, found: String },
    #[error("{dir} is in use by process {owner}; stop that one first, or choose another directory")]
    InUse { dir: PathBuf, owner: String },
    #[error("a Postgres server that we did not start (process {pid}) runs on {dir}; stop it first: kill -INT {pid}")]
    StrayServer { dir: PathBuf, pid: i32 },
    #[error(
        "Postgres refuses to run as root, so it runs as user {user}, who cannot enter {blocked} (mode {mode:o}). Choose a directory outside of it, or type: chmod o+x {blocked}"
    )]
    Unreachable { user: String, blocked: PathBuf, mode: u32 },
    #[error("Postgres refuses to run as root, and there is neither a user postgres nor a user nobody to run it as")]
    NoUser,
    #[error("setpriv is not installed; it makes the server end with this process. Type: apt-get install util-linux")]
    NoSetpriv,
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error("{what} failed ({status}):\n{output}")]
    Failed { what: String, status: String, output: String },
    #[error("Postgres did not accept connections within {}s; the end of {log}:\n{tail}", START_TIMEOUT.as_secs())]
    StartTimeout { log: PathBuf, tail: String },
    #[error("Postgres did not stop within {}s; it is process {pid}", STOP_TIMEOUT.as_secs())]
    StopTimeout { pid: i32 },
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ClusterError {
    let what = what.into();
    move |error| ClusterError::Io { what, error }
}

/// A running cluster. Dropping it stops it without waiting; use [`Cluster::stop`] to wait.
pub struct Cluster {
    binaries: Binaries,
    place: Place,
    runner: Runner,
    options: ClusterOptions,
    postmaster: Option<Postmaster>,
}

impl Cluster {
    /// Starts the cluster in `dir`, and makes it when it is new. `progress` gets a line at each step that takes time.
    pub async fn start(
        dir: &Path,
        options: ClusterOptions,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, ClusterError> {
        let runner = Runner::find()?;
        let place = Place::prepare(dir, &runner, progress)?;
        let binaries = Binaries::find(&place)?;
        let mut cluster = Self { binaries, place, runner, options, postmaster: None };
        if !cluster.place.data().join("PG_VERSION").exists() {
            progress(&format!("making a Postgres {} cluster in {}", cluster.binaries.major, dir.display()));
            cluster.initialize().await?;
        }
        cluster.wait_for_predecessor(progress).await?;
        progress(&format!("starting Postgres {}", cluster.binaries.major));
        cluster.launch().await?;
        Ok(cluster)
    }

    /// Starts the server again after [`Cluster::stop`], in the same place. Does nothing while it runs.
    pub async fn start_again(&mut self) -> Result<(), ClusterError> {
        if self.postmaster.as_ref().is_some_and(|postmaster| postmaster.exited().is_none()) {
            return Ok(());
        }
        self.launch().await
    }

    /// Stops the server and waits until it has gone. Does nothing when it has stopped already.
    pub async fn stop(&mut self, mode: StopMode) -> Result<(), ClusterError> {
        let Some(postmaster) = self.postmaster.take() else { return Ok(()) };
        postmaster.signal(mode);
        match tokio::time::timeout(STOP_TIMEOUT, postmaster.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let pid = postmaster.pid();
                self.postmaster = Some(postmaster);
                Err(ClusterError::StopTimeout { pid })
            }
        }
    }

    /// Makes a database, as a copy of `template` where one is named (nobody may be connected to it).
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> Result<(), ClusterError> {
        let mut command = self.client("createdb");
        if let Some(template) = template {
            command.args(["--template", template]);
        }
        run(command.arg("--").arg(name), &format!("createdb {name}")).await.map(drop)
    }

    /// Drops a database if it is there, and ends the sessions on it.
    pub async fn drop_database(&self, name: &str) -> Result<(), ClusterError> {
        let mut command = self.client("dropdb");
        run(command.args(["--if-exists", "--force", "--", name]), &format!("dropdb {name}")).await.map(drop)
    }

    /// Whether there is a database of that name.
    pub async fn has_database(&self, name: &str) -> Result<bool, ClusterError> {
        let mut command = self.client("psql");
        command.args(["--no-psqlrc", "--no-align", "--tuples-only", "--list"]);
        let list = run(&mut command, "psql --list").await?;
        Ok(list.lines().any(|line| line.split('|').next() == Some(name)))
    }

    /// The address of a database for sqlx and libpq, over the Unix socket.
    pub fn url(&self, database: &str) -> String {
        let mut url = url::Url::parse("postgres:///").expect("a constant address");
        url.set_path(database);
        url.query_pairs_mut()
            .append_pair("host", &self.place.socket_dir().to_string_lossy())
            .append_pair("port", &self.port().to_string())
            .append_pair("user", SUPERUSER);
        url.into()
    }

    /// The address over TCP with its password, when a port was asked for.
    pub fn tcp_url(&self, database: &str) -> Result<Option<Secret>, ClusterError> {
        let Some(port) = self.options.port else { return Ok(None) };
        let file = self.place.password_file();
        let password = std::fs::read_to_string(&file).map_err(io(file.display().to_string()))?;
        let password = password.trim();
        Ok(Some(Secret::new(format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}"))))
    }

    /// The server's log.
    pub fn log_file(&self) -> PathBuf {
        self.place.log_file()
    }

    /// The server's major version, as in `15`.
    pub fn major_version(&self) -> &str {
        &self.binaries.major
    }

    /// Process id of the server while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.postmaster.as_ref().filter(|postmaster| postmaster.exited().is_none()).map(Postmaster::pid)
    }

    fn port(&self) -> u16 {
        self.options.port.unwrap_or(SOCKET_PORT)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.path(program));
        place::clean_environment(command.as_std_mut());
        command.arg("--host").arg(self.place.socket_dir());
        command.args(["--port", &self.port().to_string(), "--username", SUPERUSER, "--no-password"]);
        command.current_dir("/");
        command
    }

    /// Makes the cluster beside its final place, so that one cut short is never taken for a whole one.
    async fn initialize(&self) -> Result<(), ClusterError> {
        let unfinished = self.place.unfinished_data();
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io(format!("removing {}", unfinished.display())))?;
        }
        self.place.write_password(&self.runner)?;
        let mut command = Command::new(self.binaries.path("initdb"));
        place::clean_environment(command.as_std_mut());
        self.runner.apply(command.as_std_mut());
        command.current_dir(self.place.dir());
        command.args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256"]);
        command.args(["--no-instructions", "--username", SUPERUSER]);
        command.arg("--pwfile").arg(self.place.password_file());
        command.arg("--pgdata").arg(&unfinished);
        run(&mut command, "initdb").await?;
        std::fs::rename(&unfinished, self.place.data()).map_err(io(format!("naming {}", unfinished.display())))
    }

    /// A server whose process was killed may still be writing its last checkpoint. We hold the owner's lock, so nobody
    /// else looks after it.
    async fn wait_for_predecessor(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<(), ClusterError> {
        let deadline = clock::monotonic() + STOP_TIMEOUT;
        let mut said = false;
        while let Some(pid) = self.place.running_server() {
            if clock::monotonic() > deadline {
                return Err(ClusterError::StrayServer { dir: self.place.dir().to_owned(), pid });
            }
            if !said {
                progress(&format!("waiting for the previous Postgres (process {pid}) to stop"));
                said = true;
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
        self.place.remove_recycled_pid_file()
    }

    async fn launch(&mut self) -> Result<(), ClusterError> {
        self.place.prepare_socket_dir(&self.runner)?;
        let deadline = clock::monotonic() + START_TIMEOUT;
        loop {
            let log_start = std::fs::metadata(self.place.log_file()).map(|file| file.len()).unwrap_or(0);
            let postmaster = Postmaster::spawn(self.server_command()?)?;
            match self.wait_until_ready(&postmaster, deadline).await? {
                Started::Ready => {
                    self.postmaster = Some(postmaster);
                    return Ok(());
                }
                Started::Exited(status) => {
                    let output = self.place.log_since(log_start);
                    // After a kill -9 of the server its children take a moment to notice.
                    if output.contains("shared memory block") && clock::monotonic() < deadline {
                        clock::sleep(Duration::from_millis(200)).await;
                        continue;
                    }
                    return Err(ClusterError::Failed { what: "postgres".into(), status, output });
                }
            }
        }
    }

    async fn wait_until_ready(
        &self,
        postmaster: &Postmaster,
        deadline: clock::Monotonic,
    ) -> Result<Started, ClusterError> {
        loop {
            if let Some(status) = postmaster.exited() {
                return Ok(Started::Exited(status));
            }
            if self.place.server_is_ready(postmaster.pid()) {
                return Ok(Started::Ready);
            }
            if clock::monotonic() > deadline {
                postmaster.signal(StopMode::Immediate);
                let log = self.place.log_file();
                return Err(ClusterError::StartTimeout { tail: self.place.log_since(0), log });
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
    }

    fn server_command(&self) -> Result<std::process::Command, ClusterError> {
        let mut command = self.runner.ending_with_us(&self.binaries.path("postgres"))?;
        place::clean_environment(&mut command);
        command.current_dir(self.place.dir()).arg("-D").arg(self.place.data());
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("unix_socket_directories", &self.place.socket_dir().to_string_lossy());
        set("unix_socket_permissions", "0700");
        set("listen_addresses", if self.options.port.is_some() { "127.0.0.1" } else { "" });
        set("port", &self.port().to_string());
        set("max_connections", &self.options.max_connections.to_string());
        set("fsync", "on");
        set("synchronous_commit", "on");
        set("full_page_writes", "on");
        set("logging_collector", "off");
        set("log_timezone", "UTC");
        set("timezone", "UTC");
        for (name, value) in &self.options.settings {
            set(name, value);
        }
        let log = self.place.open_log()?;
        let other = log.try_clone().map_err(io("the server's log"))?;
        command.stdin(std::process::Stdio::null()).stdout(log).stderr(other);
        Ok(command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(postmaster) = &self.postmaster {
            postmaster.signal(StopMode::Fast);
        }
    }
}

enum Started {
    Ready,
    Exited(String),
}

/// Runs a short command to its end, and gives what it printed.
async fn run(command: &mut Command, what: &str) -> Result<String, ClusterError> {
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await.map_err(io(what))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(ClusterError::Failed {
        what: what.into(),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&text).trim().to_owned(),
    })
}
