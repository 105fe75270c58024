//! Where the checks run, and the clients they use.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// An SQS under test.
pub struct Target {
    /// `http://HOST:PORT`
    pub endpoint: String,
    pub client: Client,
    pub http: reqwest::Client,
}

impl Target {
    pub fn new(endpoint: String) -> Self {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(60)).build();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(&endpoint)
            // A retry would hide what the server did.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        Self { endpoint, client: Client::from_conf(config), http: reqwest::Client::new() }
    }

    /// A queue name nobody else uses.
    pub fn name(&self, stem: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("{stem}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// One request as it stands on the wire, signature aside. Returns status, `x-amzn-query-error`, body.
    pub async fn raw(&self, operation: &str, body: &str) -> (u16, String, serde_json::Value) {
        let request = self
            .http
            .post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            // moto reads service and region from here; nobody checks the signature.
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0",
            )
            .body(body.to_owned());
        let answer = request.send().await.expect("answers");
        let status = answer.status().as_u16();
        let query =
            answer.headers().get("x-amzn-query-error").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = query.to_owned();
        let body = answer.bytes().await.expect("has a body");
        (status, query, serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// The error code of a refused call, as SDKs report it.
pub fn code<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug, T: std::fmt::Debug>(
    result: Result<T, SdkError<E, R>>,
) -> String {
    match result {
        Ok(answer) => panic!("should have been refused: {answer:?}"),
        Err(SdkError::ServiceError(error)) => error.err().code().unwrap_or_default().to_owned(),
        Err(error) => panic!("no answer of the service: {error:?}"),
    }
}
