//! Sends webhooks and repeats them until they are taken, as platforms do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::sync::Semaphore;

use crate::clock;

/// One webhook, ready to go.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// Cheap to clone; all webhooks of a simulator go through one.
#[derive(Clone)]
pub struct WebhookSender {
    http: reqwest::Client,
    tries: u32,
    first_wait: Duration,
    /// Webhooks under way at once.
    slots: Arc<Semaphore>,
    sent: Arc<AtomicU64>,
    given_up: Arc<AtomicU64>,
}

impl WebhookSender {
    /// Tries each webhook up to `tries` times; the wait after the first is `first_wait`, then doubles.
    pub fn new(tries: u32, first_wait: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            tries,
            first_wait,
            slots: Arc::new(Semaphore::new(64)),
            sent: Arc::default(),
            given_up: Arc::default(),
        })
    }

    /// The status that took it (any 2xx), or the last one (0: no answer) when the tries are used up.
    pub async fn deliver(&self, webhook: &Webhook) -> Result<u16, u16> {
        let mut wait = self.first_wait;
        let mut last = 0;
        for number in 1..=self.tries {
            last = self.post(webhook).await;
            if (200..300).contains(&last) {
                return Ok(last);
            }
            if number < self.tries {
                clock::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(60));
            }
        }
        self.given_up.fetch_add(1, Ordering::Relaxed);
        Err(last)
    }

    /// Once, whatever comes back.
    pub async fn post(&self, webhook: &Webhook) -> u16 {
        let Ok(_slot) = self.slots.acquire().await else { return 0 };
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut request = self.http.post(&webhook.url).body(webhook.body.clone());
        for (name, value) in &webhook.headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                // Read to its end, so that the connection can be used again.
                let _ = response.bytes().await;
                status
            }
            Err(_) => 0,
        }
    }

    /// Requests sent, repeats included.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Webhooks that nobody took.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }
}
