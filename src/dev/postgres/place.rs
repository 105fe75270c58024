//! Whose directory it is, who runs the server, and where the socket fits.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FlockOperation;

use super::{ClusterError, io};

/// `sun_path` of `unix(7)` holds 108 bytes with the closing zero.
const SOCKET_PATH_MAX: usize = 107;
const SOCKET_NAME_MAX: usize = "/.s.PGSQL.65535".len();
/// Where root's clusters lie when the server's user cannot reach the place that was asked for.
const REACHABLE_HOME: &str = "/var/lib/voxd-dev";
const LOG_TAIL_BYTES: u64 = 4000;

/// Who runs the server: ourselves, or when we are root an unprivileged user, because Postgres refuses root.
#[derive(Debug)]
pub(super) struct Runner {
    dropped: Option<User>,
}

#[derive(Debug, Clone, PartialEq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl Runner {
    pub fn find() -> Result<Self, ClusterError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { dropped: None });
        }
        let users = std::fs::read_to_string("/etc/passwd").map_err(io("/etc/passwd"))?;
        let user = ["postgres", "nobody"].iter().find_map(|name| find_user(&users, name));
        Ok(Self { dropped: Some(user.ok_or(ClusterError::NoUser)?) })
    }

    /// Makes `command` run as this user. The standard library drops root's groups with it.
    pub fn apply(&self, command: &mut Command) {
        if let Some(user) = &self.dropped {
            command.gid(user.gid).uid(user.uid);
        }
    }

    /// A command that runs `program` as this user, and gets SIGINT (a fast stop) when the thread that spawned it ends.
    pub fn ending_with_us(&self, program: &Path) -> Result<Command, ClusterError> {
        let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(setpriv.ok_or(ClusterError::NoSetpriv)?);
        command.args(["--pdeathsig", "INT"]);
        if let Some(user) = &self.dropped {
            command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid)).arg("--clear-groups");
        }
        // Ctrl-C reaches the whole foreground group: the server must not stop before we have finished with it.
        command.process_group(0).arg("--").arg(program);
        Ok(command)
    }

    fn give(&self, path: &Path) -> Result<(), ClusterError> {
        let Some(user) = &self.dropped else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).map_err(io(format!(
            "giving {} to user {}",
            path.display(),
            user.name
        )))
    }

    /// The topmost directory on the way to `path` that this user cannot enter.
    fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        let user = self.dropped.as_ref()?;
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        above
            .into_iter()
            .rev()
            .find(|dir| std::fs::metadata(dir).is_ok_and(|dir| !may_enter(user, &dir)))
            .map(Path::to_owned)
    }
}

fn may_enter(user: &User, dir: &std::fs::Metadata) -> bool {
    let shift = match () {
        () if dir.uid() == user.uid => 6,
        () if dir.gid() == user.gid => 3,
        () => 0,
    };
    (dir.mode() >> shift) & 1 == 1
}

/// `name:password:uid:gid:…`, see `passwd(5)`.
fn find_user(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        (fields[0] == name && uid != 0).then(|| User { name: name.to_owned(), uid, gid })
    })
}

/// Leaves only what the programs need, so that a `PGHOST` or `PGOPTIONS` of the developer's shell changes nothing.
pub(super) fn clean_environment(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("PATH", "/usr/local/bin:/usr/bin:/bin");
}

/// The directory of one cluster, ours while this lives.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    socket_dir: PathBuf,
    /// Locked (`flock`) until we end, however we end; holds our process id.
    _owner: File,
}

impl Place {
    /// Makes the directory where needed, takes its lock, and gives it to the server's user.
    pub fn prepare(
        asked: &Path,
        runner: &Runner,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, ClusterError> {
        let asked = std::path::absolute(asked).map_err(io(asked.display().to_string()))?;
        if let Some(parent) = asked.parent() {
            std::fs::create_dir_all(parent).map_err(io(format!("making {}", parent.display())))?;
        }
        let real_parent = |path: &Path| path.parent().and_then(|parent| parent.canonicalize().ok());
        let asked = match (real_parent(&asked), asked.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => asked,
        };
        if let Some(blocked) = runner.blocked_at(&asked).filter(|_| !asked.is_symlink()) {
            link_elsewhere(&asked, &blocked, runner, progress)?;
        }
        make_private_dir(&asked)?;
        let dir = asked.canonicalize().map_err(io(asked.display().to_string()))?;
        if let (Some(blocked), Some(user)) = (runner.blocked_at(&dir), &runner.dropped) {
            let mode = std::fs::metadata(&blocked).map(|dir| dir.mode() & 0o7777).unwrap_or(0);
            return Err(ClusterError::Unreachable { user: user.name.clone(), blocked, mode });
        }
        let owner = take(&dir)?;
        runner.give(&dir)?;
        let socket_dir = socket_dir(&dir, runner);
        Ok(Self { dir, socket_dir, _owner: owner })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn unfinished_data(&self) -> PathBuf {
        self.dir.join("data.unfinished")
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Makes the superuser's password, for TCP. It stays the cluster's for good.
    pub fn write_password(&self, runner: &Runner) -> Result<(), ClusterError> {
        let path = self.password_file();
        let what = path.display().to_string();
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(io(&what))?;
        writeln!(file, "{}", uuid::Uuid::new_v4().simple()).map_err(io(&what))?;
        runner.give(&path)
    }

    /// The server itself removes what a killed one left there.
    pub fn prepare_socket_dir(&self, runner: &Runner) -> Result<(), ClusterError> {
        // Below /tmp anybody could have put a link there.
        if self.socket_dir.is_symlink() {
            let what = format!("{} is a link", self.socket_dir.display());
            return Err(io(what)(std::io::ErrorKind::AlreadyExists.into()));
        }
        make_private_dir(&self.socket_dir)?;
        runner.give(&self.socket_dir)
    }

    pub fn open_log(&self) -> Result<File, ClusterError> {
        let path = self.log_file();
        OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(io(path.display().to_string()))
    }

    /// The end of the log, from byte `start` on.
    pub fn log_since(&self, start: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.log_file()) {
            let end = file.metadata().map(|file| file.len()).unwrap_or(0);
            let _ = file.seek(SeekFrom::Start(start.max(end.saturating_sub(LOG_TAIL_BYTES))));
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// The server that runs on this directory, whoever started it.
    pub fn running_server(&self) -> Option<i32> {
        match self.named_process()? {
            (pid, Named::Server) => Some(pid),
            _ => None,
        }
    }

    /// Postgres trusts any live process of its user under the number that a dead server left. Where that one is something
    /// else, the file goes. In all other cases it must stay: it also leads to the shared memory of orphaned sessions.
    pub fn remove_recycled_pid_file(&self) -> Result<(), ClusterError> {
        if let Some((_, Named::SomethingElse)) = self.named_process() {
            let path = self.pid_file();
            std::fs::remove_file(&path).map_err(io(format!("removing {}", path.display())))?;
        }
        Ok(())
    }

    /// The live process whose number stands in `postmaster.pid`.
    fn named_process(&self) -> Option<(i32, Named)> {
        let text = std::fs::read_to_string(self.pid_file()).ok()?;
        let pid: i32 = text.lines().next()?.trim().parse().ok()?;
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        if !matches!(program.trim(), "postgres" | "postmaster") {
            return Some((pid, Named::SomethingElse));
        }
        // Not readable for root in a container without CAP_SYS_PTRACE: then it is taken for ours.
        match std::fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(works_in) if works_in != self.data() => Some((pid, Named::SomethingElse)),
            _ => Some((pid, Named::Server)),
        }
    }

    /// Whether the server says that it takes connections: line 8 of `postmaster.pid`, which is where `pg_ctl` looks.
    pub fn server_is_ready(&self, pid: i32) -> bool {
        let text = std::fs::read_to_string(self.pid_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.first() == Some(&pid.to_string().as_str()) && lines.get(7) == Some(&"ready")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.socket_dir.starts_with(&self.dir) {
            // The server removes its socket when it stops; a directory that is not empty stays for the next start.
            let _ = std::fs::remove_dir(&self.socket_dir);
        }
    }
}

/// What the process is that `postmaster.pid` names.
enum Named {
    Server,
    SomethingElse,
}

/// As root below a closed directory such as `/root`: the data goes where the server's user can reach it, and the place
/// that was asked for becomes a link to it.
fn link_elsewhere(
    asked: &Path,
    blocked: &Path,
    runner: &Runner,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), ClusterError> {
    if asked.exists() {
        return Ok(());
    }
    let name = format!("{:016x}", fnv1a(asked.as_os_str().as_bytes()));
    let home = Path::new(REACHABLE_HOME).join(name);
    std::fs::create_dir_all(REACHABLE_HOME).map_err(io(format!("making {REACHABLE_HOME}")))?;
    if runner.blocked_at(&home).is_some() {
        return Ok(());
    }
    make_private_dir(&home)?;
    std::os::unix::fs::symlink(&home, asked).map_err(io(format!("linking {}", asked.display())))?;
    progress(&format!("Postgres cannot enter {}, so its data lies in {}", blocked.display(), home.display()));
    Ok(())
}

/// Locks the directory for this process, or says who has it.
fn take(dir: &Path) -> Result<File, ClusterError> {
    let path = dir.join("owner");
    let what = path.display().to_string();
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io(&what))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            return Err(ClusterError::InUse { dir: dir.to_owned(), owner: owner.trim().to_owned() });
        }
        Err(error) => return Err(ClusterError::Io { what, error: error.into() }),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io(&what))?;
    Ok(file)
}

/// Beside the data where that fits into a socket address, else in a short directory of our own below `/tmp`.
fn socket_dir(dir: &Path, runner: &Runner) -> PathBuf {
    let usual = dir.join("socket");
    if usual.as_os_str().len() + SOCKET_NAME_MAX <= SOCKET_PATH_MAX {
        return usual;
    }
    let uid = runner.dropped.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    PathBuf::from(format!("/tmp/voxd-{uid}-{:016x}", fnv1a(dir.as_os_str().as_bytes())))
}

/// A directory that only its owner can enter. One that is there already must be no link, and is closed again.
fn make_private_dir(path: &Path) -> Result<(), ClusterError> {
    let what = format!("making {}", path.display());
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(what)(error)),
        _ => {}
    }
    // Fails for a directory that somebody else put there, unless we are root, who then takes it.
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io(what))
}

/// A stable short name for a path; no protection against anybody.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name_and_never_root() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgresql:x:7:7::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\nnobody:x:0:0:::";
        let found = find_user(passwd, "postgres");
        assert_eq!(found, Some(User { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(find_user(passwd, "nobody"), None);
    }

    #[test]
    fn a_long_directory_gets_a_short_socket_directory_and_always_the_same() {
        let runner = Runner { dropped: None };
        let long = PathBuf::from(format!("/{}", "x".repeat(100)));
        let short = socket_dir(&long, &runner);
        assert!(short.as_os_str().len() + SOCKET_NAME_MAX <= SOCKET_PATH_MAX);
        assert_eq!(short, socket_dir(&long, &runner));
        assert_eq!(socket_dir(Path::new("/a"), &runner), Path::new("/a/socket"));
    }

    #[test]
    fn the_topmost_closed_directory_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let (closed, below) = (root.path().join("closed"), root.path().join("closed/below"));
        std::fs::create_dir_all(&below).unwrap();
        std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        let other = User { name: "other".into(), uid: 54321, gid: 54321 };
        let runner = Runner { dropped: Some(other) };
        assert_eq!(runner.blocked_at(&below.join("dir")), Some(closed));
    }
}
