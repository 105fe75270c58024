//! What platforms tell us without being asked.
//!
//! A webhook is verified, put in our words (pure), and kept: an inbox row and a line in the call's timeline in one
//! transaction. Only then is it answered. Applying it to the ledger follows right after in a bounded task; what a crash
//! leaves unapplied, [`Webhooks::sweep`] finds. An exact repeat changes nothing.
//!
//! A signature usually covers the body, not the address: the attempt that the address names serves only where the body names
//! none. Where it covers the address too, that attempt is the one that is meant.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::call::CallUpdate;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::platforms::{PlatformRegistry, SignatureError};
use crate::store::inbox::{AppliedWebhook, Kept, NewWebhook};
use crate::store::updates::Applied;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

/// The largest body that is taken, inclusive.
pub const MAX_BODY_BYTES: usize = 262_144;

/// Webhooks that wait for being applied on this replica; beyond, the sweep does it.
const MAX_WAITING: usize = 1024;
/// Applied at once: a part of the pool's connections, so that a flood of webhooks does not keep calls from being sent.
const MAX_RUNNING: usize = 4;
/// Older ones were left behind by a crash (or by a flood); younger ones are still somebody's.
const LEFT_BEHIND: Duration = Duration::from_secs(2);
const SWEEP_BATCH: i64 = 100;

/// Takes webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    registry: Arc<PlatformRegistry>,
    lifecycle: Lifecycle,
    look_in: Duration,
    waiting: Arc<Semaphore>,
    running: Semaphore,
}

/// One request of a platform, as it came.
#[derive(Debug)]
pub struct Incoming<'a> {
    pub platform: &'a str,
    /// From the address.
    pub attempt_id: Option<Uuid>,
    pub headers: &'a http::HeaderMap,
    /// The public address that the platform called; some sign it.
    pub url: &'a str,
    pub body: &'a [u8],
}

/// It is kept; the platform gets 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    Stored,
    Repeat,
}

/// Why a webhook is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No such platform, or it is off.
    #[error("{0}")]
    Off(String),
    /// Nothing of it is kept.
    #[error("{0}")]
    BadSignature(SignatureError),
    /// Signed, but not what the platform documents; kept in the inbox.
    #[error("{0}")]
    Unreadable(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Webhooks {
    /// `look_in`: when a live call's platform is asked next, should it fall silent.
    pub fn new(store: Store, registry: Arc<PlatformRegistry>, lifecycle: Lifecycle, look_in: Duration) -> Self {
        let inner = Inner {
            store,
            registry,
            lifecycle,
            look_in,
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            running: Semaphore::new(MAX_RUNNING),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether webhooks of this platform are taken at all; asked before a body is read.
    pub fn is_on(&self, platform: &str) -> Result<(), Refused> {
        let Err(off) = self.inner.registry.get(platform) else { return Ok(()) };
        self.count(platform, "off");
        Err(Refused::Off(off.to_string()))
    }

    /// Counts a body that was too large to be read.
    pub fn too_large(&self, platform: &str) {
        self.count(platform, "too_large");
    }

    /// Verifies, reads and keeps a webhook, and sees to its being applied.
    pub async fn receive(&self, incoming: Incoming<'_>) -> Result<Received, Refused> {
        let Incoming { platform, attempt_id, headers, url, body } = incoming;
        self.is_on(platform)?;
        let result = self.keep(platform, attempt_id, headers, url, body).await;
        let word = match &result {
            Ok(Kept::New(_)) => "stored",
            Ok(Kept::Repeat) => "duplicate",
            Err(Refused::BadSignature(_)) => "bad_signature",
            Err(Refused::Unreadable(_)) => "unreadable",
            Err(Refused::Off(_)) => "off",
            Err(Refused::Store(_)) => "error",
        };
        self.count(platform, word);
        match &result {
            Ok(Kept::New(id)) => self.apply_soon(*id),
            Ok(Kept::Repeat) => {}
            // Never the body: it may be anybody's, or hold a transcript.
            Err(refused) => {
                let bytes = body.len();
                tracing::warn!(platform, attempt_id = attempt_id.map(tracing::field::display), bytes, reason = %refused, "webhook not taken: {word}");
            }
        }
        result.map(|kept| if kept == Kept::Repeat { Received::Repeat } else { Received::Stored })
    }

    async fn keep(
        &self,
        name: &str,
        address_attempt_id: Option<Uuid>,
        headers: &http::HeaderMap,
        url: &str,
        body: &[u8],
    ) -> Result<Kept, Refused> {
        let platform = self.inner.registry.get(name).map_err(|off| Refused::Off(off.to_string()))?;
        let verified = platform.verify_webhook(headers, url, body).map_err(Refused::BadSignature)?;
        let mut updates = platform.normalize_webhook(body);
        if platform.signs_address()
            && let (Some(attempt_id), Ok(updates)) = (address_attempt_id, &mut updates)
        {
            updates.iter_mut().for_each(|update| update.attempt_id = Some(attempt_id));
        }
        let keepable = platform.keepable(body);
        let webhook = NewWebhook {
            platform: platform.name(),
            body: &keepable,
            verified_by: &verified.0,
            address_attempt_id,
            updates: updates.as_deref().map_err(|unreadable| unreadable.0.as_str()),
        };
        let kept = self.inner.store.keep_webhook(&webhook).await?;
        match updates {
            Ok(_) => Ok(kept),
            Err(unreadable) => Err(Refused::Unreadable(unreadable.0)),
        }
    }

    /// Applies what nobody applied, every `interval`, until the lifecycle stops.
    pub async fn sweep(&self, interval: Duration) {
        let stop = self.inner.lifecycle.soft_token();
        while stop.run_until_cancelled(clock::sleep(interval)).await.is_some() {
            match self.sweep_once(LEFT_BEHIND).await {
                Ok(0) => {}
                Ok(n) => tracing::info!(webhooks = n, "applied webhooks that were left behind"),
                Err(error) => tracing::debug!(error = %error, "webhooks left behind cannot be looked for now"),
            }
        }
    }

    /// Applies what is older than `age`; returns how many.
    pub async fn sweep_once(&self, age: Duration) -> Result<usize, StoreError> {
        let mut applied = 0;
        for id in self.inner.store.unapplied_webhooks(age, SWEEP_BATCH).await? {
            if self.inner.lifecycle.is_stopping() {
                break;
            }
            applied += usize::from(self.inner.apply(id).await?);
        }
        Ok(applied)
    }

    fn apply_soon(&self, id: Uuid) {
        // No room: the sweep finds it.
        let Ok(place) = self.inner.waiting.clone().try_acquire_owned() else { return };
        let inner = self.inner.clone();
        self.inner.lifecycle.spawn(async move {
            let _place = place;
            let Ok(_turn) = inner.running.acquire().await else { return };
            if let Err(error) = inner.apply(id).await {
                tracing::warn!(inbox_id = %id, error = %error, "webhook not applied yet, the sweep will do it");
            }
        });
    }

    fn count(&self, platform: &str, result: &str) {
        // A label from an address must not make series without end.
        let known = self.inner.registry.supported().contains(&platform);
        metrics::WEBHOOKS.inc([if known { platform } else { "unknown" }, result]);
    }
}

impl Inner {
    /// Whether this call applied it.
    async fn apply(&self, id: Uuid) -> Result<bool, StoreError> {
        match self.store.apply_webhook(id, self.look_in).await {
            Ok(Some(webhook)) => {
                for (update, applied) in &webhook.updates {
                    record(id, &webhook, update, applied);
                }
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            Err(error) => {
                tracing::error!(inbox_id = %id, error = %error, "the ledger refuses this webhook; it stays in webhook_inbox");
                self.store.give_up_webhook(id, &error.to_string()).await?;
                Ok(true)
            }
        }
    }
}

fn record(inbox_id: Uuid, webhook: &AppliedWebhook, update: &CallUpdate, applied: &Applied) {
    let platform = webhook.platform.as_str();
    applied.count(platform, update);
    let told_at = update.occurred_at.unwrap_or(webhook.received_at);
    // Negative where the platform's clock runs ahead of ours.
    let lag = (clock::now() - told_at).to_std().unwrap_or_default();
    metrics::WEBHOOK_LAG.record([platform], lag);
    let state = update.state.map(|state| state.as_str());
    match applied {
        Applied::Moved { call_id, attempt_id, call_status, .. } => {
            tracing::info!(platform, %call_id, %attempt_id, %inbox_id, state, %call_status, "webhook applied");
        }
        Applied::Facts { call_id, attempt_id } => {
            tracing::debug!(platform, %call_id, %attempt_id, %inbox_id, state, "webhook moved nothing");
        }
        Applied::Contradiction { call_id, attempt_id, state: known } => {
            tracing::error!(platform, %call_id, %attempt_id, %inbox_id, state, %known, "webhook contradicts the ledger");
        }
        Applied::NoSuchAttempt => {
            metrics::WEBHOOKS.inc([platform, "unmatched"]);
            tracing::warn!(platform, %inbox_id, state, "webhook is about no call of ours");
        }
    }
}
