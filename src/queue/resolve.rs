//! A configured queue → its URL, its attributes and its dead-letter queue, asked for once at start.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Name;
use serde::Deserialize;
use serde_json::Value;

use super::client::Sqs;
use super::error::SqsError;
use super::target::{Address, QueueTarget, region_of};

/// Below this many deliveries, a restart or two can send a good message to the dead letters.
const LOW_MAX_RECEIVE_COUNT: u32 = 3;

/// What is known of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    pub name: String,
    pub url: String,
    pub arn: String,
    pub weight: u32,
    pub fifo: bool,
    /// The queue's own setting; each receive asks for its own.
    pub visibility: Duration,
    pub dead_letter: Option<DeadLetterQueue>,
    /// Deliveries after which SQS itself moves a message there.
    pub max_receive_count: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterQueue {
    pub name: String,
    pub url: String,
    pub arn: String,
    pub fifo: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Exit code 64: a name that is none, a region that is not ours, a queue that is not there.
    #[error("bad configuration: queue.urls (VOXD_QUEUES): {0}")]
    Bad(String),
    /// Exit code 69.
    #[error("queue {queue}: {error}")]
    Unavailable { queue: String, error: SqsError },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    /// A number, or a number as text: SQS takes and gives both.
    max_receive_count: Value,
}

impl Sqs {
    /// Asks SQS about a configured queue. Warns where rejected messages would have nowhere to go.
    pub async fn resolve(&self, target: &QueueTarget) -> Result<QueueInfo, ResolveError> {
        let named = target.address.as_str();
        let failed = |error: SqsError| match error {
            SqsError::Refused { ref code, .. }
                if code.contains("NonExistentQueue") || code.contains("DoesNotExist") =>
            {
                ResolveError::Bad(format!("{named:?} does not exist in region {}", self.region()))
            }
            error => ResolveError::Unavailable { queue: named.to_owned(), error },
        };
        let url = match &target.address {
            Address::Name(name) => self.url_of(name, None).await.map_err(failed)?,
            Address::Url(url) => {
                self.check_region(url)?;
                url.clone()
            }
        };
        let attributes = self.attributes(&url).await.map_err(failed)?;
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        let mut info = QueueInfo {
            fifo: name.ends_with(".fifo"),
            name,
            url,
            arn: attributes.get(&Name::QueueArn).cloned().unwrap_or_default(),
            weight: target.weight,
            visibility: Duration::from_secs(number(&attributes, &Name::VisibilityTimeout).unwrap_or(30)),
            dead_letter: None,
            max_receive_count: None,
        };
        if let Some(policy) = redrive_policy(&attributes) {
            info.max_receive_count = policy.max_receive_count.as_str().map_or_else(
                || policy.max_receive_count.as_u64().and_then(|count| count.try_into().ok()),
                |text| text.parse().ok(),
            );
            let arn = &policy.dead_letter_target_arn;
            let failed =
                |error| ResolveError::Unavailable { queue: format!("{named}: its dead-letter queue {arn}"), error };
            info.dead_letter = Some(self.dead_letter(arn).await.map_err(failed)?);
        }
        info.warn();
        Ok(info)
    }

    /// The client speaks to one region, and a queue of another one would be answered "does not exist".
    fn check_region(&self, url: &str) -> Result<(), ResolveError> {
        match region_of(url).filter(|region| region != self.region()) {
            Some(region) => {
                let ours = self.region();
                Err(ResolveError::Bad(format!("{url:?} is in region {region}, but AWS_REGION is {ours}")))
            }
            None => Ok(()),
        }
    }

    /// From `arn:aws:sqs:REGION:ACCOUNT:NAME`.
    async fn dead_letter(&self, arn: &str) -> Result<DeadLetterQueue, SqsError> {
        let parts: Vec<&str> = arn.split(':').collect();
        let [_, _, _, _, account, name] = parts.as_slice() else {
            let message = format!("the redrive policy's target {arn:?} is not an ARN");
            return Err(SqsError::Refused { operation: "get_queue_attributes", code: "InvalidArn".into(), message });
        };
        let url = self.url_of(name, Some(account)).await?;
        Ok(DeadLetterQueue { name: (*name).into(), url, arn: arn.into(), fifo: name.ends_with(".fifo") })
    }
}

impl QueueInfo {
    fn warn(&self) {
        match (&self.dead_letter, self.max_receive_count) {
            (None, _) => tracing::warn!(
                queue = self.name,
                "the queue has no dead-letter queue: rejected messages are kept in the database only"
            ),
            (Some(_), Some(count)) if count < LOW_MAX_RECEIVE_COUNT => tracing::warn!(
                queue = self.name,
                max_receive_count = count,
                "maxReceiveCount is low: restarts alone can send good messages to the dead-letter queue, expected 3 or more"
            ),
            _ => {}
        }
    }
}

fn redrive_policy(attributes: &HashMap<Name, String>) -> Option<RedrivePolicy> {
    serde_json::from_str(attributes.get(&Name::RedrivePolicy)?).ok()
}

pub(super) fn number(attributes: &HashMap<Name, String>, name: &Name) -> Option<u64> {
    attributes.get(name)?.parse().ok()
}
