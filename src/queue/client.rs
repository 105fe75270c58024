//! Requests to SQS: every one with a time-out, counted, with errors sorted.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    self, BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName as System, QueueAttributeName, SendMessageBatchRequestEntry,
};
use aws_sdk_sqs::{Client, Config};

use super::error::SqsError;
use crate::clock;
use crate::config;
use crate::telemetry::metrics;

/// SQS's own limit for one batch of any kind.
pub(super) const BATCH: usize = 10;

/// How to reach SQS. What is `None` comes from the AWS chain (environment, profile, instance).
#[derive(Clone)]
pub struct SqsOptions {
    /// Long poll, 1 to 20 s.
    pub wait: Duration,
    /// Visibility asked for at receive.
    pub visibility: Duration,
    /// Time-out of one try of every request but receive, which has `wait` on top.
    pub request_timeout: Duration,
    pub region: Option<String>,
    /// Else `AWS_ENDPOINT_URL_SQS`, `AWS_ENDPOINT_URL`, or AWS itself.
    pub endpoint: Option<String>,
    /// Access key id and secret; for a local SQS.
    pub credentials: Option<(String, String)>,
}

impl SqsOptions {
    pub fn from_config(queue: &config::Queue) -> Self {
        Self {
            wait: queue.wait,
            visibility: queue.visibility,
            request_timeout: queue.request_timeout,
            region: None,
            endpoint: None,
            credentials: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Exit code 64.
    #[error("bad configuration: AWS_REGION: no AWS region is set, expected e.g. AWS_REGION=us-east-1")]
    NoRegion,
}

/// The client. Cheap to clone; one for the whole program.
#[derive(Clone)]
pub struct Sqs {
    client: Client,
    region: String,
    pub(super) wait: Duration,
    pub(super) visibility: Duration,
    /// Laid over the client's own settings for a receive: a longer time-out, and no retry, since a retried receive hides the
    /// messages of the first answer for the whole visibility time-out.
    receive_config: aws_sdk_sqs::config::Builder,
}

impl Sqs {
    /// Reads the AWS chain; asks SQS nothing.
    pub async fn connect(options: SqsOptions) -> Result<Self, ConnectError> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(options.request_timeout).build())
            .retry_config(RetryConfig::standard().with_max_attempts(3));
        if let Some(region) = options.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some((id, secret)) = options.credentials {
            loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "settings"));
        }
        let shared = loader.load().await;
        let region = shared.region().ok_or(ConnectError::NoRegion)?.to_string();
        let wait = options.wait.max(Duration::from_secs(1));
        let receive_timeout =
            TimeoutConfig::builder().operation_attempt_timeout(wait + options.request_timeout).build();
        Ok(Self {
            client: Client::new(&shared),
            region,
            wait,
            visibility: options.visibility,
            receive_config: Config::builder().timeout_config(receive_timeout).retry_config(RetryConfig::disabled()),
        })
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// Up to `most` messages (1 to 10); waits for the first one. `attempt_id` is for FIFO queues: the same one brings the
    /// messages of an answer that was lost.
    pub(super) async fn receive(
        &self,
        url: &str,
        most: usize,
        wait: Duration,
        visibility: Duration,
        attempt_id: Option<&str>,
    ) -> Result<Vec<types::Message>, SqsError> {
        let request = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(most.clamp(1, BATCH) as i32)
            .wait_time_seconds(wait.as_secs().min(20) as i32)
            .visibility_timeout(seconds(visibility))
            .message_system_attribute_names(System::ApproximateReceiveCount)
            .message_system_attribute_names(System::SentTimestamp)
            .message_system_attribute_names(System::MessageGroupId)
            .message_system_attribute_names(System::SequenceNumber)
            .message_attribute_names("All")
            .set_receive_request_attempt_id(attempt_id.map(str::to_owned))
            .customize()
            .config_override(self.receive_config.clone());
        let answer = timed("receive", Box::pin(request.send())).await?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Results by position.
    pub(super) async fn delete(&self, url: &str, receipts: &[&str]) -> Result<Entries<()>, SqsError> {
        let entry = |(n, receipt): (usize, &&str)| {
            DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(*receipt).build()
        };
        let entries = built("delete", receipts.iter().enumerate().map(entry).collect())?;
        let request = self.client.delete_message_batch().queue_url(url).set_entries(Some(entries));
        let answer = timed("delete", Box::pin(request.send())).await?;
        let done = answer.successful().iter().map(|entry| (entry.id(), ()));
        Ok(by_position("delete", receipts.len(), done, answer.failed()))
    }

    /// Results by position. The entries stand in the request in the given order.
    pub(super) async fn change_visibility(
        &self,
        url: &str,
        changes: &[(&str, Duration)],
    ) -> Result<Entries<()>, SqsError> {
        let entry = |(n, (receipt, after)): (usize, &(&str, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(n.to_string())
                .receipt_handle(*receipt)
                .visibility_timeout(seconds(*after))
                .build()
        };
        let entries = built("change_visibility", changes.iter().enumerate().map(entry).collect())?;
        let request = self.client.change_message_visibility_batch().queue_url(url).set_entries(Some(entries));
        let answer = timed("change_visibility", Box::pin(request.send())).await?;
        let done = answer.successful().iter().map(|entry| (entry.id(), ()));
        Ok(by_position("change_visibility", changes.len(), done, answer.failed()))
    }

    /// Message ids by position; the entries' ids must be their positions.
    pub(super) async fn send(
        &self,
        url: &str,
        entries: Vec<SendMessageBatchRequestEntry>,
    ) -> Result<Entries<String>, SqsError> {
        let count = entries.len();
        let request = self.client.send_message_batch().queue_url(url).set_entries(Some(entries));
        let answer = timed("send", Box::pin(request.send())).await?;
        let done = answer.successful().iter().map(|entry| (entry.id(), entry.message_id().to_owned()));
        Ok(by_position("send", count, done, answer.failed()))
    }

    pub(super) async fn url_of(&self, name: &str, account: Option<&str>) -> Result<String, SqsError> {
        let account = account.map(str::to_owned);
        let request = self.client.get_queue_url().queue_name(name).set_queue_owner_aws_account_id(account);
        let answer = timed("get_queue_url", Box::pin(request.send())).await?;
        Ok(answer.queue_url.unwrap_or_default())
    }

    pub(super) async fn attributes(&self, url: &str) -> Result<HashMap<QueueAttributeName, String>, SqsError> {
        let request = self.client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        let answer = timed("get_queue_attributes", Box::pin(request.send())).await?;
        Ok(answer.attributes.unwrap_or_default())
    }

    /// Starts a move in SQS itself; returns its handle.
    pub(super) async fn start_move(&self, source_arn: &str, destination_arn: &str) -> Result<String, SqsError> {
        let request = self.client.start_message_move_task().source_arn(source_arn).destination_arn(destination_arn);
        let answer = timed("start_message_move_task", Box::pin(request.send())).await?;
        Ok(answer.task_handle.unwrap_or_default())
    }
}

/// What became of each entry of a batch, by position.
pub(super) type Entries<T> = Vec<Result<T, EntryError>>;

/// One entry that SQS refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryError {
    pub error: SqsError,
    /// Our own fault: the same entry will be refused again.
    pub sender_fault: bool,
}

fn built<T>(operation: &'static str, entries: Result<Vec<T>, BuildError>) -> Result<Vec<T>, SqsError> {
    entries.map_err(|error| SqsError::Refused { operation, code: "InvalidEntry".into(), message: error.to_string() })
}

/// An entry that the answer does not name counts as failed, and may be tried again.
fn by_position<'a, T>(
    operation: &'static str,
    count: usize,
    done: impl Iterator<Item = (&'a str, T)>,
    failed: &[BatchResultErrorEntry],
) -> Entries<T> {
    let unnamed =
        SqsError::Unreachable { operation, detail: "the answer leaves the entry out".into(), timed_out: false };
    let mut entries: Entries<T> =
        (0..count).map(|_| Err(EntryError { error: unnamed.clone(), sender_fault: false })).collect();
    for (id, value) in done {
        if let Some(entry) = id.parse().ok().and_then(|n: usize| entries.get_mut(n)) {
            *entry = Ok(value);
        }
    }
    for failure in failed {
        if let Some(entry) = failure.id().parse().ok().and_then(|n: usize| entries.get_mut(n)) {
            let status = if failure.sender_fault() { 400 } else { 500 };
            let error = SqsError::from_answer(operation, status, failure.code(), failure.message().unwrap_or_default());
            *entry = Err(EntryError { sender_fault: !error.is_retryable(), error });
        }
    }
    let refused = entries.iter().filter(|entry| entry.is_err()).count();
    if refused > 0 {
        metrics::SQS_BATCH_FAILURES.add([operation], refused as u64);
    }
    entries
}

/// Counts and measures one request. Boxed: the SDK's futures are over 5 KiB.
async fn timed<T, E>(
    operation: &'static str,
    request: Pin<Box<dyn Future<Output = Result<T, SdkError<E>>> + Send + '_>>,
) -> Result<T, SqsError>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let begun = clock::monotonic();
    let result = request.await.map_err(|error| SqsError::from_sdk(operation, error));
    metrics::SQS_REQUEST.record([operation], begun.elapsed());
    metrics::SQS_REQUESTS.inc([operation, result.as_ref().map_or_else(SqsError::label, |_| "ok")]);
    result
}

/// Whole seconds as SQS takes them, at most its 12 hours.
fn seconds(duration: Duration) -> i32 {
    duration.as_secs().min(43_200) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_matched_by_position_and_none_is_taken_for_done_unnamed() {
        let failure = |id: &str, sender, code: &str| {
            BatchResultErrorEntry::builder().id(id).sender_fault(sender).code(code).build().unwrap()
        };
        let failed = [
            failure("1", true, "ReceiptHandleIsInvalid"),
            failure("3", false, "InternalError"),
            failure("x", true, "?"),
        ];
        let entries = by_position("delete", 4, [("0", ())].into_iter(), &failed);
        assert!(entries[0].is_ok());
        assert!(entries[1].as_ref().unwrap_err().sender_fault);
        assert!(!entries[2].as_ref().unwrap_err().sender_fault);
        assert!(!entries[3].as_ref().unwrap_err().sender_fault);
    }
}
