//! Fresh databases with the migrations applied, on a cluster that the tests of this process share.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use sqlx::PgPool;
use tokio::sync::OnceCell;
use voxd::config::{Config, Environment, Secret};
use voxd::dev::postgres::{Cluster, ClusterError, ClusterOptions};
use voxd::store::Store;

const TEMPLATE: &str = "migrated";

/// An empty database, up to date.
pub struct Database {
    pub url: String,
    /// For looking at tables; not the program's own.
    pub pool: PgPool,
}

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// Of this test's own.
pub async fn fresh() -> Database {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTER.get_or_init(start).await;
    let name = format!("t_{}_{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
    cluster.create_database(&name, Some(TEMPLATE)).await.unwrap();
    let url = cluster.url(&name);
    let pool = PgPool::connect_lazy(&url).unwrap();
    Database { url, pool }
}

impl Database {
    pub fn config(&self) -> Config {
        let mut config = Config::load(None, &Environment::default()).unwrap();
        config.database.url = Secret::new(&self.url);
        config
    }

    pub fn store(&self) -> Store {
        Store::new(&self.config().database).unwrap()
    }
}

/// The clusters stay in place from run to run, since making one takes longer than most tests; their old databases don't.
async fn start() -> Cluster {
    let home = PathBuf::from(format!("/tmp/voxd-tests-{}", rustix::process::geteuid().as_raw()));
    std::fs::create_dir_all(&home).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    for n in 0..32 {
        let options = ClusterOptions { max_connections: 300, ..ClusterOptions::default() };
        let cluster = match Cluster::start(&home.join(n.to_string()), options, &|_| {}).await {
            Ok(cluster) => cluster,
            Err(ClusterError::InUse { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let admin = PgPool::connect(&cluster.url("postgres")).await.unwrap();
        let old = sqlx::query_scalar::<_, String>(
            "select datname from pg_database where datname like 't\\_%' or datname = $1",
        );
        for name in old.bind(TEMPLATE).fetch_all(&admin).await.unwrap() {
            cluster.drop_database(&name).await.unwrap();
        }
        admin.close().await;
        cluster.create_database(TEMPLATE, None).await.unwrap();
        let template = Database { url: cluster.url(TEMPLATE), pool: PgPool::connect_lazy("postgres:///").unwrap() };
        template.store().migrate().await.unwrap();
        return cluster;
    }
    panic!("all test clusters are in use");
}
