//! One cluster for the whole test run, one database for each test.

use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use sqlx::{Connection as _, PgConnection};
use tokio::sync::OnceCell;
use voxd::config::{Config, Environment};
use voxd::dev::postgres::{Cluster, ClusterOptions};
use voxd::store::Store;

const TEMPLATE: &str = "voxd_template";

/// The address of a fresh, migrated database.
pub async fn database() -> String {
    static BASE: OnceCell<String> = OnceCell::const_new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = BASE.get_or_init(make_template).await;
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let statement = format!("create database {name} template {TEMPLATE}");
    let mut connection = PgConnection::connect(&with_name(base, "postgres")).await.expect("the test cluster answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("a fresh database");
    connection.close().await.expect("closed");
    with_name(base, &name)
}

async fn make_template() -> String {
    let base = tokio::task::spawn_blocking(start_cluster).await.expect("the cluster's thread answers");
    let url = with_name(&base, TEMPLATE);
    migrate(&url).await;
    base
}

/// The cluster lives in a thread of its own: it ends with the process, however that ends.
fn start_cluster() -> String {
    let (sender, receiver) = mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "it outlives every test's runtime")]
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let dir = open_directory();
            let options = ClusterOptions { max_connections: 400, ..ClusterOptions::default() };
            let cluster =
                Cluster::start(&dir.path.join("c"), options, &|_| {}).await.unwrap_or_else(|error| panic!("{error}"));
            cluster.create_database(TEMPLATE, None).await.expect("a template database");
            sender.send(cluster.url(TEMPLATE)).expect("somebody waits for the cluster");
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the cluster starts")
}

/// A cluster of the test's own, with a migrated database; it goes when it is dropped.
pub async fn own_cluster(options: ClusterOptions) -> (OwnCluster, String) {
    let dir = open_directory();
    let cluster = Cluster::start(&dir.path.join("c"), options, &|_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    cluster.create_database("own", None).await.expect("a database");
    let url = cluster.url("own");
    migrate(&url).await;
    (OwnCluster { cluster, _dir: dir }, url)
}

pub struct OwnCluster {
    cluster: Cluster,
    _dir: Directory,
}

impl Deref for OwnCluster {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for OwnCluster {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

/// A directory of a server. It goes when this is dropped or the process ends, however it ends, once the server has gone.
struct Directory {
    path: PathBuf,
    /// Waits for the end of its standard input, which is ours.
    _remover: Child,
}

const REMOVE: &str = r#"read -r _; n=0
while [ -e "$1/c/data/postmaster.pid" ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
rm -rf "$1""#;

/// In `/tmp`, whatever `TMPDIR` says, and open, so that the server's user can get there.
fn open_directory() -> Directory {
    let dir = tempfile::Builder::new().prefix("voxd-test-").tempdir_in("/tmp").expect("a directory in /tmp");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("permissions");
    let path = dir.keep();
    // In a group of its own, so that Ctrl-C leaves it to its work.
    let mut remover = Command::new("sh");
    remover.args(["-c", REMOVE, "remover"]).arg(&path).process_group(0);
    let remover = remover.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh");
    Directory { path, _remover: remover }
}

async fn migrate(url: &str) {
    let config = Config::load(None, &Environment::from_pairs([("DATABASE_URL", url)])).expect("a configuration");
    Store::new(&config.database).expect("a store").migrate().await.expect("migrations apply");
}

fn with_name(base: &str, name: &str) -> String {
    let mut url = url::Url::parse(base).expect("an address");
    url.set_path(name);
    url.into()
}
