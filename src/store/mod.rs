//! Postgres: all SQL of the program, checked at compile time, and nothing else.
//!
//! Each public method is one unit of work with a deadline. A connection whose unit did not end well is closed, never
//! returned: sqlx's pool can otherwise lose a permit for ever on a silently dead connection (transact-rs/sqlx#4349).
//! Locks are always taken in the order call → attempt.

pub mod accept;
pub mod analytics;
pub mod attempts;
pub mod budgets;
pub mod configs;
pub mod inbox;
pub mod keys;
pub mod leases;
pub mod line;
pub mod looks;
pub mod operator;
pub mod outbox;
pub mod pace;
pub mod read;
pub mod replicas;
pub mod retry_now;
pub mod sessions;
pub mod sessions_said;
pub mod sessions_sweep;
pub mod speech_jobs;
pub mod story;
pub mod suppressions;
pub mod updates;
pub mod watch;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres};
use tokio::sync::watch as signal;

use crate::call::{Price, Prices};
use crate::clock;
use crate::config;
use crate::telemetry::metrics;

/// The embedded migrations.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// A handle on the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pool: RwLock<PgPool>,
    options: PgConnectOptions,
    settings: config::Database,
    prices: OnceLock<Prices>,
    /// Rises when an attempt that was live ends by a statement of this process.
    ended: signal::Sender<u64>,
}

/// Why a unit of work did not end well. The caller's decision is in the variant.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres is away, too slow, or restarting: whatever was asked may or may not have been committed.
    #[error("Postgres is not available: {0}")]
    Unavailable(String),
    /// Postgres would not keep what it acknowledges.
    #[error("Postgres would lose acknowledged commits: {0}; voxd does not dial on such a server")]
    NotDurable(String),
    /// Migrations of this binary that the database lacks.
    #[error("{0} migrations are missing in Postgres, run: voxd migrate")]
    NotMigrated(usize),
    /// The database refused it; asking again will not help.
    #[error("Postgres refused it: {0}")]
    Refused(String),
}

impl StoreError {
    pub fn is_unavailable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(db) => {
                let code = db.code().unwrap_or_default();
                // Connection trouble, resources, shutdown, serialization, deadlock, statement and lock time-outs.
                let passing =
                    ["08", "53", "57", "58", "40", "55"].iter().any(|class| code.starts_with(class)) || code == "25006";
                if passing { Self::Unavailable(error.to_string()) } else { Self::Refused(error.to_string()) }
            }
            sqlx::Error::RowNotFound
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_) => Self::Refused(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// A connection for one unit of work. Dropped before [`Conn::done`], it is closed and its place in the pool is free at once.
pub(crate) struct Conn {
    inner: Option<PoolConnection<Postgres>>,
}

impl Conn {
    /// The unit ended well: the connection goes back.
    pub(crate) fn done(mut self) {
        drop(self.inner.take());
    }
}

impl Deref for Conn {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        self.inner.as_ref().expect("a connection is held until done")
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.inner.as_mut().expect("a connection is held until done")
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(connection) = self.inner.take() {
            drop(connection.detach());
        }
    }
}

impl Store {
    /// Does not connect yet: a daemon may start before its database.
    pub fn new(settings: &config::Database) -> std::result::Result<Self, String> {
        let options = connect_options(settings)?;
        let pool = make_pool(settings, &options);
        Ok(Self {
            inner: Arc::new(Inner {
                pool: RwLock::new(pool),
                options,
                settings: settings.clone(),
                prices: OnceLock::new(),
                ended: signal::Sender::new(0),
            }),
        })
    }

    /// What estimates costs that no platform reports; without it there are no estimates.
    #[must_use]
    pub fn with_prices(self, prices: Prices) -> Self {
        // Set once, where the store is made.
        let _ = self.inner.prices.set(prices);
        self
    }

    pub(crate) fn price_of(&self, platform: &str) -> Option<&Price> {
        self.inner.prices.get()?.get(platform)
    }

    /// Changes when an attempt that was live has ended, as far as this process was told: its line or slot is free.
    pub fn attempts_ended(&self) -> signal::Receiver<u64> {
        self.inner.ended.subscribe()
    }

    fn tell_ended(&self) {
        self.inner.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
    }

    /// Connects once, outside the pool: for commands, which want to know at once.
    pub async fn connect(&self) -> Result<()> {
        let connecting = self.inner.options.connect();
        let connection = self.bounded(self.inner.settings.connect_timeout, async { Ok(connecting.await?) }).await?;
        connection.close().await?;
        Ok(())
    }

    /// Applies the migrations. Returns how many were new.
    pub async fn migrate(&self) -> Result<usize> {
        let mut connection = self.inner.options.connect().await?;
        let before = applied(&mut connection).await;
        MIGRATIONS.run(&mut connection).await.map_err(|error| StoreError::Refused(error.to_string()))?;
        let after = applied(&mut connection).await;
        connection.close().await?;
        Ok(after.saturating_sub(before))
    }

    /// The versions of the embedded migrations that this database lacks.
    pub async fn missing_migrations(&self) -> Result<usize> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let present = applied(&mut conn).await;
            conn.done();
            Ok(MIGRATIONS.iter().count().saturating_sub(present))
        })
        .await
    }

    /// One round trip; `Err` also where the server is not durable.
    pub async fn check(&self, within: Duration) -> Result<()> {
        self.bounded(within, async {
            let mut conn = self.conn().await?;
            let problem = sqlx::query_scalar!(r#"select durability_problem()"#).fetch_one(&mut *conn).await?;
            conn.done();
            problem.map_or(Ok(()), |problem| Err(StoreError::NotDurable(problem)))
        })
        .await
    }

    /// Whether a fresh connection works where the pool's did not; then the pool is replaced by a new one.
    pub async fn rebuild_if_stuck(&self) -> bool {
        let fresh = tokio::time::timeout(self.inner.settings.connect_timeout, self.inner.options.connect()).await;
        let Ok(Ok(connection)) = fresh else { return false };
        drop(connection);
        let pool = make_pool(&self.inner.settings, &self.inner.options);
        *self.inner.pool.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = pool;
        true
    }

    /// (in use, idle, at most)
    pub fn pool_state(&self) -> (u32, u32, u32) {
        let pool = self.pool();
        let idle = pool.num_idle() as u32;
        (pool.size().saturating_sub(idle), idle, self.inner.settings.max_connections)
    }

    pub async fn close(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.pool().close()).await;
    }

    fn pool(&self) -> PgPool {
        self.inner.pool.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub(crate) async fn conn(&self) -> Result<Conn> {
        let begun = clock::monotonic();
        let connection = self.pool().acquire().await?;
        metrics::DB_ACQUIRE.record([], clock::monotonic() - begun);
        Ok(Conn { inner: Some(connection) })
    }

    /// Runs one unit of work under the deadline.
    pub(crate) async fn unit<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.bounded(self.inner.settings.deadline, work).await
    }

    async fn bounded<T>(&self, within: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = clock::monotonic();
        let result = tokio::time::timeout(within, work).await;
        metrics::DB_WORK.record([], clock::monotonic() - begun);
        let late = || StoreError::Unavailable(format!("no answer within {}", config::duration::format(within)));
        let result = result.unwrap_or_else(|_| Err(late()));
        match &result {
            Err(StoreError::Unavailable(_)) => metrics::DB_ERRORS.inc(["unavailable"]),
            Err(StoreError::NotDurable(_)) => metrics::DB_ERRORS.inc(["not_durable"]),
            Err(StoreError::Refused(_)) => metrics::DB_ERRORS.inc(["refused"]),
            Ok(_) | Err(StoreError::NotMigrated(_)) => {}
        }
        result
    }
}

async fn applied(connection: &mut PgConnection) -> usize {
    // The table is sqlx's own and absent before the first migration, so this query cannot be checked at compile time.
    let count: std::result::Result<i64, _> =
        sqlx::query_scalar("select count(*) from _sqlx_migrations where success").fetch_one(connection).await;
    count.map_or(0, |count| count as usize)
}

fn connect_options(settings: &config::Database) -> std::result::Result<PgConnectOptions, String> {
    let url = settings.url.expose();
    if url.is_empty() {
        return Err("database.url is not set, expected postgres://user:password@host/database in DATABASE_URL".into());
    }
    let options: PgConnectOptions =
        url.parse().map_err(|error| format!("database.url is not a Postgres address: {error}"))?;
    let ms = |duration: Duration| format!("{}ms", duration.as_millis());
    Ok(options.application_name("voxd").options([
        ("statement_timeout", ms(settings.statement_timeout)),
        ("lock_timeout", ms(settings.lock_timeout)),
        ("idle_in_transaction_session_timeout", ms(settings.idle_in_transaction_timeout)),
    ]))
}

fn make_pool(settings: &config::Database, options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.connect_timeout)
        .max_lifetime(settings.max_lifetime)
        .test_before_acquire(false)
        .connect_lazy_with(options.clone())
}
