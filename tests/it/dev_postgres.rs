//! The private Postgres cluster of `voxd dev` and of these tests.

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use voxd::clock;
use voxd::dev::postgres::{Cluster, ClusterError, ClusterOptions, StopMode};

/// In `/tmp` whatever `TMPDIR` says, and open, so that the server's user can get there.
fn scratch() -> TempDir {
    let dir = tempfile::Builder::new().prefix("voxd-pg-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

async fn start(dir: &Path) -> Cluster {
    Cluster::start(dir, ClusterOptions::default(), &|_| {}).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn ask(url: &str, question: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let answer = sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

async fn tell(url: &str, statement: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::monotonic() + Duration::from_secs(60);
    while !done() {
        assert!(clock::monotonic() < deadline, "{what}: not within 60 s");
        clock::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_cluster_keeps_what_it_acknowledged_over_an_immediate_stop_and_a_new_start() {
    let scratch = scratch();
    let dir = scratch.path().join("cluster");
    let mut cluster = start(&dir).await;
    cluster.create_database("calls", None).await.unwrap();
    tell(&cluster.url("calls"), "create table t (word text); insert into t values ('ä')").await;

    cluster.stop(StopMode::Immediate).await.unwrap();
    assert_eq!(cluster.pid(), None);
    cluster.start_again().await.unwrap();
    assert_eq!(ask(&cluster.url("calls"), "select word from t").await, "ä");

    cluster.create_database("copy", Some("calls")).await.unwrap();
    assert_eq!(ask(&cluster.url("copy"), "select word from t").await, "ä");
    cluster.drop_database("copy").await.unwrap();
    assert!(cluster.has_database("calls").await.unwrap() && !cluster.has_database("copy").await.unwrap());

    cluster.stop(StopMode::Fast).await.unwrap();
    drop(cluster);
    let mut cluster = start(&dir).await;
    assert_eq!(ask(&cluster.url("calls"), "select word from t").await, "ä");
    cluster.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_cluster_is_private_and_durable_unless_told_otherwise() {
    let scratch = scratch();
    let options = ClusterOptions {
        max_connections: 17,
        settings: vec![("work_mem".into(), "5MB".into())],
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start(&scratch.path().join("c"), options, &|_| {}).await.unwrap();
    let url = cluster.url("postgres");
    for (setting, wanted) in [
        ("select current_setting('fsync')", "on"),
        ("select current_setting('synchronous_commit')", "on"),
        ("select current_setting('listen_addresses')", ""),
        ("select current_setting('server_encoding')", "UTF8"),
        ("select datcollate from pg_database where datname = 'template1'", "C.UTF-8"),
        ("select current_setting('max_connections')", "17"),
        ("select current_setting('work_mem')", "5MB"),
    ] {
        assert_eq!(ask(&url, setting).await, wanted, "{setting}");
    }
    let mode = std::fs::metadata(scratch.path().join("c")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    cluster.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_second_start_on_the_same_directory_is_refused_with_the_owner_named() {
    let scratch = scratch();
    let dir = scratch.path().join("c");
    let mut first = start(&dir).await;
    let error = Cluster::start(&dir, ClusterOptions::default(), &|_| {}).await.err().unwrap();
    assert!(matches!(error, ClusterError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    first.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn over_tcp_the_password_is_asked_for() {
    let scratch = scratch();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ClusterOptions { port: Some(free), ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&scratch.path().join("c"), options, &|_| {}).await.unwrap();
    let url = cluster.tcp_url("postgres").unwrap().unwrap();
    assert_eq!(ask(url.expose(), "select current_user::text").await, "postgres");
    let wrong = format!("postgres://postgres:wrong@127.0.0.1:{free}/postgres");
    let refused = PgConnection::connect(&wrong).await.unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
    cluster.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_directory_too_deep_for_a_socket_address_works() {
    let scratch = scratch();
    let mut cluster = start(&scratch.path().join("d".repeat(100))).await;
    assert_eq!(ask(&cluster.url("postgres"), "select 'here'").await, "here");
    cluster.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_process_number_that_now_belongs_to_something_else_is_no_obstacle() {
    let scratch = scratch();
    let dir = scratch.path().join("c");
    let mut cluster = start(&dir).await;
    cluster.stop(StopMode::Immediate).await.unwrap();
    drop(cluster);
    let ours = format!("{}\n{}/data\n0\n5432\n\n\n\nready\n", std::process::id(), dir.display());
    std::fs::write(dir.join("data/postmaster.pid"), ours).unwrap();
    let mut cluster = start(&dir).await;
    assert_eq!(ask(&cluster.url("postgres"), "select 'here'").await, "here");
    cluster.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_server_does_not_outlive_its_process_killed_with_kill_9() {
    let scratch = scratch();
    let dir = scratch.path().join("c");
    let (mut holder, server) = hold(&mut this_binary(), &dir);
    assert!(is_alive(server));
    holder.kill().unwrap();
    holder.wait().unwrap();
    // At once: the next start waits for the old server's last checkpoint by itself.
    let mut cluster = start(&dir).await;
    assert!(!is_alive(server));
    cluster.stop(StopMode::Fast).await.unwrap();
}

/// What an ordinary user sees. Run by root, it becomes one; otherwise the other tests show it already.
#[tokio::test]
async fn an_ordinary_user_needs_no_rights() {
    if !is_root() {
        return;
    }
    let scratch = scratch();
    let home = scratch.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    // Where the repository lies is perhaps closed to others.
    let program = scratch.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program).current_dir(&home);
    let (mut holder, server) = hold(&mut command, &home.join("c"));
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    assert!(status.contains("\nUid:\t65534\t"), "{status}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    until("the server's end", || !is_alive(server)).await;
}

#[tokio::test]
async fn roots_data_below_a_closed_directory_lies_where_the_server_can_reach_it() {
    if !is_root() {
        return;
    }
    let closed = tempfile::Builder::new().prefix("voxd-closed-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let dir = closed.path().join("c");
    let said = std::sync::Mutex::new(String::new());
    let progress = |line: &str| said.lock().unwrap().push_str(line);
    let mut cluster = Cluster::start(&dir, ClusterOptions::default(), &progress).await.unwrap();
    cluster.stop(StopMode::Fast).await.unwrap();
    drop(cluster);
    let real: PathBuf = std::fs::read_link(&dir).unwrap();
    assert!(real.starts_with("/var/lib/voxd-dev") && said.lock().unwrap().contains(real.to_str().unwrap()), "{said:?}");
    std::fs::remove_dir_all(real).unwrap();
}

fn this_binary() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// Another process that holds a cluster in `dir` until it is killed, and the server's process id.
fn hold(command: &mut Command, dir: &Path) -> (std::process::Child, i32) {
    command.args(["--exact", "dev_postgres::holder", "--ignored", "--nocapture"]);
    command.env("VOXD_TEST_HOLD", dir).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let server = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("server ")?.parse().ok());
    (child, server.expect("the holder names its server"))
}

#[tokio::test]
#[ignore = "the other process of the tests above"]
async fn holder() {
    let Some(dir) = std::env::var_os("VOXD_TEST_HOLD") else { return };
    let cluster = start(Path::new(&dir)).await;
    println!("\nserver {}", cluster.pid().unwrap());
    std::future::pending::<()>().await;
    drop(cluster);
}
